"""The clauses of the Serializer port."""
