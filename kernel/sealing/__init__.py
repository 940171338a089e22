"""Seals: what is sealed and for where, and the decorators that do it around a transport and a result store."""
