"""The arithmetic of the soak, and a very short one."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from faults.soak import MIB, Growth, Sample, Soak, growth, line_through, look
from faults.systems import SYSTEMS


def _samples(rss: Callable[[int], float], more: int = 0) -> list[Sample]:
    """One every ten seconds for half an hour; `more` descriptors in the second half of it."""
    return [
        Sample(at * 10.0, int(rss(at) * MIB), 10 + (more if at > 90 else 0), 5 + (more if at > 90 else 0))
        for at in range(180)
    ]


def test_a_line_through_points() -> None:
    assert line_through([(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]) == pytest.approx((2.0, 1.0))


def test_what_warms_up_and_stays_is_flat() -> None:
    found = growth(_samples(lambda at: 40.0 + min(at, 30) / 3 + at % 3))
    assert abs(found.per_hour) < 0.5
    assert found.trouble() == ""


def test_what_grows_is_told() -> None:
    # 8 MiB an hour.
    assert "MiB an hour" in growth(_samples(lambda at: 40.0 + at * 10 / 3600 * 8)).trouble()
    assert "had 10 descriptors and has 11" in growth(_samples(lambda at: 40.0, more=1)).trouble()
    assert Growth(1.0, 1.0, 0.0, (3, 3), (5, 6)).trouble() == "had 5 threads and has 6"


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_look_at_a_process() -> None:
    sample = look(os.getpid())
    assert sample is not None
    assert sample.rss > MIB
    assert sample.threads >= 1
    assert look(1 << 22) is None


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_short_soak(tmp_path: Path) -> None:
    with SYSTEMS["sqlite"]() as system:
        soak = Soak(tmp_path, system.rig(tmp_path, 1))
        soak.run(6.0, 50.0)
    assert not [trouble for trouble in soak.troubles() if "lost" in trouble or "twice" in trouble]
    assert len(soak.samples) == 3
