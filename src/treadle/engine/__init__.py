"""How a run moves: claim, execute, plan, commit."""
