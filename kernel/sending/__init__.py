"""How a call leaves its process: gathered, claimed, sent before a deadline, or kept for later."""
