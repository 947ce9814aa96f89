"""Agents of the build pipeline and their prompts."""
