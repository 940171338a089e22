"""The order of steps around a body that other threads rely on."""

from __future__ import annotations

from typing import Any

from kernel import Kernel
from kernel.clock import Clock
from kernel.envelope import Envelope
from kernel.outcome import Failed, Ok
from kernel.ports import Delivery
from kernel.serializers.json_ import JsonSerializer
from kernel.worker.job import Job
from kernel.worker.plan import Plan
from kernel.worker.runner import Runner


def _job(function: Any, body: bytes = b"[[],{}]") -> Job:
    app = Kernel("unit")
    task = app.task(name="unit")(function)
    serializer = JsonSerializer()
    plan = Plan("unit", task, app.config.tasks, serializer)
    plan.bind(lambda task, call: call)
    return Job(Delivery(b"", "default", None), Envelope("i", "unit", body, "json"), plan, 1e18, "n", serializer.loads)


def _yes(job: Job) -> bool:
    return True


def test_a_running_job_has_its_start_before_the_housekeeper_sees_it() -> None:
    """One without a start would have overrun every limit since the machine was booted."""
    early: list[bool] = []
    job = _job(lambda: None)

    def monotonic() -> float:
        early.append(job in runner.active and not job.started_at)
        return 5.0

    runner = Runner(Clock(monotonic=monotonic), lambda job: None, _yes, _yes, _yes)
    runner.run(job)
    assert early == [False, False]
    assert isinstance(job.outcome, Ok)


def test_an_interrupt_between_body_and_judgement_still_ends_the_job() -> None:
    ended: list[Job] = []
    runner = Runner(Clock(), ended.append, _yes, _yes, _yes)
    judge = runner.judge
    late = [True]

    def interrupted(job: Job, error: BaseException) -> Any:
        if late:
            late.clear()
            raise TimeoutError("late")
        return judge(job, error)

    def fail() -> None:
        raise ValueError("body")

    runner.judge = interrupted  # type: ignore[method-assign]
    job = _job(fail)
    runner.run(job)
    assert ended == [job]
    assert isinstance(job.outcome, Failed)
    assert job.outcome.error.type == "TimeoutError"
    assert not runner.active
