"""The program `kernel`: one file per command, and the only part of kernel that talks to a person."""
