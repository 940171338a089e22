"""A wall clock that can be set, for each process alone: Python imports this before anything else.

The file that `FAULT_CLOCKS` names holds a number of seconds for every process id, and in the place of 0 one for all of
them. Whoever reads the time in a process gets that much more or less of it; the clock of the machine is not touched.
"""

import mmap
import os
import struct
import time

_path = os.environ.get("FAULT_CLOCKS")
if _path:
    _SIZE = struct.calcsize("d")
    _real = time.time
    _offsets = os.open(_path, os.O_RDWR)
    _place = os.getpid() * _SIZE
    _page = mmap.mmap(_offsets, mmap.PAGESIZE, offset=_place // mmap.PAGESIZE * mmap.PAGESIZE)
    _everybody = mmap.mmap(_offsets, mmap.PAGESIZE)
    _read = struct.Struct("d").unpack_from

    def _time() -> float:
        return _real() + _read(_everybody)[0] + _read(_page, _place % mmap.PAGESIZE)[0]

    time.time = _time
