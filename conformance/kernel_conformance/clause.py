"""A clause: one sentence of a port's contract as a test function, and the abilities that select it.

The docstring of the function is the only place of its identity, its text and its advice::

    def test_a_second_ack_is_no_error(bench: TransportBench) -> None:
        '''T-ACK-2: acknowledging the same delivery again is no error.

        Fix: treat a receipt that is gone as settled, or as lost.
        '''
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from types import ModuleType
from typing import Any, Generic, TypeVar

from kernel_conformance.bench import Testbed

B = TypeVar("B", bound=Testbed)
Test = Callable[[B], None]

_FIRST_LINE = re.compile(r"([A-Z]+(?:-[A-Z]+)+-\d+): (.+)")


@dataclass(frozen=True, slots=True)
class Clause:
    """What the docstring of a test says."""

    #: Such as "T-ACK-3"; stable over releases, so that deviations and reports can name it.
    id: str
    #: The sentence of the contract.
    text: str
    #: What the author of an adapter does when the test fails.
    advice: str


def clause_of(function: Callable[..., Any]) -> Clause:
    """Read the clause from a test's docstring; `ValueError` when the docstring has not the form."""
    first, _, rest = (function.__doc__ or "").strip().partition("\n")
    found = _FIRST_LINE.fullmatch(first.strip())
    advice = re.search(r"Fix: (.+)", rest, re.DOTALL)
    if found is None or advice is None:
        raise ValueError(f"{function.__name__} needs a docstring with a clause and a line that starts with 'Fix:'")
    return Clause(found[1], found[2], " ".join(advice[1].split()))


@dataclass(frozen=True, slots=True)
class Ability(Generic[B]):
    """Something that an adapter may claim, and what must be seen when it does not."""

    #: The field of the features value.
    name: str
    #: Reads the claim from the features value.
    claimed: Callable[[Any], bool]
    #: Proves the refusal, or the documented indifference, of an adapter that does not claim.
    refused: Callable[[B], None]


def claims(ability: Ability[B]) -> Callable[[Test[B]], Test[B]]:
    """Run the test when the ability is claimed, else the proof of its refusal: there is no third way."""

    def decorate(test: Test[B]) -> Test[B]:
        @wraps(test)
        def either(bench: B) -> None:
            if ability.claimed(bench.features):
                test(bench)
            else:
                bench.declined = ability.name
                ability.refused(bench)

        return either

    return decorate


def tests_in(areas: Iterable[ModuleType]) -> dict[str, Test[Any]]:
    """All tests of some modules by name, in the order of writing; `ValueError` when two share a name or an id."""
    found: dict[str, Test[Any]] = {}
    ids: dict[str, str] = {}
    for area in areas:
        for name, value in vars(area).items():
            if not name.startswith("test_"):
                continue
            other = ids.setdefault(clause_of(value).id, name)
            if name in found or other != name:
                raise ValueError(f"{area.__name__}.{name} shares its name or its clause id with {other}")
            found[name] = value
    return found
