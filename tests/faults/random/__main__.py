"""`python -m faults.random`."""

from faults.random.campaign import main

main()
