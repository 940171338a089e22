"""Engine 3: random commands, and models that say which answers are allowed."""
