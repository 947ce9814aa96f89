"""Where connections to other machines may go: one place decides, for tools and for commands in sandboxes."""
