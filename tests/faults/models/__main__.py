"""`python -m faults.models`."""

from faults.models.explore import main

main()
