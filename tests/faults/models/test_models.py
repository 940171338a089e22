"""Short runs of the state machines on every system, and broken adapters that each of them must find.

`python -m faults.models` runs them for longer.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from math import inf
from pathlib import Path
from random import randrange
from typing import Any

import pytest
from kernel_memory import MemoryResults

from faults.models.explore import MACHINES, explore, run
from faults.models.machine_kernel import KernelMachine
from faults.models.machine_places import SYSTEMS, memory_place
from faults.models.model import Manner, Span, TransportModel, Trouble
from faults.models.mortal import MortalTransport
from kernel.errors import PortError
from kernel.ports import Delivery, Features, Outgoing
from kernel.worker.hand import Hand
from kernel.worker.outlet import Outlet
from kernel.worker.starts import Starts

sys.path.insert(0, str(Path(__file__).parents[2] / "conformance"))  # where the broken adapters are

import mutants
import receiving_mutants
import store_mutants

#: A number for which the mutants are found soon; any other finds them too, later or sooner.
SEED = 1


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", SYSTEMS)
def test_every_answer_is_allowed(name: str) -> None:
    # CI does the same every time, so that a red run is red for everybody; at a desk it varies.
    verdict = explore(name, 0, SEED if os.environ.get("CI") else randrange(1 << 30))
    assert verdict.troubles == []
    assert verdict.steps > 10 * verdict.examples


#: Broken adapters. Which of its answers gives one away first is chance; that of each port are these.
BROKEN: dict[str, tuple[type[Any], ...]] = {
    "transport": (
        mutants.AcksOnReceive,
        mutants.AcksWithoutFence,
        mutants.KeepsQuietAboutLoss,
        mutants.ReturnsWholeBatchAsLost,
        mutants.ReleasesWithoutFence,
        mutants.ExtendsWithoutFence,
        mutants.PublishesSendsOfLostDeliveries,
        mutants.LeaseNeverEnds,
        mutants.LeaseIsShort,
        mutants.RenewalDoesNothing,
        mutants.CountsReleases,
        mutants.ReleaseDrops,
        mutants.SendsLater,
        receiving_mutants.DeliversEarly,
        receiving_mutants.ForgetsDelayedOnClose,
        receiving_mutants.IgnoresPriority,
        receiving_mutants.DeliversExpired,
        receiving_mutants.IgnoresOrderKeys,
        receiving_mutants.DeliversToTwo,
        receiving_mutants.PurgeTakesLeased,
        receiving_mutants.SaysZeroForUnknown,
    ),
    "results": (
        store_mutants.LastWriteWins,
        store_mutants.ZombieWrites,
        store_mutants.ComparesRanksAsText,
        store_mutants.IgnoresTtl,
    ),
    "coordination": (
        store_mutants.ClaimSteals,
        store_mutants.ClaimNeverEnds,
        store_mutants.CountsTwice,
        store_mutants.SlotOverLimit,
        store_mutants.BucketWithoutBurst,
    ),
    "schedules": (
        store_mutants.TakesWithoutLease,
        store_mutants.TakeRemoves,
    ),
}
SAID = {
    "transport": "closed: count: early: expired: fence: limit: lost: order: peek: phantom: priority: purge: refused: "
    "sizes: twice:",
    "results": "rank: standing:",
    "coordination": "bucket: claim: slot: tally:",
    "schedules": "next: take:",
}
CASES = [(port, kind) for port, kinds in BROKEN.items() for kind in kinds]


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Mutants remember deliveries by payload, and the machine uses the same ones in every example."""
    yield
    mutants.Mutant.latest.clear()


@pytest.mark.parametrize(("port", "kind"), CASES, ids=[kind.__name__ for _, kind in CASES])
def test_a_broken_adapter_is_found(port: str, kind: type[Any]) -> None:
    machine = MACHINES[port][0]
    _, trouble = run(machine, lambda variant: memory_place(variant, **{port: kind}), 150, SEED, 40, shrink=False)
    assert trouble.partition(" ")[0] in SAID[port].split(), trouble


# -- the model by itself ---------------------------------------------------------------------------------------

FEATURES = Features(lease=30.0, survives="process", delay=900.0, priorities=10, counts=True)
NOW = Span(100.0, 100.0)


def modelled(manner: Manner | None = None) -> tuple[TransportModel, Delivery]:
    """A model in which one message was sent and received."""
    model = TransportModel(FEATURES, manner or Manner())
    model.sent("me", [Outgoing("q", b"m")], NOW)
    delivery = Delivery(b"m", "q", None)
    model.received("me", ["q"], 10, [delivery], NOW)
    return model, delivery


def test_a_lease_that_may_have_ended_allows_both() -> None:
    """A call that was under way when the lease ended may have come before or after it."""
    for lost in (True, False):
        model, delivery = modelled()
        model.acked(model.holds, [delivery] if lost else [], Span(129.0, 131.0))
        assert bool(model.unfinished(131.0)) is lost


def test_a_lease_that_goes_on_is_not_lost() -> None:
    model, delivery = modelled()
    with pytest.raises(Trouble, match="its lease goes on"):
        model.acked(model.holds, [delivery], Span(110.0, 120.0))


def test_what_is_ready_must_be_handed_out() -> None:
    model, _ = modelled()
    model.received("you", ["q"], 10, [], Span(129.0, 131.0))
    with pytest.raises(Trouble, match="lost: m is ready"):
        model.received("you", ["q"], 10, [], Span(130.0, 131.0))


def test_where_a_service_is_slow_nothing_is_said_at_once() -> None:
    model, _ = modelled(Manner(lag=5.0))
    model.received("you", ["q"], 10, [], Span(134.0, 134.0))
    with pytest.raises(Trouble, match="lost: m is ready"):
        model.received("you", ["q"], 10, [], Span(136.0, 136.0))


# -- the whole kernel ------------------------------------------------------------------------------------------


PUBLISH = Outlet._publish


def acks_first(self: Outlet, acks: list[Any], sends: Any) -> list[Any]:
    """Acknowledges, and then sends what follows."""
    done = PUBLISH(self, acks, {})
    swallows(self, {job: sends[job] for job in done if job in sends})
    return done


def swallows(self: Outlet, sends: Any) -> tuple[set[Any], dict[Any, Any]]:
    """Takes a send that failed for one that worked."""
    try:
        self._send_all([message for caused in sends.values() for message in caused])
    except PortError:
        pass
    return set(), {}


def acks_on_receive(self: MortalTransport, queues: Any, limit: int, timeout: float) -> Any:
    got = self.inner.receive(queues, limit, 0.0)
    self.inner.ack(got)
    return got


def overwrites(self: MemoryResults, items: Any, ttl: float) -> list[None]:
    """Whoever writes last wins."""
    self.delete([item.key for item in items])
    for item in items:
        self._space.records.put(item.key, item, inf, 0.0)
    return [None] * len(items)


KERNELS: list[tuple[type[Any], str, Any, str]] = [
    (Outlet, "_publish", acks_first, "lost: dead:"),
    (Outlet, "_send", swallows, "lost: dead: outcome:"),
    (Starts, "record", lambda self, job: 1, "stuck: twice:"),
    (MortalTransport, "receive", acks_on_receive, "lost:"),
    (MemoryResults, "put", overwrites, "final: dead: outcome: twice:"),
    (Hand, "renew", lambda self: None, "twice:"),
]


@pytest.mark.parametrize(
    ("owner", "name", "broken", "words"), KERNELS, ids=[f"{owner.__name__}.{name}" for owner, name, _, _ in KERNELS]
)
def test_a_broken_kernel_is_found(
    owner: type[Any], name: str, broken: Any, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, name, broken)
    _, trouble = run(KernelMachine, memory_place, 200, SEED, 40, shrink=False)
    assert trouble.partition(" ")[0] in words.split(), trouble
