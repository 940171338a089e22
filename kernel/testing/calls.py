"""What was sent, and how it differs from what a test expects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from kernel import compression, discovery
from kernel import envelope as wire
from kernel.envelope import Envelope
from kernel.errors import CodecError, ConfigError

#: Times are floats of today's seconds: they have seven digits behind the point.
PRECISION = 1e-4
#: Most bytes of arguments.
MOST = 1 << 30
#: Calls that are shown one by one when none is the one that is looked for.
SHOWN = 10


class Enqueued(msgspec.Struct, frozen=True):
    """One call that was sent, with its arguments as a worker reads them."""

    id: str
    task: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    queue: str
    #: Seconds from the call to the earliest start; None where it may start at once.
    countdown: float | None
    #: Wall clock of that start.
    eta: float | None
    #: Seconds from the call to its expiry; None for never.
    expires: float | None
    priority: int
    headers: dict[str, Any]
    envelope: Envelope

    def __str__(self) -> str:
        arguments = [repr(value) for value in self.args] + [f"{name}={value!r}" for name, value in self.kwargs.items()]
        delay = "" if self.countdown is None else f" in {self.countdown:g} s"
        return f"{self.task}({', '.join(arguments)}) to {self.queue!r}{delay}"


def enqueued(envelope: Envelope, queue: str) -> Enqueued:
    """A sent message as a test sees it. Arguments that cannot be read here are an error in their place."""
    extra, sent_at = envelope.extra, envelope.sent_at
    eta, expires_at = extra.get(wire.ETA), extra.get(wire.EXPIRES_AT)
    args: tuple[Any, ...]
    try:
        body = envelope.body
        if wire.ENCODING in extra:
            body = compression.method(extra[wire.ENCODING]).unpack(body, MOST)
        given, kwargs = discovery.serializer(envelope.codec).loads(body)
        args = tuple(given)
    except (CodecError, ConfigError, TypeError, ValueError) as error:
        args, kwargs = (error,), {}
    return Enqueued(
        envelope.id, envelope.task, args, kwargs, queue,
        None if eta is None else eta - sent_at, eta, None if expires_at is None else expires_at - sent_at,
        extra.get(wire.PRIORITY, 0), extra.get(wire.HEADERS) or {}, envelope,
    )  # fmt: skip


class Wanted:
    """What a test expects of a call: a task, and whatever else it names."""

    def __init__(self, task: str, fields: Mapping[str, Any]) -> None:
        """`fields`: attributes of `Enqueued`, None for those that do not matter."""
        self._task = task
        self._fields = {name: value for name, value in fields.items() if value is not None}
        if "args" in self._fields:
            self._fields["args"] = tuple(self._fields["args"])

    def found(self, calls: Sequence[Enqueued]) -> list[Enqueued]:
        """Those that are as expected."""
        return [call for call in calls if call.task == self._task and not list(self._differences(call))]

    def _differences(self, call: Enqueued) -> Iterator[str]:
        for name, wanted in self._fields.items():
            actual = getattr(call, name)
            if not _same(wanted, actual):
                yield f"{name}: wanted {wanted!r}, was {actual!r}"

    def report(self, calls: Sequence[Enqueued], found: int, times: int | None) -> str:
        """What was expected, and what there was instead."""
        fields = ", ".join(f"{name}={value!r}" for name, value in self._fields.items())
        wanted = "at least once" if times is None else "never" if times == 0 else f"{times} times"
        lines = [f"{self._task} was to be enqueued {wanted}{' with ' + fields if fields else ''}; it was {found} times"]
        own = [call for call in calls if call.task == self._task]
        for call in own[:SHOWN]:
            lines.append(f"  {call}")
            lines += [f"      {difference}" for difference in self._differences(call)]
        if len(own) > SHOWN:
            lines.append(f"  and {len(own) - SHOWN} more of this task")
        others = sorted({call.task for call in calls} - {self._task})
        if others:
            lines.append(f"  also enqueued: {', '.join(others)}")
        elif not own:
            lines.append("  nothing was enqueued")
        return "\n".join(lines)


def _same(wanted: Any, actual: Any) -> bool:
    if isinstance(wanted, int | float) and isinstance(actual, float):
        return abs(wanted - actual) < PRECISION
    return bool(wanted == actual)
