"""Two releases of one application at work on one queue."""

from __future__ import annotations

import pytest

from kernel import Kernel
from kernel import envelope as wire
from kernel.clock import FakeClock
from kernel.configuration.settings import Tasks
from kernel.envelope import Envelope, encode
from kernel.errors import ConfigError
from kernel.outcome import Again, Failed
from kernel.pools.solo import SoloPool
from kernel.ports import Delivery
from kernel.worker.admit import BOUNDS, LATER, Admit

SAID: dict[int, object] = {wire.LIMITS: [["k", 1]], wire.UNIQUE: ["k", 2, False, 60.0]}


def judge(clock: FakeClock, extra: dict[int, object]) -> object:
    """What an old worker makes of a message of a task that it knows, with such fields."""
    app = Kernel("old", clock=clock)

    @app.task(name="work")
    def work() -> None: ...

    admit = Admit(lambda: app.tasks, Tasks(), 600.0, clock, "node", lambda plan: None, store=True)
    payload = encode(Envelope("id", "work", b"[[],{}]", "json", extra=extra))
    admission = admit.admit([Delivery(payload, "default", None)], 1e9)
    assert admission.ready == admission.suspects == []
    [job] = admission.ended
    return job.outcome


@pytest.mark.parametrize("field", sorted(LATER | BOUNDS))
def test_what_only_a_later_release_can_keep_is_sent_on_and_not_run(field: int) -> None:
    """Running it here would drop its continuation or its compression without a word; its limits, where the services
    are missing that keep them."""
    clock = FakeClock()
    outcome = judge(clock, {field: SAID.get(field, "x")})
    assert isinstance(outcome, Again)
    assert outcome.hop
    assert outcome.since == clock.now()


def test_after_unknown_for_it_is_a_dead_letter_that_says_why() -> None:
    clock = FakeClock()
    outcome = judge(clock, {wire.ON_OK: "x", wire.UNKNOWN_SINCE: clock.now() - 601})
    assert isinstance(outcome, Failed)
    assert outcome.dead == "unprocessable"
    assert "later release" in outcome.reason


def test_solo_refuses_slots_that_it_would_not_have() -> None:
    with pytest.raises(ConfigError, match="--processes 8"):
        SoloPool(8)
