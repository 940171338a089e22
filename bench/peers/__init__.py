"""kernel against its peers: `python -m bench.peers --help`."""
