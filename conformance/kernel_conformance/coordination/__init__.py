"""The clauses of the Coordination port."""
