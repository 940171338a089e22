"""What callers hold of a task that was sent: its result, how they wait for it, and how they stop it."""
