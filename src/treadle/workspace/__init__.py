"""Workspaces: git trees, branches and snapshots of what agents wrote."""
