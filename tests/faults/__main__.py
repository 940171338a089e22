"""`python -m faults`: the whole proof."""

from faults.prove import main

main()
