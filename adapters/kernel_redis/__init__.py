"""Redis: transport, result store, coordination and schedule store."""
