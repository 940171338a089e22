"""The proof harness: a ledger outside of the system, faults inside of it, and a comparison at the end."""
