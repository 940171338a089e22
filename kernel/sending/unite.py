"""Sends calls of unique tasks, one by one: each is claimed before it is sent, and what comes of it depends on that."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from kernel.call import CallSheet
from kernel.errors import ConfigError, Duplicate, PortError
from kernel.native import monotonic
from kernel.options import CallOptions
from kernel.results.result import DROPPED, IGNORED, AsyncResult, Results
from kernel.sending.batcher import open_batch
from kernel.sending.sender import Sender

T = TypeVar("T")


def send_united(
    sender: Sender,
    sheet: CallSheet,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    options: CallOptions | None,
    kept: Results,
) -> AsyncResult[Any]:
    """Send a unique call, or not; what its `on_conflict` says. The handle of the call that has the key."""
    if open_batch.get() is not None:
        raise ConfigError(
            f"{sheet.name} is unique: send it outside of batch() and of transactions, because its key is claimed when "
            f"it is sent"
        )
    bounds = sheet.bounds(options)
    assert bounds is not None
    unique = bounds.unique
    assert unique is not None
    claims = sender.claims
    assert claims is not None
    task_id, message = sheet.message(args, kwargs, options)
    key = bounds.claimed(args, kwargs)
    deadline = monotonic() + claims.timeout
    results = kept if sheet.keeps_result(options) else IGNORED
    owner = claims.make(key, task_id, unique, deadline)
    if owner != task_id:
        if unique.on_conflict == "raise":
            raise Duplicate(f"{sheet.name}: the call {owner} has the key {key!r}", owner)
        return AsyncResult(task_id, DROPPED) if unique.on_conflict == "drop" else AsyncResult(owner, results)
    try:
        sender.post([message], deadline - monotonic())
    except BaseException as error:
        if not isinstance(error, PortError) or error.sent == "no":
            claims.end(key, task_id)
        raise
    claims.confirm(key, task_id, unique.lives_for)
    return AsyncResult(task_id, results)


async def aside(call: Callable[[], T]) -> T:
    """Make a call that waits for services, in a thread, for a coroutine."""
    from asyncio import to_thread  # already imported by whoever awaits; `import kernel` must not load it

    return await to_thread(call)
