"""Does what workflows ask for (`kernel.canvas.effects`) with the ports."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any, TypeVar

from kernel.canvas.effects import Count, Decide, Get, Keep, Post, Request, Send, Value, Verdict
from kernel.errors import ConfigError, DecodeError, PartialPut, PortError
from kernel.outcome import MOST, Entry, decode_entry, encode_entry
from kernel.parts import parts
from kernel.ports import Coordination, Record, ResultStore, Tally

log = logging.getLogger("kernel.flows")

S = TypeVar("S")
T = TypeVar("T")

#: The value of a flow that hands on what it was not given.
NOTHING = Value(b"null", "json")
#: Seconds that a set lives which belongs to records without an end.
FOREVER = 10 * 365 * 86400.0

NO_STORE = "workflows need a result store: pass results='redis://...' to Kernel, or set KERNEL_RESULTS"
NO_SETS = (
    "a workflow that waits for a group needs a coordination service: pass coordination='redis://...' to Kernel, "
    "or set KERNEL_COORDINATION"
)


class Ended:
    """What has become of the workflows of one `drive`, by their index: the value that each returned, or its error."""

    __slots__ = ("errors", "values")

    def __init__(self) -> None:
        self.values: dict[int, Any] = {}
        self.errors: dict[int, Exception] = {}


class Driver:
    """Drives many workflows in step: the requests of a round become one call of each port."""

    def __init__(
        self,
        results: ResultStore | None,
        coordination: Coordination | None,
        ttl: float,
        now: Callable[[], float],
        steady: Callable[[Callable[[], Any]], Any] = lambda call: call(),
    ) -> None:
        """Records live for `ttl` seconds from each write; 0.0: for ever. `steady` calls a port, perhaps more than once.

        A port that is missing is a `ConfigError` for those who ask for it.
        """
        self._results = results
        self._coordination = coordination
        self._ttl = ttl
        self._now = now
        self._steady = steady

    def drive(self, works: Sequence[Generator[Request, Any, Any]], post: Callable[[int, list[Send]], None]) -> Ended:
        """Answer until all have ended. `post` is given what each wants to be sent."""
        ended = Ended()
        answers: dict[int, Any] = dict.fromkeys(range(len(works)))
        while answers:
            rounds: dict[type[Request], list[tuple[int, Any]]] = defaultdict(list)
            for index, answer in answers.items():
                try:
                    request = works[index].send(answer)
                except StopIteration as stop:
                    ended.values[index] = stop.value
                except Exception as error:
                    ended.errors[index] = error
                else:
                    rounds[type(request)].append((index, request))
            answers = {}
            for kind, asked in rounds.items():
                self._answer(kind, asked, answers, ended.errors, post)
        return ended

    def _answer(
        self,
        kind: type[Request],
        asked: list[tuple[int, Any]],
        answers: dict[int, Any],
        errors: dict[int, Exception],
        post: Callable[[int, list[Send]], None],
    ) -> None:
        """All requests of one kind; who gets no answer has an error."""
        if kind is Post:
            for index, request in asked:
                try:
                    post(index, request.sends)
                    answers[index] = None
                except Exception as error:
                    errors[index] = error
            return
        owners = [index for index, _ in asked]
        requests = [request for _, request in asked]
        try:
            if kind is Get:
                answers.update(zip(owners, self._got(requests), strict=True))
            elif kind is Count:
                answers.update(zip(owners, self.count([(count.join, count.member) for count in requests]), strict=True))
            else:
                write = self._kept if kind is Keep else self._decided
                for index, answer in zip(owners, write(requests), strict=True):
                    if isinstance(answer, PortError):
                        errors[index] = answer
                    else:
                        answers[index] = answer
        except (PortError, ConfigError) as error:
            errors.update(dict.fromkeys(owners, error))

    def _got(self, asked: list[Get]) -> list[bytes | None]:
        store = self._store()
        return self._parts(store.get, [get.key for get in asked], store.features.max_batch)

    def count(self, members: Sequence[tuple[str, str]]) -> list[int]:
        """Add members to sets, given as (set, member); the size of each set after that. `ConfigError` without a
        coordination service, else what it raises."""
        if self._coordination is None:
            raise ConfigError(NO_SETS)
        ttl = self._ttl or FOREVER
        items = [Tally(join, member, ttl) for join, member in members]
        return self._parts(self._coordination.tally, items, self._coordination.features.max_batch)

    def _kept(self, asked: list[Keep]) -> list[PortError | None]:
        if self._coordination is None and any(item.join for keep in asked for item in keep.items):
            raise ConfigError(
                NO_SETS
            )  # before the first member is sent, of which nobody could tell whether it is the last
        records = [Record(it.key, it.value, it.first, (it.generation, 0, 0)) for keep in asked for it in keep.items]
        standing = iter(self._put(records))
        return [_first_error([next(standing) for _ in keep.items]) for keep in asked]

    def _decided(self, asked: list[Decide]) -> list[PortError | list[bool]]:
        now = self._now()
        records = [
            Record(it.id, encode_entry(_entry(it, now)), True, (it.generation, MOST, MOST))
            for decide in asked
            for it in decide.verdicts
        ]
        standing = iter(self._put(records))
        answers: list[PortError | list[bool]] = []
        for decide in asked:
            met = [next(standing) for _ in decide.verdicts]
            mine = [not value or _is_of(verdict, value) for verdict, value in zip(decide.verdicts, met, strict=True)]
            answers.append(_first_error(met) or mine)
        return answers

    def _put(self, records: list[Record]) -> list[bytes | PortError | None]:
        """Per record what stands against it, or why the store will not have it."""
        store = self._store()

        def put(part: Sequence[Record]) -> list[bytes | PortError | None]:
            try:
                return list(store.put(part, self._ttl))
            except PartialPut as partial:
                return [partial.errors.get(at, stands) for at, stands in enumerate(partial.standing)]

        return self._parts(put, records, store.features.max_batch)

    def _store(self) -> ResultStore:
        if self._results is None:
            raise ConfigError(NO_STORE)
        return self._results

    def _parts(self, call: Callable[[Sequence[S]], list[T]], items: Sequence[S], most: int) -> list[T]:
        answers: list[T] = []
        for part in parts(items, most):
            answers += self._steady(partial(call, part))
        return answers


def _entry(verdict: Verdict, now: float) -> Entry:
    if verdict.error is not None:
        return Entry("FAILURE", error=verdict.error, at=now, cause=verdict.cause)
    value = verdict.value or NOTHING
    return Entry("SUCCESS", value.codec, value.body, at=now, cause=verdict.cause, spread=value.spread)


def _is_of(verdict: Verdict, standing: bytes | PortError) -> bool:
    """Whether the record that stands names the same task as its cause. One that cannot be read is taken for it: nobody
    else will answer for what follows, and what is started twice is met by its own record."""
    if isinstance(standing, PortError):
        return False
    try:
        return decode_entry(standing).cause == verdict.cause
    except DecodeError as error:
        log.error("the record of task %s cannot be read: %s", verdict.id, error)
        return True


def _first_error(standing: Sequence[bytes | PortError | None]) -> PortError | None:
    return next((one for one in standing if isinstance(one, PortError)), None)
