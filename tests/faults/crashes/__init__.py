"""Engine 1: every step of the protocol at which something can happen."""
