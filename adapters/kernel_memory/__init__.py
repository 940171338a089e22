"""Every port inside of one process: the executable reference of the contracts, and what tests and trials run on.

`memory://name` gives every adapter of that name in this process the same state, `memory://` a private one.
Nothing outlives the process. `kernel_memory.options` has the parameters of the URL.
"""

from kernel_memory.coordination import MemoryCoordination
from kernel_memory.options import Limits, Options
from kernel_memory.results import MemoryResults
from kernel_memory.schedules import MemorySchedules
from kernel_memory.space import Space
from kernel_memory.transport import MemoryTransport

__all__ = [
    "Limits",
    "MemoryCoordination",
    "MemoryResults",
    "MemorySchedules",
    "MemoryTransport",
    "Options",
    "Space",
]
