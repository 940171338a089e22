"""Mutants of the adapters. Each function breaks this process; its docstring says what is wrong then."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from hashlib import sha1
from types import ModuleType
from typing import Any

from kernel_rabbitmq.intake import Intake
from kernel_rabbitmq.publisher import Publisher
from kernel_redis import scripts
from kernel_redis import transport as redis
from kernel_redis.scripts import Script
from kernel_redis.transport import RedisTransport
from kernel_sqlite import messages, results
from kernel_sqlite.transport import SqliteTransport

from kernel.ports import Delivery

# -- SQLite --------------------------------------------------------------------------------------------------------


def _sql(module: ModuleType, name: str, old: str, new: str) -> None:
    """Change a statement; a mutant of a statement that is not there any more is none."""
    statement = getattr(module, name)
    assert old in statement, statement
    setattr(module, name, statement.replace(old, new))


def commit_in_two_steps() -> None:
    """What is one step is two: the message is acknowledged, then what follows from it is sent."""

    def commit(self: Any, batch: Any) -> list[Delivery]:
        lost: list[Delivery] = self.ack([delivery for delivery, _ in batch])
        self.send([out for _, sends in batch for out in sends])
        return lost

    SqliteTransport.commit = commit  # type: ignore[method-assign]


def stored_later() -> None:
    """A send returns before the message is stored."""
    original = SqliteTransport.send

    def send(self: Any, batch: Any) -> None:
        threading.Timer(0.3, original, (self, batch)).start()

    SqliteTransport.send = send  # type: ignore[method-assign]


def reclaim_without_fencing() -> None:
    """Who was overtaken settles what somebody else has by now."""
    _sql(messages, "SETTLE", "AND token = ?", "AND ? > 0")
    _sql(messages, "RETURN", "AND token = ?", "AND ? > 0")


def reclaim_that_drops() -> None:
    """A message whose lease has run out is deleted."""
    messages.EXPIRED = "DELETE FROM leased WHERE queue = ? AND until <= ?"  # type: ignore[misc]


def redelivery_not_counted() -> None:
    """A message that was delivered before looks like a new one."""
    _sql(messages, "EXPIRED", "redelivered + 1", "redelivered")


def release_that_forgets() -> None:
    """What is given back is gone."""
    SqliteTransport.release = SqliteTransport.ack  # type: ignore[method-assign]


def records_without_ranks() -> None:
    """A record that is not final is replaced by any other."""
    _sql(results, "_PUT", "ELSE (excluded.generation, excluded.attempt, excluded.fence) >= ", "ELSE 1 OR 0 < ")
    _sql(results, "_PUT", "0 < (generation, attempt, fence)", "0 < generation")


# -- Redis ---------------------------------------------------------------------------------------------------------


def _lua(old: str, new: str) -> None:
    """Change all scripts that have a text."""
    changed = 0
    for script in [each for each in vars(redis).values() if isinstance(each, Script)]:
        text = scripts._TEXTS[script.digest]
        if old in text:
            text = text.replace(old, new)
            script.digest = sha1(text.encode(), usedforsecurity=False).hexdigest()
            scripts._TEXTS[script.digest] = text
            changed += 1
    assert changed, old


def lapsed_lease_that_drops() -> None:
    """A message whose lease has run out is removed and not given to anybody."""
    _lua("redis.call('LPUSH', base .. ':' .. level(messages[i]), counted(messages[i]))", "")


def extend_that_revives() -> None:
    """A lease that was lost is there again when it is renewed."""
    _lua("'XX', 'CH', unpack(leases)) < #ARGV - 1", "'CH', unpack(leases)) < 0")


def ack_that_leaves_something() -> None:
    """An acknowledged message is kept among those that are held."""
    _lua("redis.call('HDEL', held, unpack(ARGV))\nreturn lost", "return lost")


def receive_that_takes_away() -> None:
    """What is received is nowhere else, as with a plain pop."""
    original, ack = RedisTransport.receive, RedisTransport.ack

    def receive(self: Any, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        found = original(self, queues, limit, timeout)
        ack(self, found)
        return found

    RedisTransport.receive = receive  # type: ignore[method-assign]


# -- RabbitMQ ------------------------------------------------------------------------------------------------------


def publish_without_confirm() -> None:
    """A send returns when the message is written to the connection."""

    def publish(self: Any, batch: Any, mandatory: bool = True) -> Any:
        channel = yield from self._ready()
        channel.connection._adapter_emit_data(self._frames.of(batch, mandatory))
        self._last += len(batch)
        return {}

    Publisher.publish = publish  # type: ignore[method-assign]


def ack_of_everything() -> None:
    """An acknowledgement includes all messages that were received before."""
    original = Intake._write

    def write(session: Any, wanted: Any, ack: bool) -> None:
        if ack and wanted:
            session.channel.basic_ack(max(wanted), multiple=True)
            for tag in wanted:
                session.unsettled.pop(tag, None)
        else:
            original(session, wanted, ack)

    Intake._write = staticmethod(write)  # type: ignore[method-assign,assignment]
