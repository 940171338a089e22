"""A package of somebody else, kept here to prove that the doors are open: it uses what is public and nothing more."""
