"""What a campaign adds up, and how its parts tell it."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from faults.random.campaign import SHARES, Sum, _data, _parts, _verdict
from faults.random.verdict import Verdict
from faults.systems import SYSTEMS


def test_a_verdict_travels_as_json() -> None:
    verdict = Verdict(3, 100, Counter({"a": 2, "b": 1}), {"x"}, troubles=["late"])
    again = _verdict(json.loads(json.dumps(_data(verdict))))
    assert again == verdict
    assert again.faults_in_all == 3


def test_a_row_is_the_sum_of_its_runs() -> None:
    runs = [
        Verdict(1, 1000, Counter(a=2), duplicates=3, most_often=2),
        Verdict(2, 500, Counter(a=1), {"x"}, most_often=4),
    ]
    assert Sum("redis", runs).row[:8] == ("redis", 2, "1,500", "3", 1, 0, 3, 4)


@pytest.mark.parametrize("scale", [0.01, 1.0])
def test_parts_make_up_the_share(scale: float) -> None:
    parts = list(_parts(SHARES["redis"], 10, scale))
    seeds = [seed + number for seed, runs in parts for number in range(runs)]
    assert seeds == list(range(10, 10 + max(1, round(SHARES["redis"].runs * scale))))


def test_a_campaign_is_as_large_as_it_says() -> None:
    assert SHARES.keys() == SYSTEMS.keys()
    assert sum(share.runs * share.tasks for share in SHARES.values()) >= 500_000
    assert sum(share.runs * share.faults for share in SHARES.values()) >= 2_000
