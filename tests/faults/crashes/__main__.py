"""`python -m faults.crashes`."""

from faults.crashes.engine import main

main()
