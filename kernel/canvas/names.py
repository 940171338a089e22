"""Names of the tasks that every worker knows (`kernel.builtin`)."""

from __future__ import annotations

#: returns its argument
COLLECT = "kernel.collect"
#: `[task(item) for item in items]`
MAP = "kernel.map"
#: `[task(*item) for item in items]`
STARMAP = "kernel.starmap"
#: does nothing, late: what it joins ends with it
DEADLINE = "kernel.deadline"
