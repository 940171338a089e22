"""How much memory this process has resident."""

from __future__ import annotations

import os
import sys

try:
    import resource
except ImportError:  # Windows, where processes are not recycled by memory
    _resource = None
else:
    _resource = resource

_STATM = "/proc/self/statm"
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


def resident_bytes() -> int:
    """Resident set size in bytes: the present one on Linux, the largest so far elsewhere, 0 where unknown."""
    try:
        with open(_STATM, "rb") as file:
            return int(file.read().split()[1]) * _PAGE
    except OSError:
        pass
    if _resource is None:
        return 0
    peak: int = _resource.getrusage(_resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes on macOS, KiB elsewhere: getrusage(2)
