"""From a call to a message: everything about a task that does not change from call to call is worked out once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Any, Protocol

from kernel import envelope as wire
from kernel.address import Address, Destination
from kernel.arity import Arity
from kernel.canvas.frames import Parcel, Rare
from kernel.canvas.names import COLLECT, DEADLINE
from kernel.clock import Clock
from kernel.compression import MOST_GROWTH, method
from kernel.configuration.settings import Tasks
from kernel.current import note_child, running
from kernel.envelope import Envelope, decode, encode
from kernel.errors import ConfigError, DecodeError, Rejected, Unsupported
from kernel.ids import new_id, new_ids
from kernel.limits.bounds import OPTIONS, Bounds
from kernel.models import dumper
from kernel.options import CallOptions, TaskOptions, check_known, wall_clock
from kernel.ports import Outgoing, Serializer
from kernel.routing import ANYWHERE, Router
from kernel.versions import FIRST

#: What an unlimited `max_retries` is on the wire.
UNLIMITED = -1

#: Result policies on the wire (`envelope.RESULT`).
RESULT_IGNORED, RESULT_KEPT, RESULT_ERRORS = 0, 1, 2


class Callee(Protocol):
    """What is called: a `Task`."""

    function: Callable[..., Any]
    options: TaskOptions
    bind: bool


_Function = tuple[Callable[..., Any] | None, int]


class CallSheet:
    """How calls of one task become messages in one application."""

    __slots__ = (
        "_above", "_arity", "_bounds", "_clock", "_compression", "_dump", "_dumps", "_exchange", "_extra", "_function",
        "_ignored", "_least", "_limit", "_most", "_priority", "_queue", "_serializer", "_shadow", "_special", "_unkept",
        "_zone", "address", "expires", "name", "united",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        task: Callee | None,
        defaults: Tasks,
        serializer: Callable[[str], Serializer],
        limit: int,
        clock: Clock,
        router: Router = ANYWHERE,
        zone: tzinfo | None = None,
        exchange: Callable[[str], None] | None = None,
    ) -> None:
        """`task` is None for a task that is only known by name here. `limit`: largest payload in bytes. `zone` is
        that of datetimes without one. `exchange` is asked whether messages may be made for an exchange.

        ConfigError for a task whose queue is not declared, where only declared ones may be used.
        """
        options: Mapping[str, Any] = task.options if task is not None else {}
        self.name = name
        self._clock = clock
        self._serializer = serializer
        self._limit = limit
        self._zone = zone
        self._exchange = exchange
        self.address = Address(name, options, defaults, router)
        usual = self.address.usual
        self._queue = usual.queue
        checked = task is not None and options.get("typing", True)
        self._arity = Arity(task.function, bound=1 if task.bind else 0) if task is not None and checked else None
        self._least = self._arity.least if self._arity else 0
        self._most = self._arity.most if self._arity else 1 << 30
        self._function: _Function = (None, 0) if task is None else (task.function, int(task.bind))
        self._bounds = Bounds.find(name, self._function[0], self._function[1], options)
        codec = serializer(options.get("serializer") or defaults.serializer)
        self._dumps = codec
        self._unkept = RESULT_ERRORS if options.get("store_errors_even_if_ignored") else RESULT_IGNORED
        self._shadow: Callable[..., str] | None = options.get("shadow_name")
        self._dump = dumper(options)
        self._compression: str = options.get("compression", defaults.compression)
        self._above = defaults.compress_above
        self._ignored: bool = options.get("ignore_result", defaults.ignore_result)
        self.expires: float = options.get("expires") or defaults.expires
        #: Fields of every call of this task.
        self._extra: dict[int, Any] = {wire.PRIORITY: usual.priority} if usual.priority else {}
        if options.get("version", FIRST) != FIRST:
            self._extra[wire.SCHEMA] = options["version"]
        self._priority = usual.priority
        #: Calls without options of their own claim a key before they are sent.
        self.united = self._bounds is not None and self._bounds.unique is not None
        #: Every call has something of its own.
        varies = self.expires or self._shadow or self.address.varies or usual.exchange or self._bounds
        self._special = bool(varies or self._compression or self._dump)

    @property
    def queue(self) -> str:
        """Where calls go that do not say it themselves."""
        return self._queue

    def keeps_result(self, options: CallOptions | None) -> bool:
        """Whether a worker keeps the result of a call with these options, as far as its task is known here."""
        return not (options or {}).get("ignore_result", self._ignored)

    def bounds(self, options: CallOptions | None) -> Bounds | None:
        """The limits of a call with these options, None when it has none."""
        if options and not OPTIONS.isdisjoint(options):
            return (self._bounds or Bounds(self.name, *self._function, {})).of_call(options)
        return self._bounds

    def unites(self, options: CallOptions | None) -> bool:
        """Whether a call with these options claims a key before it is sent."""
        if not options or OPTIONS.isdisjoint(options):
            return self.united
        bounds = self.bounds(options)
        return bounds is not None and bounds.unique is not None

    def message(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], options: CallOptions | None
    ) -> tuple[str, Outgoing]:
        """The task id and what to hand to the transport.

        TypeError when the arguments do not fit, `EncodeError` when they cannot be serialised, `Rejected` when the
        frame is too large: all in the caller, before anything is sent.
        """
        if (kwargs or not self._least <= len(args) <= self._most) and self._arity is not None:
            reason = self._arity.refuse(args, kwargs)
            if reason:
                raise TypeError(reason)
        parent = running.get()
        if options or parent is not None or self._special:
            return self._with_options(args, kwargs, options or {})
        task_id = new_id()
        return task_id, self._plain(task_id, args, kwargs, self._clock.now())

    def messages(self, calls: Sequence[Sequence[Any]]) -> tuple[list[str], list[Outgoing]]:
        """`message` for many calls that have arguments by position and nothing else: their ids, and what to hand over.

        What they share is worked out once, the moment among it, and a call takes two thirds of the time of one alone.
        """
        if self._special or running.get() is not None:
            made = [self.message(args, {}, None) for args in calls]
            return [task_id for task_id, _ in made], [message for _, message in made]
        if self._arity is not None and not all(self._least <= size <= self._most for size in set(map(len, calls))):
            for reason in (self._arity.refuse(args, {}) for args in calls):
                if reason:
                    raise TypeError(reason)
        ids, now = new_ids(len(calls)), self._clock.now()
        return ids, [self._plain(task_id, args, {}, now) for task_id, args in zip(ids, calls, strict=True)]

    def _plain(self, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any], now: float) -> Outgoing:
        """A call that has nothing of its own but its id, its arguments and its moment."""
        codec = self._dumps
        body = codec.dumps([list(args), kwargs])
        payload = encode(Envelope(task_id, self.name, body, codec.name, 0, 0, now, self._extra))
        if len(payload) > self._limit:
            self._too_large(payload)
        return Outgoing(self._queue, payload, self._priority)

    def _with_options(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], options: CallOptions
    ) -> tuple[str, Outgoing]:
        check_known(options, CallOptions, "call")
        now = self._clock.now()
        codec = self._serializer(options["serializer"]) if "serializer" in options else self._dumps
        extra = dict(self._extra)
        if self.expires:
            extra[wire.EXPIRES_AT] = now + self.expires
        self._moments(extra, options, now)
        self._call_extra(extra, options)
        bounds = self.bounds(options)
        if bounds is not None:
            extra.update(bounds.fields(args, kwargs))
            if bounds.wait and wire.ETA not in extra:
                extra[wire.ETA] = now + bounds.wait
        task_id = options.get("task_id") or new_id()
        parent = running.get()
        to = self._destination(extra, args, kwargs, options)
        if parent is not None:
            note_child(parent, task_id)
            extra[wire.PARENT] = parent.envelope.id
            extra[wire.ROOT] = parent.envelope.extra.get(wire.ROOT, parent.envelope.id)
        body = self._body(args, kwargs, codec, options, extra)
        payload = encode(Envelope(task_id, self.name, body, codec.name, 0, 0, now, extra))
        if len(payload) > self._limit:
            self._too_large(payload)
        if options or self._special:
            self._check(payload)
        message = Outgoing(
            to.queue,
            payload,
            to.priority,
            extra.get(wire.ETA, 0.0),
            extra.get(wire.EXPIRES_AT, 0.0),
        )
        if to.exchange:
            self._publish(to, message.not_before > now)
            message.exchange, message.routing_key = to.exchange, to.routing_key
        return task_id, message

    def _publish(self, to: Destination, delayed: bool) -> None:
        """`Unsupported` for a message that cannot go to an exchange."""
        if delayed:
            # What is delayed waits in queues of the broker, and would leave the last one by a key of its own.
            raise Unsupported(
                f"{self.name}: a call to the exchange {to.exchange!r} cannot be delayed (countdown, eta, debounce): "
                f"name a queue, or let the task that it reaches call another one later"
            )
        if self._exchange is not None:
            self._exchange(to.exchange)

    def _destination(
        self, extra: dict[int, Any], args: Sequence[Any], kwargs: Mapping[str, Any], options: CallOptions
    ) -> Destination:
        """Where a call with options goes; its priority and the name that it is shown by are written down."""
        parent = running.get()
        inherited = parent.envelope.extra.get(wire.PRIORITY, 0) if parent is not None else None
        to = self.address.of(args, kwargs, options, inherited)
        if to.priority or wire.PRIORITY in extra:
            extra[wire.PRIORITY] = to.priority
        if self._shadow is not None:
            extra.setdefault(wire.SHADOW, str(self._shadow(args, kwargs, options)))
        return to

    def altered(
        self,
        envelope: Envelope,
        args: Sequence[Any] | None,
        kwargs: Mapping[str, Any] | None,
        options: CallOptions,
    ) -> Envelope:
        """A call with other arguments (None: its own) or options, for a retry; raises what `message` does."""
        check_known(options, CallOptions, "retry")
        if "exchange" in options or "routing_key" in options:
            raise ConfigError(f"{self.name}: a retry goes to one queue, not to an exchange: give it queue=")
        extra = dict(envelope.extra)
        self._moments(extra, options, self._clock.now())
        self._call_extra(extra, options)
        changed = envelope.but(extra=extra)
        if args is not None and kwargs is not None:
            if self._arity is not None and (reason := self._arity.refuse(args, kwargs)):
                raise TypeError(reason)
            codec = self._serializer(options["serializer"]) if "serializer" in options else self._dumps
            changed = changed.but(body=self._body(args, kwargs, codec, options, extra), codec=codec.name)
            extra.pop(wire.INPUTS, None)  # what the message did not carry is among its arguments now
        payload = encode(changed)
        if len(payload) > self._limit:
            self._too_large(payload)
        self._check(payload)
        return changed

    def _body(
        self,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        codec: Serializer,
        options: CallOptions,
        extra: dict[int, Any],
    ) -> bytes:
        """The arguments as bytes, and in `extra` what has to be known to read them."""
        if self._dump is not None:
            args, kwargs = self._dump(list(args)), self._dump(dict(kwargs))
        body = codec.dumps([list(args), kwargs])
        extra.pop(wire.ENCODING, None)
        if wire.SCHEMA in self._extra:
            extra[wire.SCHEMA] = self._extra[wire.SCHEMA]
        name = options.get("compression", self._compression)
        if name and len(body) > self._above:
            if len(body) > self._limit * MOST_GROWTH:
                self._too_large(body)
            by = method(name)
            packed = by.pack(body)
            if len(packed) < len(body):
                extra[wire.ENCODING] = by.name
                return packed
        return body

    def parcel(self, args: Sequence[Any], kwargs: Mapping[str, Any], options: CallOptions, immutable: bool) -> Parcel:
        """A call of a workflow: its message but for ids, for times, and for what is put before its arguments.

        Errors as of `message`; whether the arguments fit is known but for one that may come before them.
        """
        if options:
            check_known(options, CallOptions, "call")
        if self._arity is not None:
            reason = self._arity.refuse(args, kwargs)
            if reason and (immutable or self._arity.refuse((None, *args), kwargs)):
                raise TypeError(reason)
        extra = dict(self._extra)
        if options:
            self._call_extra(extra, options)
        bounds = self.bounds(options)
        if bounds is not None:
            if bounds.unique is not None:
                raise ConfigError(
                    f"{self.name}: a task of a workflow cannot be unique or debounced, because that is settled by who "
                    f"sends it, and a worker sends it: call it by itself, or give it limits"
                )
            extra.update(bounds.fields(args, kwargs))
        to = self._destination(extra, args, kwargs, options)
        expires = options.get("expires", self.expires or None)
        if isinstance(expires, datetime):
            extra[wire.EXPIRES_AT] = wall_clock(expires)
        codec = self._serializer(options["serializer"]) if "serializer" in options else self._dumps
        body = self._body(args, kwargs, codec, options, extra)
        if len(body) > self._limit:
            self._too_large(body)
        if self.name in (COLLECT, DEADLINE):
            to = Destination(to.queue)  # sent by a worker, to the queue of those who wait for it, and also late
        if to.exchange:
            self._publish(to, bool(options.get("countdown") or options.get("eta") or (bounds and bounds.wait)))
        rare = Rare(
            extra,
            options.get("countdown"),
            wall_clock(options["eta"]) if "eta" in options else None,
            None if isinstance(expires, datetime) else expires,
            immutable,
            to.exchange,
            to.routing_key,
        )
        return Parcel(self.name, body, codec.name, to.queue, rare)

    def _moments(self, extra: dict[int, Any], options: CallOptions, now: float) -> None:
        """Write when a call may start into the envelope's optional fields."""
        if "countdown" in options and "eta" in options:
            raise ConfigError("give countdown or eta, not both")
        if "countdown" in options:
            extra[wire.ETA] = now + options["countdown"]
        elif "eta" in options:
            extra[wire.ETA] = wall_clock(options["eta"], self._zone)
        expires = options.get("expires")
        if expires is not None:
            extra[wire.EXPIRES_AT] = wall_clock(expires, self._zone) if isinstance(expires, datetime) else now + expires

    def _call_extra(self, extra: dict[int, Any], options: CallOptions) -> None:
        """Write the other options of one call there."""
        if "priority" in options:
            extra[wire.PRIORITY] = _priority(options["priority"])
        if options.get("headers"):
            extra[wire.HEADERS] = dict(options["headers"])
        if options.get("stamps"):
            extra[wire.STAMPS] = dict(options["stamps"])
        if "ignore_result" in options:
            extra[wire.RESULT] = self._unkept if options["ignore_result"] else RESULT_KEPT
        if "acks_late" in options:
            extra[wire.ACK_EARLY] = not options["acks_late"]
        if "max_retries" in options:
            allowed = options["max_retries"]
            extra[wire.MAX_RETRIES] = UNLIMITED if allowed is None else allowed
        for field, value in (
            (wire.RESULT_TTL, options.get("result_expires")),
            (wire.SOFT_LIMIT, options.get("soft_time_limit")),
            (wire.HARD_LIMIT, options.get("time_limit")),
            (wire.MAX_DELIVERIES, options.get("max_deliveries")),
            (wire.SHADOW, options.get("shadow")),
        ):
            if value is not None:
                extra[field] = value

    def _check(self, payload: bytes) -> None:
        """Refuse here what every worker would refuse there: a time that is none, a count below zero."""
        try:
            decode(payload)
        except DecodeError as error:
            raise ConfigError(f"{self.name}: an option of this call cannot be: {error}") from None

    def _too_large(self, payload: bytes) -> None:
        raise Rejected(
            f"{self.name}: the message has {len(payload)} bytes, more than the limit of {self._limit}: "
            f"send a reference to the data instead, or raise max_payload where the transport allows it"
        )


def _priority(value: int) -> int:
    if not 0 <= value <= 9:
        raise ConfigError(f"priority {value} is out of range: 0 to 9, 9 the most urgent")
    return value
