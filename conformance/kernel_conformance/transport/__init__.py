"""The clauses of the Transport port, one module per subject."""
