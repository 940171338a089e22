"""Raising an exception inside of another thread."""

from __future__ import annotations

import ctypes
from typing import Any


def raise_in(ident: int, error: BaseException, job: Any = None) -> bool:
    """Raise an exception of the type of `error` in the thread `ident` as soon as it runs Python code again.

    Uses PyThreadState_SetAsyncExc (https://docs.python.org/3/c-api/init.html), which takes a type, not an instance,
    and does not end a blocking call. False when there is no such thread, or when a `job` is given and its body does
    not run.

    Nothing is called between the look at the job and the request, so the interpreter switches no threads in between,
    and what is raised is raised while whoever runs the body still catches it. Taking a request back was rejected:
    CPython 3.11 then leaves its flag up for the whole process, which slows all code and hangs it under a profiler.
    """
    ask = ctypes.pythonapi.PyThreadState_SetAsyncExc
    where, kind = ctypes.c_ulong(ident), ctypes.py_object(type(error))
    reached: bool = (job is None or job.interruptible) and ask(where, kind) == 1
    return reached
