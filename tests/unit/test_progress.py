"""What counts as getting on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from kernel.native import Signal
from kernel.worker.progress import Progress


@dataclass
class Loop:
    """What `Progress` sees of an intake or an outlet."""

    turns: int = 0
    stopping: Signal = field(default_factory=Signal)


def progress(inline: bool) -> tuple[Progress, Any, Any]:
    intake: Any = Loop()
    outlet: Any = Loop()
    return Progress(intake, outlet, inline), intake, outlet


def test_loops_that_go_round_get_on() -> None:
    looked, intake, outlet = progress(inline=False)
    for now in (10.0, 20.0, 30.0):
        intake.turns += 1
        outlet.turns += 3
        assert looked.at(now, running=False, away=False) == now


@pytest.mark.parametrize("stuck", ["intake", "outlet"])
@pytest.mark.parametrize("running", [True, False])
def test_one_loop_that_stands_still_is_seen(stuck: str, running: bool) -> None:
    """A task that runs in a pool beside the loops is no excuse for them."""
    looked, intake, outlet = progress(inline=False)
    going = outlet if stuck == "intake" else intake
    assert looked.at(10.0, running, away=False) == 10.0
    for now in (20.0, 30.0):
        going.turns += 1
        assert looked.at(now, running, away=False) == 10.0


def test_a_task_that_lasts_is_progress_where_it_runs_in_the_loop() -> None:
    looked, intake, _ = progress(inline=True)
    assert looked.at(10.0, running=True, away=False) == 10.0
    assert looked.at(3000.0, running=True, away=False) == 3000.0
    assert looked.at(3010.0, running=False, away=False) == 3000.0
    intake.turns += 1
    assert looked.at(3020.0, running=False, away=False) == 3020.0


@pytest.mark.parametrize("inline", [True, False])
def test_waiting_for_a_transport_is_progress_and_so_is_stopping(inline: bool) -> None:
    looked, intake, _ = progress(inline)
    assert looked.at(10.0, running=False, away=False) == 10.0
    assert looked.at(50.0, running=False, away=True) == 50.0
    assert looked.at(90.0, running=False, away=False) == 50.0
    intake.stopping.set()
    assert looked.at(99.0, running=False, away=False) == 99.0
