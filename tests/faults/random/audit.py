"""The comparison at the end of a run: the ledger against the faults, the results, the dead letters and what is left."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf

from faults.ledger import Books, Run
from faults.program import CHAIN, TRIES
from faults.random.menu import Mishap
from faults.random.verdict import Verdict
from faults.systems import QUEUE, Rig
from kernel import Kernel
from kernel.dead import DeadLetters, Letter
from kernel.outcome import Entry, decode_entry

#: Seconds by which the end of a fault can be felt: what it held up is worked off, and its traces are in the leases.
AFTER = 0.5
#: Most letters that are looked at.
LETTERS = 100_000


@dataclass
class Audit:
    """One run, at rest."""

    books: Books
    mishaps: Sequence[Mishap]
    rig: Rig
    app: Kernel
    verdict: Verdict

    def all(self) -> None:
        """Look at everything, and write into the verdict what is wrong."""
        books, verdict = self.books, self.verdict
        letters = self._letters()
        verdict.tasks = len(books.attempted)
        verdict.lost = self._lost(letters)
        verdict.phantoms, verdict.refused_and_run = books.phantoms, books.refused_and_run
        verdict.duplicates, verdict.most_often = books.duplicates, books.most_often
        verdict.recovered = len(books.unknown & (books.ends.keys() | books.failed.keys()))
        verdict.dead_letters = sum(map(len, letters.values()))
        for check in (self.chains, self.overlaps, self.early, self.results):
            self._note(list(check()))
        self._note(list(self.dead(letters)))
        self._note([f"left: {count} {what}" for what, count in self.rig.pending(self.app).items()])

    def _note(self, lines: list[str]) -> None:
        self.verdict.troubles += lines[:3]
        if len(lines) > 3:
            self.verdict.troubles.append(f"... and {len(lines) - 3} like it")

    # -- executions ------------------------------------------------------------------------------------------------

    def _touching(self, pids: set[int], since: float, until: float) -> int:
        return sum(mishap.touches(pids, since - AFTER, until) for mishap in self.mishaps)

    def chains(self) -> Iterator[str]:
        """No attempt ran more often than its sends and the faults that touched it allow, and no duplicate has grown on
        its way along the attempts."""
        books = self.books
        attempts: dict[str, dict[int, list[Run]]] = defaultdict(dict)
        for name, runs in books.runs.items():
            key, _, attempt = name.rpartition("#")
            attempts[key][int(attempt)] = runs
        for key, levels in attempts.items():
            if all(len(runs) == 1 for runs in levels.values()):
                continue
            pids = {run.pid for runs in levels.values() for run in runs}
            since = books.attempted.get(key, 0.0)
            allowed = books.sends[key] or 1
            for attempt in sorted(levels):
                runs = levels[attempt]
                until = max(run.began for run in runs)
                touching = self._touching(pids, since, until)
                # Each of the messages that carry it may run once more for each fault: a full disk takes the
                # acknowledgements of both copies.
                if len(runs) > allowed * (1 + touching):
                    yield f"{key}#{attempt} ran {len(runs)} times, {allowed} before it, {touching} faults touched it"
                allowed = len(runs)
                since = min(run.began for run in runs)

    def overlaps(self) -> Iterator[str]:
        """Two executions of one attempt at a time are a zombie and its successor, or two copies of a send of which
        nobody knew whether it had worked: there was a fault since it was sent."""
        books = self.books
        for name, runs in books.runs.items():
            if len(runs) == 1:
                continue
            key, _, attempt = name.rpartition("#")
            before = books.runs.get(f"{key}#{int(attempt) - 1}") if attempt != "0" else None
            since = min(run.began for run in before) if before else books.attempted.get(key, 0.0)
            for one, other in pairwise(sorted(runs, key=lambda run: run.began)):
                if one.until == inf or one.until <= other.began:
                    continue
                self.verdict.overlaps += 1
                if books.sends[key] < 2 and not self._touching({one.pid, other.pid}, since, other.began):
                    yield f"{name} ran in {one.pid} and {other.pid} at a time, and no fault touched it"

    def early(self) -> Iterator[str]:
        """Nothing began before its time, but for a worker whose own clock is what counts and was set."""
        for key, moment in self.books.early:
            excused = self.rig.host_clock and any(
                mishap.name == "the clock set" and mishap.touches(mishap.pids or (), moment - 5.0, moment)
                for mishap in self.mishaps
            )
            if not excused:
                yield f"{key} began before its time"

    # -- results and dead letters ----------------------------------------------------------------------------------

    def _entries(self, keys: list[str]) -> Iterator[tuple[str, Entry | None]]:
        store = self.app.ports.results
        assert store is not None
        most = store.features.max_batch
        for start in range(0, len(keys), most):
            part = keys[start : start + most]
            for key, value in zip(part, store.get(part), strict=True):
                yield key, None if value is None else decode_entry(value)

    def results(self) -> Iterator[str]:
        """What the ledger says of a task, the result store says too, and the other way round."""
        books = self.books
        keys = [key for key in books.attempted if key[0] not in "gq"]
        for key, entry in self._entries(keys):
            if key in books.ends:
                wanted = "SUCCESS"
            elif key in books.failed:
                wanted = "FAILURE"
            else:
                wanted = "" if key not in books.confirmed else "SUCCESS"
            state = "" if entry is None else entry.state
            if state != wanted:
                yield f"{key} has the record {state or 'none'} in place of {wanted or 'none'}"
            elif entry is not None and state == "SUCCESS" and entry.body != f'"{key}"'.encode():
                yield f"{key} has the result {entry.body!r}"
            elif entry is not None and entry.attempt < {"c": CHAIN, "x": TRIES}.get(key[0], 0):
                yield f"{key} has the record of attempt {entry.attempt}"
        for key, entry in self._entries([key for key in books.attempted if key[0] == "q"]):
            if entry is not None and entry.state in ("SUCCESS", "FAILURE"):
                yield f"{key} ignores its result and has one: {entry.state}"

    def _letters(self) -> dict[str, list[Letter]]:
        found: dict[str, list[Letter]] = defaultdict(list)
        for letter in DeadLetters(self.app.ports.transport, QUEUE).list(limit=LETTERS):
            found[letter.id or letter.payload.decode("utf-8", "replace").rpartition(" ")[2]].append(letter)
        return found

    def _lost(self, letters: dict[str, list[Letter]]) -> set[str]:
        """Confirmed, and neither run to the end nor among the dead letters."""
        return {
            key for key in self.books.confirmed - self.books.ends.keys() if key[0] not in "xg" or key not in letters
        }

    def dead(self, letters: dict[str, list[Letter]]) -> Iterator[str]:
        """Dead letters are those that should be, of the right kind, and no more of them than faults can make."""
        for key, own in letters.items():
            wanted = {"x": "failed", "g": "unprocessable"}.get(key[:1], "")
            kinds = Counter(letter.kind for letter in own)
            if key not in self.books.attempted:
                yield f"a dead letter of {key!r}, which nobody sent"
            elif not wanted:
                yield f"{key} is a dead letter: {own[0].kind}, {own[0].reason}"
            elif kinds.keys() != {wanted}:
                yield f"{key} is a dead letter of the kinds {dict(kinds)}, not {wanted}"
            elif len(own) > self.books.sends[key] + len(self.mishaps):
                yield f"{key} is {len(own)} dead letters"
