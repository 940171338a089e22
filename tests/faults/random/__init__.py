"""Engine 2: seeded random faults on a running system."""
