"""The worker: five small objects wired in one constructor."""
