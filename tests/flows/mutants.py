"""Ways to get it wrong. Each is a change to the text of `advance` or `lower`, and the property has to see it."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from types import ModuleType

import pytest

from kernel.canvas import advance, lower


@dataclass(frozen=True)
class Mutant:
    """A bug."""

    name: str
    module: ModuleType
    changes: tuple[tuple[str, str], ...]

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Run the changed text in the place of the right one."""
        source = inspect.getsource(self.module)
        for old, new in self.changes:
            assert source.count(old) == 1, (
                f"{self.name}: the text has changed: {old!r} is there {source.count(old)} times"
            )
            source = source.replace(old, new)
        for name, value in list(vars(self.module).items()):
            patch.setattr(self.module, name, value)  # so that all of it is put back
        exec(compile(source, self.name, "exec"), vars(self.module))
        for name in set(vars(advance)) & set(vars(lower)):
            if getattr(vars(self.module)[name], "__module__", "") == self.module.__name__:
                patch.setattr(lower, name, vars(self.module)[name])


def of_advance(name: str, *changes: tuple[str, str]) -> Mutant:
    return Mutant(name, advance, changes)


def of_lower(name: str, *changes: tuple[str, str]) -> Mutant:
    return Mutant(name, lower, changes)


#: Found by running random workflows.
MUTANTS = [
    of_advance("the last member completes the join", ("if count >= size:", "if place.index == size - 1:")),
    of_advance("a join is full too early", ("if count >= size:", "if count >= size - 1 > 0 or count >= size:")),
    of_advance(
        "a failure stays inside of its join",
        ("    if spot.place.join:\n        yield from _broken", "    if 0:\n        yield from _broken"),
    ),
    of_advance("whoever fails a join tells of it", ("    if mine[0]:\n        after", "    if True:\n        after")),
    of_advance(
        "error callbacks are forgotten", ("_linked(spot, frame.errbacks, failure)", "_linked(spot, [], failure)")
    ),
    of_advance(
        "a callback has a new id each time",
        ("numbered(spot.base, link.n)", 'numbered(spot.base, link.n) + __import__("secrets").token_hex(4)'),
    ),
    of_advance("a replaced task gets no result", ("end = [] if known else [raw", "end = [] if True else [raw")),
    of_advance("a join is recorded after its members are sent", ("    if joins:", "    if joins and not sends:")),
    of_advance(
        "members are mixed up",
        ("spot.at(member_id(group, index), decode", "spot.at(member_id(group, size - 1 - index), decode"),
    ),
    of_advance("what has not begun is not told of a failure", ("    if verdicts:", "    if 0:")),
    of_advance(
        "a value is lost behind a callback",
        ("_linked(spot, frame.callbacks, given))", "_linked(spot, frame.callbacks, given)); given = None"),
    ),
    of_lower("pages are not kept", ("self.kept.append(Kept(key, encode(page), 0))", "pass")),
    of_lower("the end of a page is the end of it all", ("more = [More(key)]", "more = []")),
    of_lower("a later run replaces the replacement", ("generation, first=True)", "generation, first=False)")),
]

#: Found by the tests of deadlines and of requeues.
LATE_MUTANTS = [
    of_advance("what another has decided has effects", ("if task.cause and task.cause != task.id:", "if False:")),
    of_advance("a deadline does nothing", ("if task.place.index < 0:", "if False:")),
    of_advance("a requeue does not lift its join", ("if join.generation < spot.generation:", "if False:")),
    of_lower("nobody watches a lazy chord", ("(LONGEST if lazy else 0.0)", "0.0")),
]
