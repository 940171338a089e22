"""kernel: a distributed task queue built as a ports-and-adapters toolkit."""

from kernel.app import Kernel
from kernel.canvas import Signature, StampingVisitor, chain, chord, chunks, group, signature, starmap, xmap
from kernel.declaring import shared_task
from kernel.eager import EagerResult
from kernel.envelope import Envelope
from kernel.errors import (
    ConfigError,
    Ignore,
    KernelError,
    MaxRetriesExceeded,
    Reject,
    ResultTimeout,
    Retry,
    Snooze,
    SoftTimeLimitExceeded,
    TaskFailed,
    Unavailable,
)
from kernel.logs import get_task_logger
from kernel.options import Call
from kernel.own import current_app
from kernel.provided import provide
from kernel.repeats import arun_once_within, once, run_once, run_once_within
from kernel.request import current_request
from kernel.results.groups import GroupResult, ResultSet
from kernel.results.joining import allow_join_result
from kernel.results.result import AsyncResult
from kernel.routing import Broadcast, Queue
from kernel.task import Task, current_task
from kernel.workflows.drawing import draw

__version__ = "0.1.0"

__all__ = [
    "AsyncResult",
    "Broadcast",
    "Call",
    "ConfigError",
    "EagerResult",
    "Envelope",
    "GroupResult",
    "Ignore",
    "Kernel",
    "KernelError",
    "MaxRetriesExceeded",
    "Queue",
    "Reject",
    "ResultSet",
    "ResultTimeout",
    "Retry",
    "Signature",
    "Snooze",
    "SoftTimeLimitExceeded",
    "StampingVisitor",
    "Task",
    "TaskFailed",
    "Unavailable",
    "allow_join_result",
    "arun_once_within",
    "chain",
    "chord",
    "chunks",
    "current_app",
    "current_request",
    "current_task",
    "draw",
    "get_task_logger",
    "group",
    "once",
    "provide",
    "run_once",
    "run_once_within",
    "shared_task",
    "signature",
    "starmap",
    "xmap",
]
