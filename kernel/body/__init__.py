"""What stands around the body of a task: what it is given, and who is told how it ended."""
