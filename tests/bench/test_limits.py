"""`python -m bench.limits` in small: several workers, a real server, and a ledger of all that ran."""

from __future__ import annotations

import sys

import pytest
from services.redis import shared_redis
from support import slowness

from bench import limits

pytestmark = [pytest.mark.skipif(sys.platform != "linux", reason="kills by process id"), pytest.mark.timeout(120)]


def test_workers_share_the_slots_of_keys() -> None:
    found = limits.keys(shared_redis(), tasks=400, count=5, processes=3, slots=4, seconds=0.005)
    assert found["tasks"] == 400
    assert found["most at once"] == 2
    received = found["receives"]
    assert sum(received.values()) == 400
    assert sum(count for times, count in received.items() if times > 3) <= 4, received  # of a crowded machine


def test_the_slots_of_a_killed_holder_are_handed_on_within_a_lease() -> None:
    found = limits.killed(shared_redis(), lease=4.0)
    assert found["first end after the kill, s"] <= 4.0 * slowness()


def test_workers_share_a_rate() -> None:
    found = limits.rate(shared_redis(), seconds=3.0, processes=2)
    # A hundred, and on a crowded machine those that come late: for a second they keep their places.
    assert found["starts/s"] <= 100 * (3.0 + 1.0) / 3.0
