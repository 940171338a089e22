"""The clauses of the ResultStore port."""
