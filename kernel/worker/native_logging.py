"""Logging by native threads in a process that gevent or eventlet has patched."""

from __future__ import annotations

import logging
import threading
from types import SimpleNamespace
from typing import Any

from kernel.native import allocate_lock, get_ident, original

#: What the record of a thread that is none of the hub's says as `threadName`.
NATIVE = SimpleNamespace(name="native")


def log_natively() -> None:
    """Have `logging` keep threads apart, not greenlets. To be called once, on the main thread, after the patching.

    The worker's own threads are native and log beside the hub. A green lock knows its own thread only: who waits for
    one that another thread holds is never told that it is free, and waits in a hub where nothing happens. An outlet
    that hangs like this keeps the worker from ending. That two greenlets may be in one handler at a time, if that
    handler lets others run while it writes, is the smaller evil.
    """
    rlock: Any = original("_thread", "RLock")
    main, current_thread = get_ident(), threading.current_thread

    def current() -> Any:
        # Asking for a native thread makes an entry for it, under a lock that is green too.
        return current_thread() if get_ident() == main else NATIVE

    module: Any = logging
    # `logging` finds its locks by this name, those of handlers still to come as well.
    names = {**vars(threading), "RLock": rlock, "Lock": allocate_lock, "current_thread": current}
    module.threading = SimpleNamespace(**names)
    module._lock = rlock()
    for handler in [reference() for reference in module._handlerList]:
        if handler is not None and handler.lock is not None:
            handler.createLock()
