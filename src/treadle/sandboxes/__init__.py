"""Sandboxes: one backend per file, one contract."""
