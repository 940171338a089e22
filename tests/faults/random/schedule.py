"""The schedule of faults: when what happens, and for how long. A function of the seed, and of nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

#: Seconds between two faults, the shortest and the longest.
GAPS = (0.1, 1.1)
#: After so many faults all is healed, and the system must get going.
SPELL = 10
CALM = "calm"


@dataclass(frozen=True, slots=True)
class Strike:
    """One fault to come: which, when (in seconds, from the first), for how long, and what it draws its choices from."""

    at: float
    fault: str
    lasts: float
    salt: int

    def __str__(self) -> str:
        return f"{self.at:.2f} {self.fault}" + (f" for {self.lasts:.2f}" if self.lasts else "")


def schedule(seed: int, menu: Mapping[str, tuple[int, float, float]], count: int) -> list[Strike]:
    """So many strikes, and a calm after each spell of them. `menu`: how often each is chosen, shortest, longest."""
    random = Random(seed)
    names, weights = list(menu), [weight for weight, _, _ in menu.values()]
    strikes: list[Strike] = []
    at = 0.0
    for number in range(1, count + 1):
        at += random.uniform(*GAPS)
        name = random.choices(names, weights)[0]
        strikes.append(Strike(at, name, random.uniform(*menu[name][1:]), random.getrandbits(32)))
        if number % SPELL == 0:
            strikes.append(Strike(at, CALM, 0.0, 0))
    return strikes


def one_by_one(seed: int, menu: Mapping[str, tuple[int, float, float]]) -> list[Strike]:
    """Each fault of the menu once, in an order of the seed's, and a calm as soon as it is over."""
    random = Random(seed)
    strikes: list[Strike] = []
    at = 0.0
    for name in random.sample(sorted(menu), len(menu)):
        at += random.uniform(*GAPS)
        lasts = random.uniform(*menu[name][1:])
        strikes.append(Strike(at, name, lasts, random.getrandbits(32)))
        at += lasts
        strikes.append(Strike(at, CALM, 0.0, 0))
    return strikes
