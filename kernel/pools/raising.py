"""Raising an exception inside of another thread."""

from __future__ import annotations

import ctypes


def raise_in(ident: int, error: BaseException) -> bool:
    """Raise an exception of the type of `error` in the thread `ident` as soon as it runs Python code again.

    Uses PyThreadState_SetAsyncExc (https://docs.python.org/3/c-api/init.html), which takes a type, not an instance,
    and does not end a blocking call. False when there is no such thread.
    """
    kind = ctypes.py_object(type(error))
    reached: int = ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), kind)
    return reached == 1


def withdraw(ident: int) -> None:
    """Take back what `raise_in` asked for and the thread has not noticed yet."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), None)
