"""Names of the tasks that every worker knows (`kernel.builtin`)."""

from __future__ import annotations

#: returns its argument
COLLECT = "kernel.collect"
#: returns its argument, the results of a member of a group and of what it has added to that group
SPREAD = "kernel.spread"
#: `[task(item) for item in items]`
MAP = "kernel.map"
#: `[task(*item) for item in items]`
STARMAP = "kernel.starmap"
#: does nothing, late: what it joins ends with it
DEADLINE = "kernel.deadline"
