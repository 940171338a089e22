"""Broken transports, each in one way, and the standard test that must catch it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from math import inf
from typing import Any

import msgspec
from kernel_memory import Limits, MemoryTransport

from kernel.errors import PortError, Rejected
from kernel.native import sleep
from kernel.ports import Delivery, Features, Outgoing, QueueSize

#: Limits by which every quantity can be attacked.
SMALL = Limits(lease=30.0, delay=900.0, dedup=10.0, max_batch=50, max_payload=100_000)


class Mutant(MemoryTransport):
    """A reference that remembers the newest delivery of each payload, so that a mutant can settle another's."""

    #: Name of the standard test that catches it.
    caught_by = ""
    latest: dict[bytes, Delivery] = {}

    def receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        found = super().receive(queues, limit, timeout)
        self.latest.update((delivery.payload, delivery) for delivery in found)
        return found

    def newest(self, batch: Sequence[Delivery]) -> list[Delivery]:
        return [self.latest[delivery.payload] for delivery in batch]

    def changed(self, **features: Any) -> None:
        self._features = replace(self._features, **features)


class AcksOnReceive(Mutant):
    caught_by = "test_never_in_neither_place"

    def receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        found = super().receive(queues, limit, timeout)
        self.ack(found)
        return found


class AcksWithoutFence(Mutant):
    caught_by = "test_ack_is_fenced"

    def ack(self, batch: Sequence[Delivery]) -> list[Delivery]:
        return super().ack(self.newest(batch))


class KeepsQuietAboutLoss(Mutant):
    caught_by = "test_ack_returns_only_what_was_lost"

    def ack(self, batch: Sequence[Delivery]) -> list[Delivery]:
        super().ack(batch)
        return []


class ReturnsWholeBatchAsLost(Mutant):
    caught_by = "test_ack_returns_only_what_was_lost"

    def ack(self, batch: Sequence[Delivery]) -> list[Delivery]:
        return list(batch) if super().ack(batch) else []


class ReleasesWithoutFence(Mutant):
    caught_by = "test_release_is_fenced"

    def release(self, batch: Sequence[Delivery]) -> list[Delivery]:
        return super().release(self.newest(batch))


class ExtendsWithoutFence(Mutant):
    caught_by = "test_extend_is_fenced"

    def extend(self, batch: Sequence[Delivery], lease: float) -> list[Delivery]:
        return super().extend(self.newest(batch), lease)


class PublishesSendsOfLostDeliveries(Mutant):
    caught_by = "test_lost_deliveries_publish_nothing"

    def commit(self, batch: Sequence[tuple[Delivery, Sequence[Outgoing]]]) -> list[Delivery]:
        self.send([out for _, sends in batch for out in sends])
        return self.ack([delivery for delivery, _ in batch])


class CommitsHalfOfARefusedBatch(Mutant):
    caught_by = "test_a_refused_commit_does_nothing"

    def commit(self, batch: Sequence[tuple[Delivery, Sequence[Outgoing]]]) -> list[Delivery]:
        return [lost for item in batch for lost in super(CommitsHalfOfARefusedBatch, self).commit([item])]


class CommitsAgain(Mutant):
    caught_by = "test_a_commit_of_everything_lost"

    def commit(self, batch: Sequence[tuple[Delivery, Sequence[Outgoing]]]) -> list[Delivery]:
        lost = self.ack([delivery for delivery, _ in batch])
        self.send([out for delivery, sends in batch if delivery not in lost for out in sends])
        return lost


class LeaseNeverEnds(Mutant):
    caught_by = "test_an_expired_lease_redelivers"

    def open(self) -> None:
        super().open()
        self._term = inf


class LeaseIsShort(Mutant):
    caught_by = "test_a_lease_holds_for_its_length"

    def open(self) -> None:
        super().open()
        self._term = 10.0


class RenewalDoesNothing(Mutant):
    caught_by = "test_extend_keeps_hidden"

    def extend(self, batch: Sequence[Delivery], lease: float) -> list[Delivery]:
        return []


class ExtendShortens(Mutant):
    caught_by = "test_extend_keeps_hidden"

    def extend(self, batch: Sequence[Delivery], lease: float) -> list[Delivery]:
        return super().extend(batch, lease / 2)


class ExtendAdds(Mutant):
    caught_by = "test_extend_counts_from_now"

    def extend(self, batch: Sequence[Delivery], lease: float) -> list[Delivery]:
        return super().extend(batch, lease + 30.0)


class ExtendsTheWholeReceive(Mutant):
    caught_by = "test_extend_touches_only_what_is_given"

    def extend(self, batch: Sequence[Delivery], lease: float) -> list[Delivery]:
        return super().extend(list(self.latest.values()), lease) if batch else []


class CountsReleases(Mutant):
    caught_by = "test_many_releases_harm_nothing"

    def release(self, batch: Sequence[Delivery]) -> list[Delivery]:
        with self._space.lock:
            return self._space.queues.give_back(batch, 1)


class ReleasesToTheBack(Mutant):
    caught_by = "test_release_to_the_front"

    def release(self, batch: Sequence[Delivery]) -> list[Delivery]:
        lost = self.ack(batch)
        self.send([Outgoing(delivery.queue, delivery.payload) for delivery in batch if delivery not in lost])
        return lost


class ReleasesInReverse(Mutant):
    caught_by = "test_a_released_batch_keeps_its_order"

    def release(self, batch: Sequence[Delivery]) -> list[Delivery]:
        return super().release(batch[::-1])


class ReleaseDrops(Mutant):
    caught_by = "test_release_is_at_once"

    def release(self, batch: Sequence[Delivery]) -> list[Delivery]:
        return self.ack(batch)


class DeadLettersAfterTenReleases(Mutant):
    caught_by = "test_many_releases_harm_nothing"
    releases = 0

    def release(self, batch: Sequence[Delivery]) -> list[Delivery]:
        self.releases += len(batch)
        return self.ack(batch) if self.releases > 10 else super().release(batch)


class SecondAckIsAnError(Mutant):
    caught_by = "test_a_second_ack_is_no_error"

    def ack(self, batch: Sequence[Delivery]) -> list[Delivery]:
        if any(not self._space.queues.holds_for(delivery) for delivery in batch):
            raise Rejected("unknown receipt")
        return super().ack(batch)


class AcksAllBefore(Mutant):
    caught_by = "test_ack_settles_only_what_is_given"

    def ack(self, batch: Sequence[Delivery]) -> list[Delivery]:
        return super().ack(list(self.latest.values()))


class SwallowsErrors(Mutant):
    caught_by = "test_a_payload_above_max_payload"

    def send(self, batch: Sequence[Outgoing]) -> None:
        try:
            super().send(batch)
        except PortError:
            pass


class BlamesTheWrongMessage(Mutant):
    caught_by = "test_a_partial_send_tells_the_truth"

    def send(self, batch: Sequence[Outgoing]) -> None:
        try:
            super().send(batch)
        except PortError as error:
            if hasattr(error, "errors"):
                error.errors = {index + 1: why for index, why in error.errors.items()}
            raise


class SendsLater(Mutant):
    """Confirms from a buffer, which a second send writes."""

    caught_by = "test_sent_is_visible_to_others"
    buffer: list[Outgoing] = []

    def send(self, batch: Sequence[Outgoing]) -> None:
        pending, self.buffer = self.buffer, list(batch)
        super().send(pending)


class Truncates(Mutant):
    caught_by = "test_a_batch_of_max_batch"

    def send(self, batch: Sequence[Outgoing]) -> None:
        super().send(batch[:40])


class Reverses(Mutant):
    caught_by = "test_first_in_first_out"

    def send(self, batch: Sequence[Outgoing]) -> None:
        super().send(batch[::-1])


class TakesEmptyForNothing(Mutant):
    caught_by = "test_payloads_are_verbatim"

    def send(self, batch: Sequence[Outgoing]) -> None:
        super().send([out for out in batch if out.payload])


class FoldsNames(Mutant):
    caught_by = "test_names_that_the_kernel_makes"

    def send(self, batch: Sequence[Outgoing]) -> None:
        super().send([msgspec.structs.replace(out, queue=out.queue.lower()) for out in batch])

    def receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        return super().receive([queue.lower() for queue in queues], limit, timeout)


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


TRANSPORTS = [kind for kind in Mutant.__subclasses__() if kind.caught_by]
