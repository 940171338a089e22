"""Broken result stores, coordination services, schedule stores, serializers and pools."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from typing import Any

import msgspec
from kernel_memory import MemoryCoordination, MemoryResults, MemorySchedules

from kernel.clock import Clock
from kernel.errors import DecodeError, EncodeError
from kernel.native import sleep
from kernel.pools.threads import ThreadPool
from kernel.ports import Acquire, Claim, Parked, Record, Take, Tally
from kernel.serializers.json_ import JsonSerializer


class LastWriteWins(MemoryResults):
    caught_by = "test_the_first_final_wins"

    def put(self, items: Sequence[Record], ttl: float) -> list[bytes | None]:
        self.delete([item.key for item in items])
        return super().put(items, ttl)


class RetryReplacesFinal(MemoryResults):
    caught_by = "test_the_first_final_wins"

    def put(self, items: Sequence[Record], ttl: float) -> list[bytes | None]:
        generations = [(item.rank[0] + item.rank[1], 0, item.rank[2]) for item in items]
        return super().put(
            [Record(i.key, i.value, i.final, rank) for i, rank in zip(items, generations, strict=True)], ttl
        )


class ZombieWrites(MemoryResults):
    caught_by = "test_the_overtaken_write_nothing"

    def put(self, items: Sequence[Record], ttl: float) -> list[bytes | None]:
        return super().put([Record(i.key, i.value, i.final, (*i.rank[:2], 0)) for i in items], ttl)


class LiesAboutTheStanding(MemoryResults):
    caught_by = "test_a_repeated_final_is_told_of_itself"

    def put(self, items: Sequence[Record], ttl: float) -> list[bytes | None]:
        super().put(items, ttl)
        return [None] * len(items)


class ChecksThenWrites(MemoryResults):
    """Claims one atomic step and makes two."""

    caught_by = "test_racing_writers_agree"

    def put(self, items: Sequence[Record], ttl: float) -> list[bytes | None]:
        standing = self.get([item.key for item in items])
        sleep(0.005)
        if not any(standing):
            self.delete([item.key for item in items])
            super().put(items, ttl)
        return standing


class ComparesRanksAsText(MemoryResults):
    caught_by = "test_ranks_compare_as_numbers"

    def put(self, items: Sequence[Record], ttl: float) -> list[bytes | None]:
        def as_text(item: Record) -> tuple[int, int, int]:
            return (item.rank[0], int.from_bytes(str(item.rank[1]).encode().ljust(8)), item.rank[2])

        return super().put([Record(i.key, i.value, i.final, as_text(i)) for i in items], ttl)


class IgnoresTtl(MemoryResults):
    caught_by = "test_records_expire"

    def put(self, items: Sequence[Record], ttl: float) -> list[bytes | None]:
        return super().put(items, 0.0)


class ZeroIsSoon(MemoryResults):
    caught_by = "test_zero_keeps_for_ever"

    def put(self, items: Sequence[Record], ttl: float) -> list[bytes | None]:
        return super().put(items, ttl or 86400.0)


class WaitsForAnything(MemoryResults):
    caught_by = "test_wait_is_for_final_records"

    def wait(self, keys: Sequence[str], timeout: float) -> list[bytes | None]:
        left = timeout
        while left > 0 and not any(self.get(keys)):
            sleep(0.01)
            left -= 0.01
        return self.get(keys)


class ClosesUnheard(MemoryResults):
    caught_by = "test_close_ends_a_blocked_wait"

    def close(self) -> None:
        self._state = "closed"


class DeafToRouse(MemoryResults):
    caught_by = "test_rouse_ends_a_blocked_wait"

    def rouse(self) -> None:
        pass


class ForgetsEarlyRouse(MemoryResults):
    """Rouses only who waits already: a question that comes just before the wait is not heard for its whole length."""

    caught_by = "test_rouse_is_remembered_once"

    def wait(self, keys: Sequence[str], timeout: float) -> list[bytes | None]:
        self._roused = False
        return super().wait(keys, timeout)


class RousedForEver(MemoryResults):
    caught_by = "test_rouse_is_remembered_once"
    once = False

    def rouse(self) -> None:
        self.once = True
        super().rouse()

    def wait(self, keys: Sequence[str], timeout: float) -> list[bytes | None]:
        self._roused = self.once
        return super().wait(keys, timeout)


class RousesAll(MemoryResults):
    caught_by = "test_rouse_reaches_its_own_store_only"
    everybody: set[MemoryResults] = set()

    def open(self) -> None:
        super().open()
        self.everybody.add(self)

    def rouse(self) -> None:
        for store in self.everybody:
            MemoryResults.rouse(store)


class RouseMindsTheState(MemoryResults):
    caught_by = "test_rouse_never_raises"

    def rouse(self) -> None:
        self._check(0)
        super().rouse()


class PutsByKey(MemoryResults):
    caught_by = "test_a_batch_is_written_in_order"

    def put(self, items: Sequence[Record], ttl: float) -> list[bytes | None]:
        merged = {item.key: item for item in items}
        standing = dict(zip(merged, super().put(list(merged.values()), ttl), strict=True))
        return [standing[item.key] for item in items]


class ClaimSteals(MemoryCoordination):
    caught_by = "test_a_free_key_is_claimed"

    def claim(self, items: Sequence[Claim]) -> list[str]:
        with self._space.lock:
            for item in items:
                self._space.claims.pop(item.key)
        return super().claim(items)


class ClaimNeverEnds(MemoryCoordination):
    caught_by = "test_a_claim_expires"

    def claim(self, items: Sequence[Claim]) -> list[str]:
        return super().claim([msgspec.structs.replace(item, ttl=1e9) for item in items])


class DropsForeignClaims(MemoryCoordination):
    caught_by = "test_drop_is_for_the_owner"

    def drop(self, items: Sequence[tuple[str, str]]) -> None:
        super().drop([(key, super(DropsForeignClaims, self).claim([Claim(key, "?", 60.0)])[0]) for key, _ in items])


class AsksThenClaims(MemoryCoordination):
    caught_by = "test_racing_claims_have_one_owner"

    def claim(self, items: Sequence[Claim]) -> list[str]:
        now = self._clock.monotonic()
        owners = [self._space.claims.get(item.key, now) or item.owner for item in items]
        sleep(0.0005)
        with self._space.lock:
            for item, owner in zip(items, owners, strict=True):
                self._space.claims.put(item.key, owner, now + item.ttl, now)
        return owners


class RenewClaims(MemoryCoordination):
    caught_by = "test_a_claim_is_only_renewed"

    def claim(self, items: Sequence[Claim]) -> list[str]:
        return super().claim([msgspec.structs.replace(item, renew=False) for item in items])


class CountsTwice(MemoryCoordination):
    caught_by = "test_a_tally_counts_members"
    seen = 0

    def tally(self, items: Sequence[Tally]) -> list[int]:
        self.seen += 1
        return super().tally([msgspec.structs.replace(item, member=f"{item.member}{self.seen}") for item in items])


class SlotOverLimit(MemoryCoordination):
    caught_by = "test_slots_are_limited"

    def acquire(self, items: Sequence[Acquire]) -> list[bool]:
        return super().acquire([msgspec.structs.replace(item, limit=item.limit + 1) for item in items])


class SlotPerCall(MemoryCoordination):
    caught_by = "test_an_owner_keeps_its_slot"
    calls = 0

    def acquire(self, items: Sequence[Acquire]) -> list[bool]:
        self.calls += 1
        return super().acquire([msgspec.structs.replace(item, owner=f"{item.owner}{self.calls}") for item in items])


class NeverAhead(MemoryCoordination):
    caught_by = "test_tokens_are_taken_ahead"

    def take(self, items: Sequence[Take]) -> list[float]:
        return super().take([msgspec.structs.replace(item, ahead=0.0) for item in items])


class OneByOne(MemoryCoordination):
    caught_by = "test_tokens_come_together"

    def take(self, items: Sequence[Take]) -> list[float]:
        return super().take([msgspec.structs.replace(item, every=0.0) for item in items])


class SlotWithoutHeirs(MemoryCoordination):
    caught_by = "test_a_slot_is_left_to_an_heir"

    def acquire(self, items: Sequence[Acquire]) -> list[bool]:
        return super().acquire([msgspec.structs.replace(item, heir_of="") for item in items])


class HeirBesideTheDead(MemoryCoordination):
    caught_by = "test_a_slot_is_left_to_an_heir"

    def acquire(self, items: Sequence[Acquire]) -> list[bool]:
        given = [msgspec.structs.replace(item, limit=item.limit + bool(item.heir_of), heir_of="") for item in items]
        return super().acquire(given)


class BucketWithoutBurst(MemoryCoordination):
    caught_by = "test_a_bucket_fills_at_its_rate"

    def take(self, items: Sequence[Take]) -> list[float]:
        return super().take([msgspec.structs.replace(item, burst=item.burst * 2) for item in items])


class TakesWithoutLease(MemorySchedules):
    caught_by = "test_a_taken_entry_is_hidden"

    def take(self, space: str, now: float, limit: int, lease: float) -> list[Parked]:
        return super().take(space, now, limit, 0.0)


class LeasesByToldTime(MemorySchedules):
    caught_by = "test_a_lease_runs_from_the_call"

    def take(self, space: str, now: float, limit: int, lease: float) -> list[Parked]:
        self._clock = Clock(lambda: now)
        return super().take(space, now, limit, lease)


class TakeRemoves(MemorySchedules):
    caught_by = "test_a_taken_entry_is_hidden"

    def take(self, space: str, now: float, limit: int, lease: float) -> list[Parked]:
        taken = super().take(space, now, limit, lease)
        self.remove(taken)
        return taken


class TakesEarly(MemorySchedules):
    caught_by = "test_an_entry_is_taken_when_due"

    def take(self, space: str, now: float, limit: int, lease: float) -> list[Parked]:
        return super().take(space, now + 0.5, limit, lease)


class RemovesReplaced(MemorySchedules):
    caught_by = "test_remove_spares_what_was_replaced"

    def remove(self, entries: Sequence[Parked]) -> None:
        super().remove(entries)
        for entry in entries:
            found = super().take(entry.space, 1e12, 100, 0.0)
            super().remove([other for other in found if other.key == entry.key])


class RoundsTimes(MemorySchedules):
    caught_by = "test_entries_are_verbatim"

    def add(self, entries: Sequence[Parked]) -> None:
        super().add([msgspec.structs.replace(entry, due_at=round(entry.due_at, 1)) for entry in entries])


class PlainJson(JsonSerializer):
    """The standard library's, which turns tuples into lists and integer keys into text."""

    caught_by = "test_nothing_is_changed_silently"

    def dumps(self, value: Any) -> bytes:
        try:
            return json.dumps(value).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise EncodeError(str(error)) from None

    def loads(self, data: bytes) -> Any:
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise DecodeError(str(error)) from None


class LeaksLibraryErrors(JsonSerializer):
    caught_by = "test_any_bytes_are_a_value_or_an_error"

    def loads(self, data: bytes) -> Any:
        return json.loads(data)


class SaysReprForStrangers(JsonSerializer):
    caught_by = "test_strangers_are_refused"

    def dumps(self, value: Any) -> bytes:
        return json.dumps(value, default=repr).encode()


class PickleThatSaysSafe(JsonSerializer):
    caught_by = "test_damaged_bytes_are_a_value_or_an_error"

    def dumps(self, value: Any) -> bytes:
        return pickle.dumps(value)

    def loads(self, data: bytes) -> Any:
        return pickle.loads(data)


class RunsTwice(ThreadPool):
    caught_by = "test_each_job_runs_once"

    def submit(self, jobs: Sequence[Any]) -> None:
        super().submit([*jobs, *jobs[:1]])


class RunsBackwards(ThreadPool):
    caught_by = "test_jobs_start_in_order"

    def submit(self, jobs: Sequence[Any]) -> None:
        super().submit(list(jobs)[::-1])


class RecallsTheFirst(ThreadPool):
    caught_by = "test_recall_takes_the_last"

    def recall(self, limit: int) -> list[Any]:
        jobs = super().recall(1000)
        super().submit(jobs[::-1][limit:])
        return jobs[::-1][:limit]


class StopForgets(ThreadPool):
    caught_by = "test_stop_gives_back_what_did_not_end"

    def stop(self, timeout: float) -> list[Any]:
        super().stop(timeout)
        return []


class OneMoreSlot(ThreadPool):
    caught_by = "test_all_slots_are_used_and_no_more"

    def __init__(self, slots: int) -> None:
        super().__init__(slots + 1)
        self.said = slots

    def start(self, run: Any, arun: Any) -> None:
        super().start(run, arun)
        self.slots = self.said


class AlwaysWantsMore(ThreadPool):
    caught_by = "test_a_full_pool_wants_none"

    def demand(self, buffer: int, timeout: float) -> int:
        return self.slots + buffer


#: Other test files subclass it too, and none of theirs is a mutant.
RESULTS = [kind for kind in MemoryResults.__subclasses__() if hasattr(kind, "caught_by")]
COORDINATION = MemoryCoordination.__subclasses__()
SCHEDULES = MemorySchedules.__subclasses__()
SERIALIZERS = JsonSerializer.__subclasses__()
POOLS = ThreadPool.__subclasses__()
