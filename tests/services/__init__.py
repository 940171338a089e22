"""Real servers for the tests: each started once per session on a free port of the loopback interface."""
