"""Processes are not a pool: a supervisor that runs N identical worker processes, and what they share."""
