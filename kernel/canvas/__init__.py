"""Workflows. Pure: no clock, no thread, no I/O.

`flow` has the values that a user builds, `build` the names to build them with, `plain` their JSON form, `draw` their
picture and `stamp` their stamps. `lower` makes `frames` of a workflow and says what to store and send now; `advance`
says what a settled task causes; both ask for I/O in the terms of `effects`. `evaluate` is the meaning of it all.
"""

from kernel.canvas.build import chain, chord, chunks, group, signature, starmap, xmap
from kernel.canvas.flow import Chain, Chord, Flow, Group, Signature
from kernel.canvas.plain import from_plain, to_plain
from kernel.canvas.stamp import StampingVisitor

__all__ = [
    "Chain",
    "Chord",
    "Flow",
    "Group",
    "Signature",
    "StampingVisitor",
    "chain",
    "chord",
    "chunks",
    "from_plain",
    "group",
    "signature",
    "starmap",
    "to_plain",
    "xmap",
]
