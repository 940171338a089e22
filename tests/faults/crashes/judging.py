"""What the journal and the audit of a case show to be wrong. Pure.

Each finding has the name of the check that made it, because a mutant must be found by the check that it is meant for.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from math import inf
from typing import Any, Final, Literal

import msgspec

from faults.crashes.places import Place
from faults.crashes.points import AFTER, BEFORE, Event, Name
from faults.crashes.scenarios import MEMBERS, RETRY_AFTER, Scenario

Check = Literal[
    "lost", "phantom", "duplicates", "overlap", "again", "fence", "dead", "state", "early", "redelivered", "stuck"
]
#: Clocks of processes are read before they write; seconds.
SLACK: Final = 0.02
FINAL: Final = ("SUCCESS", "FAILURE")
#: How many processes want to run for each core where leases of a second are not kept for certain.
CROWDED: Final = 2.0
_RENEWALS: Final = tuple(f"{when}{step}" for when in (BEFORE, AFTER) for step in ("renewing", "extending"))


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong."""

    check: Check
    text: str

    def __str__(self) -> str:
        return f"{self.check}: {self.text}"


class Books:
    """A case, added up."""

    def __init__(self, place: Place, scenario: Scenario, events: Sequence[Event], audit: dict[str, Any]) -> None:
        self.place = place
        self.scenario = scenario
        self.events = events
        self.results: dict[str, list[Any]] = audit["results"]
        self.left: list[str] = audit["left"]
        self.letters: dict[str, list[list[Any]]] = defaultdict(list)
        for letter in audit["letters"]:
            self.letters[letter[0]].append(letter)
        self.attempted = self._keys("attempt")
        self.confirmed = self._keys("confirmed")
        self.unknown = self._keys("unknown") | (self.attempted - self.confirmed - self._keys("refused"))
        self.refused = self._keys("refused")
        self.starts: Counter[Name] = Counter(tuple(e.words[:3]) for e in self._of("begun"))
        self.ended = {event.words[0] for event in self._of("ended")}
        #: How often a final record of each was written, in one generation.
        self.decided: Counter[str] = Counter()
        for put in self._of("put"):
            if put.words[4] in FINAL and put.words[5] and not put.words[1]:
                self.decided[put.words[0]] += 1
        #: How many faults may have made each message be delivered, or be there, once more.
        self.touched: Counter[Name] = Counter()
        #: How many more of each call a producer has sent that did not hear of its success.
        self.copies: Counter[str] = Counter()
        for fault in self._of("fault"):
            self._touch(fault)
        if any(event.words[0] > CROWDED for event in self._of("crowding")):
            self.touched.update(_overtaken(events, place.lease))

    @property
    def _pushes(self) -> bool:
        """Whether a broker hands messages out by itself, and holds them for a connection instead of a lease."""
        return "amqp" in self.place.traits

    def _of(self, *whats: str) -> list[Event]:
        return [event for event in self.events if event.what in whats]

    def _keys(self, what: str) -> set[str]:
        return {key for event in self._of(what) for key in event.words}

    def _touch(self, fault: Event) -> None:
        """What a kill, a freeze or a stop finds in the hands of its process; what a lie makes it send again."""
        mode, point = fault.words
        if mode == "freeze" and "sqlite" in (self.place.urls.transport[:6], self.place.urls.coordination[:6]):
            # It may hold the lock for writing, and then nobody else can renew a lease, or a claim.
            for life in {event.life for event in self.events} - {fault.life}:
                others = [event for event in self.events if event.life == life and event.at <= fault.at]
                self.touched.update(_held(others) | _handed(others))
        before = [event for event in self.events if event.life == fault.life and event.at <= fault.at]
        if mode in ("kill", "freeze", "quit", "poison"):
            hand = _held(before) | _handed(before) | _left(before, _name_of_body, ("begun",), ("ended", "failed"))
            self.touched.update(hand)
            self.touched.update(_left(before, _name, ("taken",), ("unparked",)))
            if mode == "freeze":
                # It may have been about to take some, for as long as it thought right when it was frozen; and a broker
                # that pushes may have sent it some, which it reads when that has given up the connection.
                again_at = next((e.at for e in self._of("continued") if e.life == fault.life), fault.at)
                asleep = self._of("taken", *(["received"] if self._pushes else []))
                late = [e for e in asleep if fault.at <= e.at <= again_at + 1.0 and e.life == fault.life]
                self.touched.update({_name(event) for event in late})
            # Handing on in two steps, its process may leave a message and the copy of it.
            after = [event for event in self.events if event.life == fault.life]
            self.touched.update(hand & {_name(event) for event in after if event.what in ("sent", "parked")})
            if mode == "freeze" and self._pushes:
                # Where no lease tells him that he was overtaken, his claim ends the execution of another.
                self.touched.update(hand)
        elif point.endswith("acking") and any(e.what == "point" and e.words[0] == "operator" for e in before):
            # Who sends letters again by hand is told that it failed, and does it again.
            self.touched.update({_name(event) for event in before if event.what == "received"})
        elif mode == "lie":
            begin = BEFORE + point.removeprefix(AFTER)
            began_at = max((e.at for e in before if e.what == "point" and e.words[1] == begin), default=fault.at)
            sent = {_name(e) for e in before if e.what in ("sent", "parked") and e.at >= began_at}
            if any(event.what == "attempt" for event in before):
                self.copies.update(name[0] for name in sent)
            elif "committing" not in point:  # one step is not repeated: the delivery that it settled is gone
                self.touched.update(sent)

    def allowed(self, name: Name) -> int:
        """How often a message may have begun to run.

        In one step, what follows from a message is there once, however often that was delivered. In two steps a fault
        between them makes it twice, and so all that follows from it.
        """
        key, generation, attempt = name
        if self.scenario.flow:  # a fault before it may make each member be counted again, and who sees it full sends it
            return 1 + MEMBERS * len(self._of("fault")) + self.touched.total()
        faults = self.touched[name] + self.copies[key]
        for (other, g, a), count in self.touched.items():
            if other == key and (g, a) < (generation, attempt) and "steps" in self.place.traits:
                faults += count
        return (1 if self.scenario.requeued else self.scenario.starts) + faults

    def letters_allowed(self, key: str) -> int:
        """How many dead letters there may be of a task that has one."""
        faults = sum(count for name, count in self.touched.items() if name[0] == key)
        return 1 + self.copies[key] + (faults if "steps" in self.place.traits else 0)


def _held(events: Iterable[Event]) -> set[Name]:
    """Messages that were received and not settled; by delivery, because one may be here twice in a row."""
    left: dict[int, Name] = {}
    for event in events:
        if event.what == "received":
            left[event.words[-1]] = _name(event)
        elif event.what in ("settled", "released", "lost"):
            left.pop(event.words[-1], None)
    return set(left.values())


def _handed(events: Sequence[Event]) -> set[Name]:
    """Tasks whose messages were handed on: they run without one of their own, until it is known that they settled."""
    handed = {_name(event) for event in events if event.what in ("sent", "parked")}
    return handed & _left(events, _name_of_body, ("begun",), ("known",))


def _overtaken(events: Sequence[Event], lease: float) -> list[Name]:
    """Messages whose lease ran out although it was renewed: on a machine so busy that this came too late.

    A lease begins somewhere in the call that asks for it, of which the journal has the end.
    """
    found = []
    for event in events:
        if event.what != "received":
            continue
        later = [other for other in events if other.at > event.at]
        until = next((other.at for other in later if _is_end(event, other)), event.at)
        steps = [e for e in later if e.life == event.life and e.at < until and e.what == "point"]
        renewals = [e for e in steps if e.words[1] in _RENEWALS]
        held = [event.at, *(e.at for e in renewals if e.words[1].startswith(AFTER)), until]
        if renewals and max(after - before for before, after in pairwise(held)) > lease * 0.75:
            found.append(_name(event))
    return found


def _is_end(received: Event, event: Event) -> bool:
    """Whether nobody has to renew a delivery after this event: it is about to be settled, or its message came again."""
    if event.what == "received":
        return _name(event) == _name(received)
    own = event.life == received.life and event.words[-1:] == received.words[-1:]
    return own and event.what in ("settling", "settled", "released", "lost")


def _left(
    events: Iterable[Event], name: Callable[[Event], Name], begins: tuple[str, ...], ends: tuple[str, ...]
) -> set[Name]:
    """What has begun and not ended."""
    left: set[Name] = set()
    for event in events:
        if event.what in begins:
            left.add(name(event))
        elif event.what in ends:
            left.discard(name(event))
    return left


def _name(event: Event) -> Name:
    """The message of an event that names its queue first."""
    return tuple(event.words[1:4])  # type: ignore[return-value]


def _name_of_body(event: Event) -> Name:
    return tuple(event.words[:3])  # type: ignore[return-value]


def judge(
    place: Place, scenario: Scenario, events: Sequence[Event], audit: dict[str, Any], stuck: str
) -> list[Finding]:
    """Everything that is wrong with a case."""
    books = Books(place, scenario, events, audit)
    found = [Finding("stuck", stuck)] if stuck else []
    for check in (_lost, _phantoms, _duplicates, _overlaps, _again, _fences, _dead, _states, _early, _redelivered):
        found += check(books)
    if not stuck:
        found += [Finding("stuck", f"there is still: {what}") for what in books.left]
    return found


def _lost(books: Books) -> Iterator[Finding]:
    fate = books.scenario.fate
    for key in sorted(books.confirmed):
        if fate == "once":
            if not any(name[0] == key for name in books.starts) and not _given_up(books, key):
                yield Finding("lost", f"{key} never began to run")
        elif key not in books.ended and key not in books.letters:
            yield Finding("lost", f"{key} neither ran to its end nor is it a dead letter")


def _given_up(books: Books, key: str) -> bool:
    """Whether a message was acknowledged by a process that died before it began the task, or that was told it was not:
    what early acknowledgement means. (The second asks again, and gives up when its lease is over by then.)

    It acknowledges one at a time, so that what it acknowledged last is all that is lost with it.
    """
    for ack in books._of("settled"):
        if ack.words[1] != key:
            continue
        after = (e for e in books._of("settled", "fault") if e.life == ack.life and e.at > ack.at)
        met = next(after, ack)
        if met.what == "fault" and (met.words[0] == "kill" or met.words == ("lie", f"{AFTER}acking")):
            return True
    return False


def _phantoms(books: Books) -> Iterator[Finding]:
    known = books.confirmed | books.unknown
    for key in sorted({name[0] for name in books.starts} - known):
        yield Finding("phantom", f"{key} ran, and was {'refused' if key in books.refused else 'never sent'}")


def _duplicates(books: Books) -> Iterator[Finding]:
    for name, count in sorted(books.starts.items()):
        most = 1 + books.copies[name[0]] if books.scenario.fate == "once" else books.allowed(name)
        if count > most:
            yield Finding("duplicates", f"{name} began {count} times, at most {most} are accounted for")


def _overlaps(books: Books) -> Iterator[Finding]:
    """Two executions of one task at one time, neither of which was frozen meanwhile.

    Not after a freeze where messages are held by a connection: who was frozen has no means to know that they are lost,
    and starts what he holds. Nor where he handed on in two steps: he sends a copy of what somebody else has by then.
    """
    frozen_at = [event.words for event in books._of("fault") if event.words[0] == "freeze"]
    if frozen_at and "lease" not in books.place.traits:
        return
    if books.scenario.name == "handed on" and any(point == f"{BEFORE}parking" for _, point in frozen_at):
        return
    spans: dict[str, list[tuple[float, float, int]]] = defaultdict(list)
    for event in books.events:
        if event.what == "begun":
            spans[event.words[0]].append((event.at, _end_of(books, event), event.life))
    frozen = {event.life: event.at for event in books._of("fault") if event.words[0] == "freeze"}
    woken = {event.life: event.at for event in books._of("continued")}
    for key, found in spans.items():
        if books.copies[key] or (books.scenario.flow and books._of("fault")):
            continue  # two messages, for the system: who sees a join full sends its body, also for the second time
        # A signal stops all threads when one of them handles it: what another began until then is frozen too.
        live = sorted(
            (began, end, life)
            for began, end, life in found
            if life not in frozen or end < frozen[life] or began > woken.get(life, inf)
        )
        for (_, end, life), (begin, _, other) in pairwise(live):
            if begin < end - SLACK:
                yield Finding("overlap", f"{key} ran in processes {life} and {other} at the same time")


def _end_of(books: Books, begun: Event) -> float:
    for event in books.events:
        if event.life == begun.life and event.at >= begun.at:
            over = event.what in ("ended", "failed") and event.words[:3] == begun.words[:3]
            if over or (event.what == "fault" and event.words[0] == "kill"):
                return event.at
    return max((event.at for event in books.events if event.life == begun.life), default=begun.at)


def _again(books: Books) -> Iterator[Finding]:
    """A message that was delivered again, after its final record had been written, ran all the same."""
    stands: dict[tuple[str, int], float] = {}
    came: dict[tuple[int, Name], float] = {}
    for event in books.events:
        if event.what == "received":
            came[event.life, _name(event)] = event.at
        elif event.what == "put" and event.words[4] in FINAL and event.words[5]:
            stands.setdefault((event.words[0], event.words[1]), event.at)
        elif event.what == "begun" and (event.words[3] or books.scenario.flow):
            at = stands.get((event.words[0], event.words[1]))
            if at is not None and came.get((event.life, _name_of_body(event)), 0.0) > at:
                yield Finding("again", f"{event.words[0]} was run although its outcome was known")


def _fences(books: Books) -> Iterator[Finding]:
    """A record was taken from an execution that had been overtaken by a later one."""
    if not books.place.counts:
        return
    begun = books._of("begun")
    for put in books._of("put"):
        key, generation, attempt, fence, state, written, _, began_at = put.words
        if not written:
            continue
        for later in begun:
            same = tuple(later.words[:3]) == (key, generation, attempt) and later.life != put.life
            if same and later.words[3] > fence and later.at < began_at - SLACK:
                yield Finding("fence", f"{state} of {key} was taken from process {put.life}, which was overtaken")
                break


def _dead(books: Books) -> Iterator[Finding]:
    scenario = books.scenario
    for key in sorted(books.attempted):
        letters = books.letters.get(key, [])
        if scenario.fate != "dead" or scenario.requeued:
            # An operator takes one letter of each task: of a call that was there twice, one is left.
            if len(letters) > (books.letters_allowed(key) - 1 if scenario.requeued else 0):
                yield Finding("dead", f"{key} is a dead letter: {letters[0][4]}")
            continue
        if len(letters) > books.letters_allowed(key):
            yield Finding("dead", f"{key} is {len(letters)} dead letters")
        for letter in letters:
            if letter[3] != scenario.kind or scenario.reason not in letter[4] or letter[5] < 1:
                yield Finding("dead", f"the dead letter of {key} says {letter[3]}, {letter[4]}, {letter[5]} deliveries")


def _states(books: Books) -> Iterator[Finding]:
    scenario = books.scenario
    for key in sorted(books.ended | (books.letters.keys() & books.attempted)):
        result = books.results.get(key)
        if not scenario.keeps:
            if result is not None and result[0] == "SUCCESS":
                yield Finding("state", f"{key} has a result, and asked for none")
            continue
        wanted = "SUCCESS" if key in books.ended else "FAILURE"
        if scenario.fate == "once" and (result is None or result[0] == "STARTED"):
            continue  # acknowledged before, its result may be lost with its process
        if result is None or result[0] != wanted:
            yield Finding("state", f"the result of {key} is {result}, in place of {wanted}")
        elif books.decided[key] > 1:
            yield Finding("state", f"{key} has had {books.decided[key]} outcomes")
        elif wanted == "SUCCESS":
            lives = {event.life for event in books._of("ended") if event.words[0] == key}
            if result[1][0] != key or result[1][1] not in lives:
                yield Finding("state", f"the result of {key} is {result[1]}, which none of {sorted(lives)} returned")


def _early(books: Books) -> Iterator[Finding]:
    failed: dict[Name, float] = {}
    for event in books.events:
        if event.what == "early":
            yield Finding("early", f"{event.words} began before its time")
        elif event.what == "failed":
            failed.setdefault(tuple(event.words[:3]), event.at)
        elif event.what == "begun" and event.words[2]:
            before = failed.get((event.words[0], event.words[1], event.words[2] - 1))
            if before is None:
                yield Finding("early", f"{event.words} began and no attempt before it had failed")
            elif event.at < before + RETRY_AFTER - SLACK:
                yield Finding("early", f"{event.words} began {event.at - before:.3f} s after the attempt before it")


def _redelivered(books: Books) -> Iterator[Finding]:
    """A delivery that counts as a repetition although nothing had happened to its message."""
    faults = bool(books._of("fault"))
    for event in books._of("received"):
        if event.words[4] > 0 and not faults and not books.place.release_counts:
            yield Finding("redelivered", f"{event.words[1]} was delivered again, and nobody had died")
