"""Shipped workflows; the build pipeline is one."""
