from __future__ import annotations

import pytest

from kernel.clock import FakeClock
from kernel.errors import Unavailable
from kernel.steady import REMIND_EVERY, Outage


def test_an_outage_is_told_at_once_then_every_minute_and_at_its_end(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    outage = Outage("the transport", clock)
    for _ in range(25):
        outage.failed(Unavailable("the file is damaged"))
        clock.advance(REMIND_EVERY / 10)
    outage.worked()
    outage.worked()
    assert [record.getMessage() for record in caplog.records] == [
        "the transport is unavailable: the file is damaged; trying again until it is back",
        "the transport is still unavailable after 60 s: the file is damaged",
        "the transport is still unavailable after 120 s: the file is damaged",
        "the transport is back after 150.0 s",
    ]
