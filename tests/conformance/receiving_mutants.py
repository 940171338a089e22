"""Broken transports: delays, order, receiving, and the optional methods; see `mutants`."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
from mutants import Mutant

from kernel.native import sleep
from kernel.ports import Delivery, Features, Outgoing, QueueSize


class DeliversEarly(Mutant):
    caught_by = "test_never_early"

    def send(self, batch: Sequence[Outgoing]) -> None:
        super().send([msgspec.structs.replace(out, not_before=max(out.not_before - 10.0, 0.0)) for out in batch])


class CutsLongDelays(Mutant):
    caught_by = "test_beyond_the_longest_delay"

    def send(self, batch: Sequence[Outgoing]) -> None:
        latest = self._clock.now() + self.features.delay
        super().send([msgspec.structs.replace(out, not_before=min(out.not_before, latest)) for out in batch])


class ForgetsDelayedOnClose(Mutant):
    caught_by = "test_delayed_messages_outlive_the_connection"

    def close(self) -> None:
        for queue in self._space.queues.by_name.values():
            queue.delayed.clear()
        super().close()


class IgnoresPriority(Mutant):
    caught_by = "test_higher_priorities_come_first"

    def send(self, batch: Sequence[Outgoing]) -> None:
        super().send([msgspec.structs.replace(out, priority=0) for out in batch])


class HonoursPriorityWithoutClaim(Mutant):
    caught_by = "test_higher_priorities_come_first"

    def open(self) -> None:
        super().open()
        self.changed(priorities=0)


class DropsExpiredWithoutClaim(Mutant):
    caught_by = "test_expired_messages_are_not_delivered"

    def send(self, batch: Sequence[Outgoing]) -> None:
        super().send([out for out in batch if not 0.0 < out.expires_at <= self._clock.now()])


class DeliversExpired(Mutant):
    caught_by = "test_expired_messages_are_not_delivered"

    def open(self) -> None:
        super().open()
        self.changed(expiry=True)

    def send(self, batch: Sequence[Outgoing]) -> None:
        super().send([msgspec.structs.replace(out, expires_at=0.0) for out in batch])


class StoresDuplicates(Mutant):
    caught_by = "test_equal_keys_are_one_message"

    def send(self, batch: Sequence[Outgoing]) -> None:
        super().send([msgspec.structs.replace(out, dedup_key="") for out in batch])


class ForgetsKeysOnAck(Mutant):
    caught_by = "test_the_window_is_kept_after_ack"

    def ack(self, batch: Sequence[Delivery]) -> list[Delivery]:
        for queue in self._space.queues.by_name.values():
            queue.recent.clear()
        return super().ack(batch)


class IgnoresOrderKeys(Mutant):
    caught_by = "test_one_at_a_time_per_key"

    def send(self, batch: Sequence[Outgoing]) -> None:
        super().send([msgspec.structs.replace(out, order_key="") for out in batch])


class DeliversToTwo(Mutant):
    caught_by = "test_concurrent_receivers"

    def receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        found = super().receive(queues, limit, timeout)
        self.send([Outgoing(delivery.queue, delivery.payload) for delivery in found[:1] if not delivery.redelivered])
        return found


class IgnoresTheLimit(Mutant):
    caught_by = "test_the_limit_is_kept"

    def receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        return super().receive(queues, self.features.max_batch, timeout)


class Prefetches(Mutant):
    caught_by = "test_the_limit_is_kept"

    def receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        return super().receive(queues, self.features.max_batch, timeout)[:limit]


class CollectsAFullBatch(Mutant):
    caught_by = "test_receive_does_not_wait_for_more"

    def receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        found = super().receive(queues, limit, timeout)
        sleep(min(timeout, 1.0) if len(found) < limit else 0.0)
        return found


class OverrunsItsTimeout(Mutant):
    caught_by = "test_the_timeout_is_kept"

    def receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        return super().receive(queues, limit, timeout + 0.5)


class GivesUpEarly(Mutant):
    caught_by = "test_the_timeout_is_kept"

    def receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        return super().receive(queues, limit, timeout / 2)


class MergesQueues(Mutant):
    caught_by = "test_earlier_queues_come_first"

    def receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        return super().receive(sorted(queues), limit, timeout)


class LocksWhileWaiting(Mutant):
    caught_by = "test_other_calls_while_receive_blocks"

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._all = threading.Lock()

    def receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        with self._all:
            return super().receive(queues, limit, timeout)

    def send(self, batch: Sequence[Outgoing]) -> None:
        if not self._all.acquire(timeout=1.0):
            return
        super().send(batch)
        self._all.release()


class DoesNotCount(Mutant):
    caught_by = "test_exact_counts"

    def receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        found = super().receive(queues, limit, timeout)
        for delivery in found:
            delivery.redelivered = 0
        return found


class WorksWithoutClaim(Mutant):
    """Does not claim `commit`, and does it."""

    caught_by = "test_commit_sends_and_acks"

    @property
    def features(self) -> Features:
        return replace(super().features, commit=False)


class PeekTakes(Mutant):
    caught_by = "test_peek_takes_nothing"

    def peek(self, queue: str, limit: int) -> list[bytes]:
        return [delivery.payload for delivery in self.receive([queue], limit, 0.0)]


class PurgeTakesLeased(Mutant):
    caught_by = "test_purge_leaves_leased_messages"

    def purge(self, queue: str) -> int:
        self.ack(list(self.latest.values()))
        return super().purge(queue)


class SaysZeroForUnknown(Mutant):
    caught_by = "test_sizes_are_true"

    def sizes(self, queues: Sequence[str]) -> list[QueueSize]:
        return [msgspec.structs.replace(size, in_flight=0) for size in super().sizes(queues)]


class PublishesTwice(Mutant):
    caught_by = "test_every_inbox_gets_a_copy"

    def publish(self, channel: str, payload: bytes) -> None:
        super().publish(channel, payload)
        super().publish(channel, payload)


class ForgetsToWake(Mutant):
    caught_by = "test_wake_is_remembered_once"

    def receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        self._woken = False
        return super().receive(queues, limit, timeout)


class WorksAfterClose(Mutant):
    caught_by = "test_a_closed_transport_is_unavailable"

    def close(self) -> None:
        """Lets go of nothing."""


class AcksOnClose(Mutant):
    caught_by = "test_close_gives_back_what_is_held"

    def close(self) -> None:
        if self._state == "open":
            self.ack(list(self.latest.values()))
        super().close()


class CloseLeavesReceiveBlocked(Mutant):
    caught_by = "test_close_ends_a_blocked_receive"

    def receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        found = super().receive(queues, limit, 0.0)
        if not found and timeout:
            sleep(min(timeout, 1.0))
        return found


class LeaksThreads(Mutant):
    caught_by = "test_close_leaves_nothing_behind"
    end = threading.Event()

    def open(self) -> None:
        super().open()
        threading.Thread(target=self.end.wait, args=(5.0,), daemon=True).start()
