"""The reference models of the other ports: records, facts and parked entries; see `model` for how they judge."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import NamedTuple

from faults.models.model import Span, Trouble
from kernel.ports import Acquire, Claim, Parked, Record, Take, Tally
from kernel.ports.results import outranked

#: Tokens of a bucket are counted to so much.
GRAIN = 0.02


def _alive(until: Span, at: Span) -> bool | None:
    """Whether something that ends at `until` was there during a call; None: it cannot be known."""
    if at.high < until.low:
        return True
    return False if at.low >= until.high else None


def _end(at: Span, ttl: float, slack: float) -> Span:
    return Span(at.low + ttl - slack, at.high + ttl + slack) if ttl else Span(inf, inf)


class Standing(NamedTuple):
    """A record, and when it ends."""

    record: Record
    until: Span


class RecordModel:
    """What stands under each key of a result store."""

    def __init__(self, slack: float) -> None:
        self.slack = slack
        self.records: dict[str, Standing] = {}

    def put(self, items: Sequence[Record], ttl: float, told: Sequence[bytes | None], at: Span) -> None:
        """Judge what a `put` returned, in the order of the items."""
        if len(told) != len(items):
            raise Trouble(f"put: {len(told)} answers for {len(items)} records")
        for item, answer in zip(items, told, strict=True):
            stands = self.records.get(item.key)
            alive = _alive(stands.until, at) if stands else False
            refused = stands is not None and outranked(item.final, item.rank, stands.record.final, stands.record.rank)
            if answer is None:
                if alive and refused:
                    raise Trouble(f"rank: {item.rank} of {item.key} was written, and a higher one stands")
                self.records[item.key] = Standing(item, _end(at, ttl, self.slack))
            elif stands is None or alive is False or not refused:
                raise Trouble(f"rank: {item.rank} of {item.key} was refused for {answer!r}, and nothing outranks it")
            elif answer != stands.record.value:
                raise Trouble(f"standing: {item.key} is {stands.record.value!r}, and {answer!r} was returned")

    def got(self, keys: Sequence[str], told: Sequence[bytes | None], at: Span) -> None:
        """Judge what a `get` or a `wait` returned."""
        for key, answer in zip(keys, told, strict=True):
            stands = self.records.get(key)
            alive = _alive(stands.until, at) if stands else False
            wanted = None if stands is None or alive is False else stands.record.value
            if answer != wanted and not (alive is None and answer is None):
                raise Trouble(f"standing: {key} is {wanted!r}, and {answer!r} was returned")

    def deleted(self, keys: Sequence[str]) -> None:
        """These are gone."""
        for key in keys:
            self.records.pop(key, None)


class FactModel:
    """Claims, sets, buckets and slots of a coordination service."""

    def __init__(self, slack: float) -> None:
        self.slack = slack
        self.claims: dict[str, tuple[str, Span]] = {}
        self.tallies: dict[str, tuple[set[str], Span]] = {}
        self.buckets: dict[str, tuple[float, float, Span]] = {}
        self.slots: dict[str, dict[str, Span]] = {}

    def claimed(self, items: Sequence[Claim], told: Sequence[str], at: Span) -> None:
        """Judge who was said to own each key."""
        for item, answer in zip(items, told, strict=True):
            owner, until = self.claims.get(item.key, ("", Span(0.0, 0.0)))
            alive = _alive(until, at)
            allowed = {owner} if alive else {item.owner} if alive is False else {owner, item.owner}
            if answer not in allowed:
                raise Trouble(f"claim: {item.key} belongs to {answer}, and it must be {' or '.join(allowed)}")
            if answer == item.owner:
                self.claims[item.key] = item.owner, _end(at, item.ttl, self.slack)

    def dropped(self, items: Sequence[tuple[str, str]]) -> None:
        """These claims were ended by those owners."""
        for key, owner in items:
            if self.claims.get(key, ("",))[0] == owner:
                del self.claims[key]

    def tallied(self, items: Sequence[Tally], told: Sequence[int], at: Span) -> None:
        """Judge the sizes of sets."""
        for item, answer in zip(items, told, strict=True):
            members, until = self.tallies.get(item.key, (set(), Span(0.0, 0.0)))
            alive = _alive(until, at)
            grown = members | {item.member}
            allowed = {len(grown)} if alive else {1} if alive is False else {1, len(grown)}
            if answer not in allowed:
                raise Trouble(f"tally: {item.key} has {answer} members, and it must be {allowed}")
            if answer == 1:
                grown = {item.member}
            self.tallies[item.key] = grown, _end(at, item.ttl, self.slack)

    def took(self, items: Sequence[Take], told: Sequence[float], at: Span) -> None:
        """Judge the waits for tokens."""
        for item, answer in zip(items, told, strict=True):
            low, high, since = self.buckets.get(item.bucket, (item.burst, item.burst, at))
            low = min(item.burst, low + max(0.0, at.low - since.high) * item.rate)
            high = min(item.burst, high + (at.high - since.low + self.slack) * item.rate)
            least, most = ((item.n - tokens) / item.rate for tokens in (high, low))
            if item.n > item.burst:
                least = most = inf
            grain = GRAIN / item.rate
            if not (least - grain <= answer <= max(most, 0.0) + grain) and not (answer == 0.0 and least <= grain):
                raise Trouble(f"bucket: {answer:g} s to wait, and it must be {least:g} to {most:g}")
            taken = item.n if answer == 0.0 else 0.0
            self.buckets[item.bucket] = max(0.0, low - taken), max(0.0, high - taken), at

    def acquired(self, items: Sequence[Acquire], told: Sequence[bool], at: Span) -> None:
        """Judge who got a slot."""
        for item, answer in zip(items, told, strict=True):
            owners = self.slots.setdefault(item.key, {})
            sure = {owner for owner, until in owners.items() if _alive(until, at)}
            perhaps = {owner for owner, until in owners.items() if _alive(until, at) is not False}
            must = item.owner in sure or len(perhaps - {item.owner}) < item.limit
            may = must or item.owner in perhaps or len(sure) < item.limit
            if answer is not True and must:
                raise Trouble(f"slot: {item.owner} got none of {item.key}, held by {perhaps}")
            if answer and not may:
                raise Trouble(f"slot: {item.owner} got one of {item.key}, of which {sure} hold all")
            if answer:
                owners[item.owner] = _end(at, item.ttl, self.slack)

    def freed(self, items: Sequence[tuple[str, str]]) -> None:
        """These slots were given back."""
        for key, owner in items:
            self.slots.get(key, {}).pop(owner, None)


class ParkedModel:
    """The entries of a schedule store, and until when somebody has taken them."""

    def __init__(self, slack: float) -> None:
        self.slack = slack
        self.entries: dict[tuple[str, str], tuple[Parked, Span]] = {}

    def added(self, entries: Sequence[Parked]) -> None:
        """These were stored; each replaces what had its key, and frees it."""
        for entry in entries:
            self.entries[entry.space, entry.key] = entry, Span(0.0, 0.0)

    def removed(self, entries: Sequence[Parked]) -> None:
        """These were removed, where they were still as given."""
        for entry in entries:
            known = self.entries.get((entry.space, entry.key))
            if known is not None and known[0].due_at == entry.due_at:
                del self.entries[entry.space, entry.key]

    def taken(self, space: str, now: float, limit: int, lease: float, told: Sequence[Parked], at: Span) -> None:
        """Judge what a `take` returned."""
        if len(told) > limit or len({entry.key for entry in told}) < len(told):
            raise Trouble(f"take: {len(told)} where {limit} were asked for, or one twice")
        if [entry.due_at for entry in told] != sorted(entry.due_at for entry in told):
            raise Trouble("take: not the earliest first")
        for entry in told:
            known, until = self.entries.get((entry.space, entry.key), (None, at))
            if entry != known or entry.space != space:
                raise Trouble(f"take: {entry} is not what was added: {known}")
            if entry.due_at > now or _alive(until, at):
                raise Trouble(f"take: {entry.key} is not due, or somebody has taken it")
        for (where, _), (entry, until) in self.entries.items():
            free = where == space and entry.due_at <= now and entry not in told and _alive(until, at) is False
            if free and (len(told) < limit or entry.due_at < told[-1].due_at):
                raise Trouble(f"take: {entry.key} is due and was left")
        for entry in told:
            self.entries[space, entry.key] = entry, Span(at.low + lease - self.slack, at.high + lease + self.slack)

    def next_at(self, space: str, told: float | None) -> None:
        """Judge the time of the next entry."""
        mine = [(entry.due_at, until) for (where, _), (entry, until) in self.entries.items() if where == space]
        if (told is None) != (not mine):
            raise Trouble(f"next: {told} of {len(mine)} entries")
        if told is not None:
            low = min(due_at if not until.high else min(due_at, until.low) for due_at, until in mine)
            high = min(until.high or due_at for due_at, until in mine)
            high = max(high, min((due_at for due_at, until in mine if not until.high), default=high))
            if not low - self.slack <= told <= high + self.slack:
                raise Trouble(f"next: {told} is not {low} to {high}")
