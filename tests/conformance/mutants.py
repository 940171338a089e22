"""Broken transports, each in one way, and the standard test that must catch it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf
from typing import Any

import msgspec
from kernel_memory import Limits, MemoryTransport

from kernel.errors import PortError, Rejected
from kernel.ports import Delivery, Outgoing

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


class SendsToTheQueueInstead(Mutant):
    caught_by = "test_an_exchange_that_is_not_there"

    def open(self) -> None:
        super().open()
        self.changed(exchanges=True)


class StoresHalfOfABatch(SendsToTheQueueInstead):
    caught_by = "test_others_of_a_batch_for_an_exchange"

    def send(self, batch: Sequence[Outgoing]) -> None:
        for out in batch:
            if out.exchange:
                raise Rejected("there is no such exchange")
            super().send([out])


class DropsWhatIsForAnExchange(Mutant):
    caught_by = "test_an_exchange_that_is_not_there"

    def send(self, batch: Sequence[Outgoing]) -> None:
        super().send([out for out in batch if not out.exchange])
