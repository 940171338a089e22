"""The clauses of the Pool port."""
