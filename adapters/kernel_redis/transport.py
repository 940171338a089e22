"""The Transport port on Redis."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import count
from math import inf
from typing import Any

from kernel.errors import PartialSend, PortError, Rejected, Unavailable, Unsupported
from kernel.native import monotonic
from kernel.ports import Delivery, Features, Inbox, Outgoing, QueueSize
from kernel_redis.bell import Bell
from kernel_redis.broadcast import Channels
from kernel_redis.client import Client, Command, checked
from kernel_redis.keys import Keys
from kernel_redis.message import header, milliseconds, opened, stored
from kernel_redis.scripts import Script
from kernel_redis.url import Location, parse
from kernel_redis.waiting import WaitingRoom

#: Most messages in one call; a script of this size keeps the server for about a millisecond.
MAX_BATCH = 1000
#: Largest payload in bytes: a message is copied a few times on its way through the server.
MAX_PAYLOAD = 64 * 1024 * 1024
#: Seconds for which an equal key is one message.
DEDUP = 300.0
#: Longest single wait in seconds: how late a message is found whose token went to a receiver that died.
LOOK = 1.0
#: Seconds after which a claim that meets nothing but expired messages is left to the next `receive`.
OVERRUN = 0.05
#: The highest priority.
TOP = 9

_CLAIM = Script("clock", "queue", "claim")
_STORE = Script("clock", "queue", "store")
_ACK = Script("ack")
_RELEASE = Script("clock", "queue", "release")
_EXTEND = Script("clock", "queue", "extend")
_COMMIT = Script("clock", "queue", "commit")
_SIZE = Script("clock", "queue", "size")
_PEEK = Script("clock", "queue", "peek")
_PURGE = Script("clock", "queue", "purge")

#: The last two bytes of a receipt: which message of its claim it is.
_PLACES = [index.to_bytes(2, "big") for index in range(MAX_BATCH)]


class RedisTransport:
    """Queues on a Redis; see `kernel.ports.transport` for what each method promises.

    Where the port leaves a choice: an ack after the end of the lease succeeds as long as nobody else was given the
    message; `close` gives nothing back, the leases run out; a lost or released message goes to the front of its
    priority. A message of a lower priority counts as one level higher for each `aging` seconds that it has waited. On a
    cluster, `commit` is not offered, because one step cannot reach two nodes.
    """

    def __init__(self, location: Location) -> None:
        self._location = location
        self._client = Client(location)
        self._keys = Keys(location.prefix)
        self._bell = Bell()
        self._room = WaitingRoom(self._client, self._keys, self._bell)
        self._channels = Channels(self._client, self._keys)
        self._known: set[str] = set()
        #: Queues of the last look, and until when nothing is there without a token.
        self._dry: tuple[list[str], float] = ([], 0.0)
        self._lease = max(1, int(location.lease * 1000))
        self._aging = int(location.aging * 1000)
        # A receipt names the transport, the claim and the message: no two receivers ever have an equal one.
        self._nonce = os.urandom(8)
        self._numbers = count(1)
        self._features = Features(
            lease=location.lease,
            survives="process",
            delay=inf,
            priorities=TOP + 1,
            max_batch=MAX_BATCH,
            max_payload=MAX_PAYLOAD,
            expiry=True,
            dedup=DEDUP,
            broadcast=True,
            commit=self._client.spans,
            counts=True,
            # Sentinels and the nodes of a cluster are asked one after the other.
            answers_within=location.timeout if location.kind in ("server", "unix") else inf,
            inspect=True,
            peek=True,
            lists=True,
            wake=True,
        )

    @classmethod
    def from_url(cls, url: str) -> RedisTransport:
        """The transport that a URL describes; `ConfigError` for what is none."""
        return cls(parse(url))

    @property
    def features(self) -> Features:
        """What this transport can do."""
        return self._features

    # -- lifecycle -------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Connect and look at the server. Idempotent; a closed transport stays closed."""
        self._features = replace(self._features, survives=self._client.open().survives)

    def close(self) -> None:
        """Let go of the connections; what this transport holds comes back when its leases run out."""
        self._client.close()
        self._channels.close()
        self._bell.ring()
        self._bell.close()

    def declare(self, queues: Sequence[str]) -> None:
        """Enter the queues in the list of those that exist."""
        self._client.check()
        if queues:
            self._client.one(self._keys.queues, "SADD", self._keys.queues, *queues)
            self._known.update(queues)

    # -- messages --------------------------------------------------------------------------------------------------

    def send(self, batch: Sequence[Outgoing]) -> None:
        """Store all messages, each queue and priority with one script."""
        _check_size(batch)
        errors = self._refusals(batch)
        self._declare_new({out.queue for out in batch})
        commands, owners = self._storing(batch, errors)
        answers = self._client.many(commands) if commands else []
        failed = [at for at, answer in enumerate(answers) if isinstance(answer, PortError)]
        if len(failed) == len(commands) and not errors:
            for at in failed:
                raise answers[at]
        for at in failed:
            errors.update(dict.fromkeys(owners[at], answers[at]))
        if errors and len(errors) == len(batch) == 1:
            raise errors[0]
        if errors:
            raise PartialSend(errors)

    def receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        """Take up to `limit` messages under a lease each."""
        until = monotonic() + timeout
        names = list(dict.fromkeys(queues))
        limit = min(limit, MAX_BATCH)
        if limit <= 0 or not names:
            self._client.check()
            return []
        self._declare_new(names)
        taken: list[Delivery] = []
        dry_for = self._dry_for(names)
        if dry_for <= 0 or timeout <= 0:
            claims = self._claims(names, limit)
            answers = self._client.many([command for command, _ in claims])
            taken, dry_for = self._gather(names, limit, claims, answers)
        while not taken and not self._bell.rung:
            left = until - monotonic()
            if left <= 0:
                break
            claims = self._claims(names, limit)
            answers = self._room.wait(names, min(left, dry_for, LOOK), [command for command, _ in claims])
            self._client.check()
            taken, dry_for = self._gather(names, limit, claims, answers)
        if self._bell.rung:
            self._bell.hush()
        return taken

    def ack(self, batch: Sequence[Delivery]) -> list[Delivery]:
        """Settle for good; returns those whose lease was lost."""
        return self._settle(_ACK, batch)

    def release(self, batch: Sequence[Delivery]) -> list[Delivery]:
        """Give back at once; returns those whose lease was lost."""
        return self._settle(_RELEASE, batch)

    # -- optional protocols ----------------------------------------------------------------------------------------

    def extend(self, batch: Sequence[Delivery], lease: float) -> list[Delivery]:
        """Hide the messages for `lease` seconds from now; returns those whose lease was lost."""
        return self._settle(_EXTEND, batch, max(1, int(lease * 1000)))

    def commit(self, batch: Sequence[tuple[Delivery, Sequence[Outgoing]]]) -> list[Delivery]:
        """Publish the sends of each delivery and ack it, as one step; of a lost delivery nothing is published."""
        if not self._client.spans:
            raise Unsupported("a Redis Cluster cannot publish and acknowledge in one step")
        _check_size(batch)
        every = [out for _, sends in batch for out in sends]
        for error in self._refusals(every).values():
            raise error
        self._declare_new({out.queue for out in every})
        bases: dict[str, int] = {}
        arguments: list[Any] = [int(DEDUP * 1000)]
        now = int(time.time() * 1000)
        for delivery, sends in batch:
            arguments += (bases.setdefault(self._keys.queue(delivery.queue), len(bases) + 1), delivery.receipt)
            arguments.append(len(sends))
            for out in sends:
                arguments.append(bases.setdefault(self._keys.queue(out.queue), len(bases) + 1))
                arguments += self._stored_each(out, now)
        if not bases:
            return []
        keys = tuple(bases)
        lost = self._client.one(keys[0], *_COMMIT.command(keys, *arguments))
        return [batch[at][0] for at in lost]

    def wake(self) -> None:
        """End a blocked `receive`, or the next one that would block."""
        self._bell.ring()

    def publish(self, channel: str, payload: bytes) -> None:
        """Hand a copy to every inbox of the channel."""
        self._channels.publish(channel, payload)

    def listen(self, channel: str) -> Inbox:
        """Open an inbox."""
        return self._channels.listen(channel)

    def queues(self) -> list[str]:
        """Names of the queues that exist, sorted."""
        found: Iterable[bytes] = self._client.one(self._keys.queues, "SMEMBERS", self._keys.queues)
        return sorted(name.decode() for name in found)

    def sizes(self, queues: Sequence[str]) -> list[QueueSize]:
        """How full each queue is."""
        answers = self._client.many([self._of(queue, _SIZE) for queue in queues])
        return [_size(queue, *checked(answer)) for queue, answer in zip(queues, answers, strict=True)]

    def peek(self, queue: str, limit: int) -> list[bytes]:
        """Payloads of ready and delayed messages, the next to be delivered first."""
        found: list[bytes] = checked(self._client.many([self._of(queue, _PEEK, limit)])[0])
        return [opened(message)[0] for message in found]

    def purge(self, queue: str) -> int:
        """Drop all ready and delayed messages; returns how many."""
        dropped: int = checked(self._client.many([self._of(queue, _PURGE)])[0])
        return dropped

    # -- inside: sending -------------------------------------------------------------------------------------------

    def _of(self, queue: str, script: Script, *arguments: Any) -> Command:
        base = self._keys.queue(queue)
        return base, script.command((base,), *arguments)

    def _declare_new(self, queues: Iterable[str]) -> None:
        known = self._known
        new = [queue for queue in queues if queue not in known]
        if new:
            self.declare(new)

    def _storing(
        self, batch: Sequence[Outgoing], errors: dict[int, PortError]
    ) -> tuple[list[Command], list[list[int]]]:
        """The commands that store a batch, and the indexes of what each of them stores.

        Plain messages are pushed, and then their queue is given its token: two commands that need no script, because a
        token twice is one, and one that is missing costs a receiver `LOOK` seconds. A queue with a message that has a
        time or a key goes through one script as a whole, so that its order is kept.
        """
        now = int(time.time() * 1000)
        special = {out.queue for out in batch if out.not_before or out.dedup_key}
        groups: dict[tuple[str, int], list[int]] = {}
        for at, out in enumerate(batch):
            if at not in errors:
                groups.setdefault((out.queue, -1 if out.queue in special else out.priority), []).append(at)
        commands: list[Command] = []
        owners = list(groups.values())
        for (queue, priority), indexes in groups.items():
            if priority >= 0:
                key = self._keys.ready(queue, priority)
                head = header(priority, now)
                outs = map(batch.__getitem__, indexes)
                pushed = [stored(out, now) if out.expires_at else head + out.payload for out in outs]
                commands.append((key, ("RPUSH", key, *pushed)))
            else:
                each = [part for at in indexes for part in self._stored_each(batch[at], now)]
                commands.append(self._of(queue, _STORE, int(DEDUP * 1000), *each))
        for queue in dict.fromkeys([queue for queue, priority in groups if priority >= 0]):
            key = self._keys.wake(queue)
            commands.append((key, ("ZADD", key, 0, "1")))
            owners.append([])
        return commands, owners

    def _stored_each(self, out: Outgoing, now: int) -> tuple[Any, ...]:
        due = milliseconds(out.not_before)
        nonce = self._nonce + (next(self._numbers) & 0xFFFFFFFF).to_bytes(4, "big")
        return out.priority, due, out.dedup_key, nonce, stored(out, now)

    def _refusals(self, batch: Sequence[Outgoing]) -> dict[int, PortError]:
        return {
            at: Rejected(f"priority {out.priority} is not 0 to 9, or {len(out.payload)} bytes exceed {MAX_PAYLOAD}")
            for at, out in enumerate(batch)
            if len(out.payload) > MAX_PAYLOAD or not 0 <= out.priority <= TOP
        }

    # -- inside: receiving -----------------------------------------------------------------------------------------

    def _claims(self, queues: list[str], limit: int) -> list[tuple[Command, bytes]]:
        """A claim from the first queue, and a look into the others, which are claimed from only when the first had too
        few. A command that claims from several queues would not work on a cluster."""
        return [self._claim(queue, 0 if at else limit) for at, queue in enumerate(queues)]

    def _gather(
        self, queues: list[str], limit: int, claims: list[tuple[Command, bytes]], answers: list[Any]
    ) -> tuple[list[Delivery], float]:
        """What was claimed, and the seconds for which there is nothing more without a token."""
        taken: list[Delivery] = []
        dry_for = inf
        until = monotonic() + OVERRUN
        for at, queue in enumerate(queues):
            token, answer = claims[at][1], answers[at]
            # Another claim after a look, and after a claim of messages that had expired: what is behind them comes now.
            while not isinstance(answer, PortError):
                now, ready, ready_at, messages = answer
                if messages:
                    taken += self._deliveries(queue, token, now, messages)
                if not ready or len(taken) >= limit or (messages and monotonic() > until):
                    break
                command, token = self._claim(queue, limit - len(taken))
                answer = self._client.many([command])[0]
            if isinstance(answer, PortError):
                if taken:
                    dry_for = 0.0
                    break  # what was taken must be handed out; the next call meets the trouble again
                raise answer
            if ready:
                dry_for = 0.0
                break  # enough, or it took long: what this queue has left comes before what the next ones have
            if ready_at >= 0:
                dry_for = min(dry_for, max(0.0, (ready_at - now + 1) / 1000))
        self._dry = (queues, monotonic() + min(dry_for, LOOK))
        return taken, dry_for

    def _dry_for(self, queues: list[str]) -> float:
        """Seconds for which it is known from the last look that these queues have nothing without a token."""
        known, until = self._dry
        return until - monotonic() if known == queues else 0.0

    def _claim(self, queue: str, limit: int) -> tuple[Command, bytes]:
        token = self._nonce + (next(self._numbers) & 0xFFFFFFFF).to_bytes(4, "big")
        return self._of(queue, _CLAIM, limit, self._lease, token, self._aging), token

    def _deliveries(self, queue: str, token: bytes, now: int, messages: list[bytes]) -> list[Delivery]:
        found: list[Delivery] = []
        expired: list[Delivery] = []
        for place, message in zip(_PLACES, messages, strict=False):
            payload, redelivered, expires_at = opened(message)
            delivery = Delivery(payload, queue, token + place, redelivered)
            if expires_at and expires_at <= now:
                expired.append(delivery)
            else:
                found.append(delivery)
        if expired:
            try:
                self.ack(expired)
            except Unavailable:
                pass  # they come back when their lease has run out, and are dropped then
        return found

    # -- inside: settling ------------------------------------------------------------------------------------------

    def _settle(self, script: Script, batch: Sequence[Delivery], *arguments: Any) -> list[Delivery]:
        """Run a script on the receipts of each queue; the deliveries whose lease was lost."""
        _check_size(batch)
        by_queue: dict[str, list[Delivery]] = {}
        for delivery in batch:
            by_queue.setdefault(delivery.queue, []).append(delivery)
        commands = [
            self._of(queue, script, *arguments, *[delivery.receipt for delivery in deliveries])
            for queue, deliveries in by_queue.items()
        ]
        answers = self._client.many(commands)
        lost: list[Delivery] = []
        for deliveries, answer in zip(by_queue.values(), answers, strict=True):
            lost += [deliveries[at] for at in checked(answer)]
        return lost


def _check_size(batch: Sequence[object]) -> None:
    if len(batch) > MAX_BATCH:
        raise Rejected(f"{len(batch)} in one call; at most {MAX_BATCH}")


def _size(queue: str, ready: int, delayed: int, in_flight: int, oldest: int) -> QueueSize:
    return QueueSize(queue, ready, delayed, in_flight, oldest / 1000 if oldest >= 0 else None)
