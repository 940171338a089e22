"""Random workflows, from any `Random`: that of a seed is fast, that of Hypothesis finds the smallest example."""

from __future__ import annotations

from random import Random

from kernel.canvas import Flow, chain, chord, group, signature, starmap, xmap
from kernel.canvas.names import SPREAD

#: What tasks that replace themselves are replaced by.
SWAPS: dict[str, Flow] = {
    "swap:task": signature("ok:swapped", (1,)),
    "swap:group": group(signature("ok:s", (1,)), signature("ok:s", (2,)), chain(signature("ok:s"), signature("ok:t"))),
    "swap:chain": chain(signature("ok:s", (3,)), group(signature("ok:t"), signature("flaky:1")), signature("ok:u")),
    "swap:bad": chain(signature("ok:s"), signature("bad:swapped")).on_error(signature("ok:heard")),
    "swap:linked": chord([signature("ok:s")], signature("ok:t")).link(signature("ok:called")),
    "swap:again": signature("swap:task"),
    "swap:twice": chain(signature("swap:again"), signature("swap:chain")),
    "swap:nothing": group(),
    "swap:spread": chain(group(signature("ok:s", (1,)), signature("ok:t")), signature(SPREAD)),
    "swap:wider": chain(group(signature("swap:spread"), signature("flaky:1")), signature(SPREAD)),
    "swap:deep": chord([signature("swap:group"), signature("swap:twice")], signature("swap:task")),
}

GOOD = ("ok:a", "ok:b", "ok:c")
KINDS = (*GOOD, *GOOD, *GOOD, *GOOD, "flaky:1", "flaky:2", "bad:a", "bad:b", "ignored:a", *SWAPS)
CALLBACKS: tuple[Flow, ...] = (
    signature("ok:x"),
    signature("ok:y", immutable=True),
    chain(signature("ok:x"), signature("bad:callback"), signature("ok:y")),
    group(signature("ok:x"), signature("ok:y")),
    chord([signature("ok:x"), signature("flaky:1")], signature("ok:y")).link(signature("ok:z")),
    signature("swap:group"),
)


class Maker:
    """Makes one workflow of at most so many tasks."""

    def __init__(self, random: Random, budget: int = 25) -> None:
        self.random = random
        self.left = budget

    def flow(self, depth: int) -> Flow:
        """One that nests at most so deep."""
        random = self.random
        self.left -= 1
        if depth == 0 or self.left <= 0 or random.randrange(4) == 0:
            return self.linked(self.leaf())
        match random.randrange(6):
            case 5:
                part = self.flow(depth - 1)
                return self.linked(random.choice([chain(part, part), group(part, part), chord([part, part], part)]))
            case 0:
                return self.linked(chain(*self.several(depth)))
            case 1:
                return self.linked(group(self.several(depth)))
            case 2:
                return self.linked(chord(self.several(depth), self.flow(depth - 1)))
            case 3:
                return self.linked(chord(self.several(depth)))
        return self.linked(self.flow(depth - 1) | self.flow(depth - 1))

    def several(self, depth: int) -> list[Flow]:
        return [self.flow(depth - 1) for _ in range(self.random.randrange(4))]

    def leaf(self) -> Flow:
        random = self.random
        args = [random.randrange(10) for _ in range(random.randrange(3))]
        match random.randrange(20):
            case 0:
                return xmap(random.choice(GOOD), args[:1])
            case 1:
                return starmap(random.choice(GOOD), [args])
        return signature(random.choice(KINDS), args, immutable=random.randrange(4) == 0)

    def linked(self, flow: Flow) -> Flow:
        """Every fifth has callbacks."""
        random = self.random
        if random.randrange(5) == 0:
            flow = flow.link(*(random.choice(CALLBACKS) for _ in range(random.randrange(3))))
            flow = flow.on_error(*(random.choice(CALLBACKS) for _ in range(random.randrange(3))))
        return flow


def random_flow(random: Random, depth: int = 5) -> Flow:
    """A workflow that nests at most so deep."""
    return Maker(random).flow(depth)
