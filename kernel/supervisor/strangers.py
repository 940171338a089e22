"""The duty of the first process of a container: to reap orphans that were never its own."""

from __future__ import annotations

import os
from collections.abc import Container


def reap_strangers(own: Container[int]) -> int:
    """Reap ended children whose id is not in `own`; returns how many. Never waits.

    It looks before it reaps, because whoever reaped one of our own would take its exit status away.
    """
    count = 0
    try:
        while True:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None or ended.si_pid in own:
                return count
            os.waitpid(ended.si_pid, 0)
            count += 1
    except ChildProcessError:
        return count
