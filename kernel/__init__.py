"""kernel: a distributed task queue built as a ports-and-adapters toolkit."""
