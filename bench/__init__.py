"""Benchmarks: the same no-op work on kernel and on bare loops with the same client calls. `python -m bench --help`."""
