"""Many calls of one task in as few port calls as possible."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, TypeGuard, TypeVar

from kernel.call import CallSheet
from kernel.errors import ConfigError, PartialSend, PortError
from kernel.options import Call, CallOptions
from kernel.ports import Outgoing
from kernel.results.result import IGNORED, AsyncResult, Results
from kernel.sending.batcher import open_batch
from kernel.sending.sender import MOST, Sender
from kernel.sending.unite import send_united

R = TypeVar("R")

_PLAIN = frozenset((tuple, list))


def send_many(
    find: Callable[[], CallSheet], calls: Iterable[Sequence[Any] | Call], sender: Sender, kept: Results
) -> list[AsyncResult[R]]:
    """Send the calls in batches, in order, as they come; what `Kernel.send_many` does and raises.

    `find` is asked once the transport is open, because only then its largest payload is known. `kept`: where results
    are read of the calls that keep one.
    """
    batch = open_batch.get()
    most, patience = sender.reach() if batch is None else (MOST, 0.0)
    sheet = find()
    if sheet.united:
        return [send_united(sender, sheet, *_parts(call), kept) for call in calls]
    handles: list[AsyncResult[R]] = []
    errors: dict[int, PortError] = {}
    calls = iter(calls)
    while part := list(islice(calls, most)):
        start = len(handles)
        messages = _messages(sheet, part, handles, kept)
        try:
            if batch is not None:
                batch.messages.extend(messages)
            else:
                sender.post(messages, patience)
                patience = sender.timeout
        except PartialSend as partial:
            errors.update({start + index: error for index, error in partial.errors.items()})
        except PortError as error:
            if start == 0:
                raise
            end = len(handles) + sum(1 for _ in calls)
            errors.update(dict.fromkeys(range(start, end), error))
    if errors:
        raise PartialSend(errors)
    return handles


def _parts(call: Sequence[Any] | Call) -> tuple[Sequence[Any], Mapping[str, Any], CallOptions | None]:
    return (call.args, call.kwargs or {}, call.options) if isinstance(call, Call) else (call, {}, None)


def _are_plain(calls: Sequence[Sequence[Any] | Call]) -> TypeGuard[Sequence[Sequence[Any]]]:
    """Whether they are nothing but their arguments; said of many at once, by one call into C."""
    return _PLAIN.issuperset(map(type, calls))


def _messages(
    sheet: CallSheet, calls: Sequence[Sequence[Any] | Call], handles: list[AsyncResult[R]], kept: Results
) -> list[Outgoing]:
    """What is sent for some calls of one task; their results are added to `handles`."""
    usual = kept if sheet.keeps_result(None) else IGNORED
    if _are_plain(calls):
        ids, made = sheet.messages(calls)
        handles += [AsyncResult(task_id, usual) for task_id in ids]
        return made
    messages: list[Outgoing] = []
    for call in calls:
        if type(call) is tuple or type(call) is list:
            task_id, message = sheet.message(call, {}, None)
            results = usual
        elif isinstance(call, Call):
            if sheet.unites(call.options):
                raise ConfigError(f"{sheet.name}: a unique call among others: send it alone")
            task_id, message = sheet.message(call.args, call.kwargs or {}, call.options)
            results = kept if sheet.keeps_result(call.options) else IGNORED
        else:
            raise TypeError(f"send_many takes argument tuples, as in [(1, 2), (3, 4)], or Calls, not {call!r:.60}")
        handles.append(AsyncResult(task_id, results))
        messages.append(message)
    return messages
