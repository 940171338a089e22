"""An application in test mode: manual, inline, and with workers in threads."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from unittest.mock import ANY

import pytest
from support import eventually

from kernel import (
    ConfigError,
    Kernel,
    ResultTimeout,
    Task,
    TaskFailed,
    allow_join_result,
    current_app,
    current_request,
    current_task,
    get_task_logger,
    group,
    shared_task,
)
from kernel.errors import TaskExpired
from kernel.limits import Unique
from kernel.ports import Delivery
from kernel.testing import Sandbox, current, of

#: A broker that is nowhere: whatever reaches for it fails the test.
app = Kernel("shop", transport="redis://nowhere.invalid", max_retries=2, retry_jitter=False)
ran: list[str] = []


@app.task
def add(x: int, y: int) -> int:
    ran.append(f"add {x} {y}")
    return x + y


@app.task(autoretry_for=(ValueError,), default_retry_delay=10.0)
def flaky(failures: int) -> str:
    request = current_request()
    assert request is not None
    if request.retries < failures:
        raise ValueError(f"run {request.retries}")
    return "done"


@app.task(exchange="sums", routing_key="sums.new", queue="sums")
def published(x: int) -> int:
    return x


@app.task
def count(values: list[int]) -> int:
    return len(values)


@app.task
def parent(x: int) -> str:
    child = add.delay(x, 1)
    ran.append("parent")
    return child.id


@app.task
def asks(x: int) -> int:
    with allow_join_result():
        value = add.delay(x, 1).get(timeout=5)
    task = current_task()
    assert task is not None
    assert task.name == asks.name, "what runs inside of a task is not that task"
    return value


@app.task
async def asks_softly(x: int) -> int:
    with allow_join_result():
        return await (await add.adelay(x, 1)).aget(timeout=5)


@app.task
def again() -> None:
    again.delay()


@pytest.fixture(autouse=True)
def forgetful() -> None:
    ran.clear()


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with of(app) as sandbox:
        yield sandbox


@pytest.fixture
def inline() -> Iterator[Sandbox]:
    with of(app, inline=True) as sandbox:
        yield sandbox


# -- manual ------------------------------------------------------------------------------------------------


def test_nothing_runs_by_itself(sandbox: Sandbox) -> None:
    result = add.delay(1, 2)
    assert (result.state, ran) == ("PENDING", [])
    done = sandbox.run_one()
    assert done is not None
    assert (done.envelope.id, done.state, result.get(timeout=1)) == (result.id, "SUCCESS", 3)
    assert sandbox.run_one() is None


def test_one_all_and_until_idle_are_three_things(sandbox: Sandbox) -> None:
    for x in range(3):
        parent.delay(x)
    assert sandbox.run_one() is not None
    assert ran == ["parent"]
    assert [each.state for each in sandbox.run_all()] == ["SUCCESS"] * 3
    assert sorted(ran) == ["add 0 1", "parent", "parent", "parent"]
    assert len(sandbox.run_until_idle()) == 2
    assert sandbox.run_until_idle() == []


def test_tasks_that_send_each_other_for_ever_are_an_error(sandbox: Sandbox) -> None:
    again.delay()
    with pytest.raises(AssertionError, match=r"still not idle after 20 runs, the last ones of .*again"):
        sandbox.run_until_idle(limit=20)


def test_who_waits_for_what_nobody_runs_is_told_so_at_once(sandbox: Sandbox) -> None:
    result = add.delay(1, 2)
    before = time.monotonic()
    with pytest.raises(ResultTimeout, match=r"nobody runs task .*run_until_idle"):
        result.get(timeout=20)
    with pytest.raises(ResultTimeout, match="nobody runs"):
        result.get()
    with pytest.raises(ResultTimeout, match="nobody runs"):
        asyncio.run(result.aget(timeout=20))
    assert time.monotonic() - before < 5


def test_a_task_that_waits_for_another_one_fails_with_that_message(sandbox: Sandbox) -> None:
    result = asks.delay(1)
    sandbox.run_until_idle()
    with pytest.raises(TaskFailed, match="nobody runs"):
        result.get()


def test_arguments_and_results_are_serialized_for_real(sandbox: Sandbox) -> None:
    @app.task(name="keeps")
    def keeps(values: list[int]) -> list[int]:
        values.append(0)
        return values

    mine = [1]
    result = keeps.delay(mine)
    mine.append(2)
    sandbox.run_until_idle()
    assert (result.get(), mine) == ([1, 0], [1, 2])


def test_a_task_knows_what_it_runs_in_and_the_test_is_none(sandbox: Sandbox) -> None:
    @app.task(name="knows", bind=True)
    def knows(self: object) -> list[str]:
        task, request = current_task(), current_request()
        assert task is self
        assert request is not None
        get_task_logger("shop").info("seen")
        return [request.id, request.queue, current_app().name]

    result = knows.apply_async(queue="slow")
    sandbox.run_until_idle()
    assert result.get() == [result.id, "slow", "shop"]
    assert current_request() is None


def test_every_queue_is_run_except_dead_letters(sandbox: Sandbox) -> None:
    results = [add.apply_async((x, 0), queue=queue) for x, queue in enumerate(("a", "b", "default"))]
    failed = flaky.delay(9)
    sandbox.run_for(100)
    assert [result.get() for result in results] == [0, 1, 2]
    assert failed.state == "FAILURE"
    assert [letter.kind for letter in app.dead().list()] == ["failed"]
    assert sandbox.run_until_idle() == []


# -- looking -----------------------------------------------------------------------------------------------


def test_what_was_sent_is_there_to_look_at(sandbox: Sandbox) -> None:
    add.delay(1, y=2)
    add.apply_async((3, 4), queue="slow", countdown=60, expires=90, priority=7, headers={"tenant": "x"})
    first, second = sandbox.enqueued()
    assert (first.task, first.args, first.kwargs, first.queue, first.countdown) == (
        add.name,
        (1,),
        {"y": 2},
        "default",
        None,
    )
    assert (second.countdown, second.expires, second.priority, second.headers) == (60, 90, 7, {"tenant": "x"})
    assert str(second) == f"{add.name}(3, 4) to 'slow' in 60 s"
    assert sandbox.enqueued(add, "slow") == [second]
    assert sandbox.enqueued("unknown") == []


def test_a_call_is_asserted_by_what_is_named(sandbox: Sandbox) -> None:
    add.delay(1, y=2)
    add.apply_async((3, 4), queue="slow", countdown=60, expires=90, priority=7, headers={"tenant": "x"})
    assert len(sandbox.assert_enqueued(add)) == 2
    sandbox.assert_enqueued(add.name, args=[1], kwargs={"y": 2}, queue="default", times=1)
    sandbox.assert_enqueued(add, args=(3, ANY), countdown=60, expires=90, priority=7, headers={"tenant": "x"})
    sandbox.assert_enqueued(add, eta=sandbox.clock.now() + 60)
    sandbox.assert_enqueued(flaky, times=0)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"args": (1, 3)}, r"args: wanted \(1, 3\), was \(1, 2\)"),
        ({"kwargs": {"y": 1}}, r"kwargs: wanted \{'y': 1\}, was \{\}"),
        ({"queue": "slow"}, "queue: wanted 'slow', was 'default'"),
        ({"countdown": 60}, "countdown: wanted 60, was None"),
        ({"priority": 1}, "priority: wanted 1, was 0"),
        ({"headers": {"a": 1}}, r"headers: wanted \{'a': 1\}, was \{\}"),
        ({"times": 2}, r"enqueued 2 times; it was 1 times\n  .*add\(1, 2\) to 'default'"),
        ({"times": 0}, "enqueued never; it was 1 times"),
    ],
)
def test_what_is_not_as_expected_is_shown(sandbox: Sandbox, wanted: dict[str, object], message: str) -> None:
    add.delay(1, 2)
    with pytest.raises(AssertionError, match=message):
        sandbox.assert_enqueued(add, **wanted)  # type: ignore[arg-type]


def test_what_was_never_sent_is_shown_with_what_was(sandbox: Sandbox) -> None:
    with pytest.raises(AssertionError, match="nothing was enqueued"):
        sandbox.assert_enqueued(add)
    flaky.delay(1)
    with pytest.raises(AssertionError, match=r"it was 0 times\n  also enqueued: .*flaky"):
        sandbox.assert_enqueued(add)


def test_another_try_is_not_another_call_and_a_call_of_a_task_is(sandbox: Sandbox) -> None:
    flaky.delay(2)
    parent.delay(1)
    sandbox.run_for(100)
    sandbox.assert_enqueued(flaky, times=1)
    sandbox.assert_enqueued(add, args=(1, 1), times=1)


def test_what_waits_is_left_over(sandbox: Sandbox) -> None:
    add.delay(1, 2)
    add.apply_async((3, 4), countdown=60)
    assert len(sandbox.leftovers()) == 2
    sandbox.run_until_idle()
    assert [call.args for call in sandbox.leftovers()] == [(3, 4)]


def test_arguments_are_shown_as_they_were_before_they_were_packed(sandbox: Sandbox) -> None:
    @app.task(name="long", compression="zlib")
    def long(text: str) -> str:
        return text

    text = "x" * 100_000
    result = long.delay(text)
    sandbox.assert_enqueued(long, args=(text,))
    sandbox.run_until_idle()
    assert result.get() == text


def test_arguments_that_cannot_be_read_here_are_an_error_in_their_place(sandbox: Sandbox) -> None:
    add.delay(1, 2)
    ((_, (envelope, queue)),) = sandbox._sent.items()
    from kernel.testing.calls import enqueued

    (error,) = enqueued(envelope.but(codec="morse"), queue).args
    assert isinstance(error, ConfigError)
    (error,) = enqueued(envelope.but(body=b"{"), queue).args
    assert isinstance(error, Exception)


# -- time --------------------------------------------------------------------------------------------------


def test_delays_follow_the_clock(sandbox: Sandbox) -> None:
    result = add.apply_async((1, 2), countdown=3600)
    sandbox.clock.advance(3599)
    assert sandbox.run_until_idle() == []
    sandbox.clock.advance(timedelta(seconds=1))
    sandbox.run_until_idle()
    assert result.get() == 3


def test_expiry_follows_the_clock(sandbox: Sandbox) -> None:
    result = add.apply_async((1, 2), expires=60)
    sandbox.clock.advance(61)
    sandbox.run_until_idle()
    assert isinstance(result.get(propagate=False), TaskExpired)


def test_retries_follow_the_clock_with_their_backoff(sandbox: Sandbox) -> None:
    result = flaky.delay(2)
    assert [each.state for each in sandbox.run_for(9)] == ["RETRY"]
    assert [each.state for each in sandbox.run_for(1)] == ["RETRY"]
    assert sandbox.run_for(19) == []
    assert [each.state for each in sandbox.run_for(1)] == ["SUCCESS"]
    assert result.get() == "done"


def test_results_follow_the_clock(sandbox: Sandbox) -> None:
    result = add.apply_async((1, 2), result_expires=100)
    sandbox.run_until_idle()
    sandbox.clock.advance(99)
    assert app.result(result.id).state == "SUCCESS"
    sandbox.clock.advance(2)
    assert app.result(result.id).state == "PENDING"


def test_run_for_ends_at_the_end_of_the_time(sandbox: Sandbox) -> None:
    before = sandbox.clock.now()
    add.apply_async((1, 2), countdown=5)
    sandbox.run_for(12)
    assert sandbox.clock.now() == pytest.approx(before + 12)
    assert app.clock is sandbox.clock


def test_time_goes_forward_only(sandbox: Sandbox) -> None:
    for seconds in (-1, float("nan")):
        with pytest.raises(ValueError, match="forward"):
            sandbox.clock.advance(seconds)


def test_no_leap_of_the_clock_takes_a_message_from_who_runs_it(sandbox: Sandbox) -> None:
    @app.task(name="leaps")
    def leaps() -> str:
        ran.append("leaps")
        sandbox.clock.advance(1_000_000)
        return "done"

    result = leaps.delay()
    sandbox.run_until_idle()
    assert ran == ["leaps"]
    sandbox.run_until_idle()
    assert ran == ["leaps"]
    assert result.state == "SUCCESS"


# -- inline ------------------------------------------------------------------------------------------------


def test_inline_a_call_has_run_when_it_returns(inline: Sandbox) -> None:
    assert add.delay(1, 2).get() == 3
    assert [result.get() for result in app.send_many(add, [(1, 1), (2, 2)])] == [2, 4]
    with app.batch():
        result = add.delay(5, 5)
        assert result.state == "PENDING"
    assert result.get() == 10


def test_inline_retries_and_delays_run_at_once_and_the_clock_leaps(inline: Sandbox) -> None:
    before = inline.clock.now()
    assert flaky.delay(2).get() == "done"
    assert add.apply_async((1, 2), countdown=3600).get() == 3
    assert inline.clock.now() == pytest.approx(before + 10 + 20 + 3600)


def test_inline_a_failure_is_that_of_the_result(inline: Sandbox) -> None:
    result = flaky.delay(3)
    assert result.state == "FAILURE"
    with pytest.raises(TaskFailed, match="run 2"):
        result.get()


def test_inline_what_a_task_sends_runs_after_it(inline: Sandbox) -> None:
    child = parent.delay(1).get()
    assert ran == ["parent", "add 1 1"]
    assert app.result(child).get() == 2


def test_inline_a_task_may_wait_for_another_one(inline: Sandbox) -> None:
    assert asks.delay(1).get() == 2
    assert asks_softly.delay(2).get() == 3


def test_inline_workflows_have_run_and_no_deadline_has_come(inline: Sandbox) -> None:
    before = inline.clock.now()
    assert group(add.s(n, n) for n in range(3)).delay().get(timeout=1) == [0, 2, 4]
    assert (group(add.s(n, n) for n in range(3)) | count.s()).delay().get(timeout=1) == 3
    assert (group([add.s(1, 1)]) | count.s()).set(deadline=5).delay().get(timeout=1) == 1
    assert inline.clock.now() == before


def test_inline_from_coroutines(inline: Sandbox) -> None:
    async def calls() -> list[int]:
        results = await asyncio.gather(*(add.adelay(x, x) for x in range(20)))
        return list(await asyncio.gather(*(result.aget(timeout=5) for result in results)))

    assert asyncio.run(calls()) == [2 * x for x in range(20)]


def test_inline_from_several_threads(inline: Sandbox) -> None:
    got: list[int] = []

    def calls(start: int) -> None:
        for x in range(start, start + 20):
            got.append(add.delay(x, 0).get(timeout=5))

    threads = [threading.Thread(target=calls, args=(start,)) for start in (0, 100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [*range(20), *range(100, 120), *range(200, 220)]


def test_inline_what_goes_on_for_ever_is_an_error(inline: Sandbox) -> None:
    inline.limit = 20
    with pytest.raises(AssertionError, match="still not idle after 20 runs"):
        again.delay()


# -- workflows ---


@app.task
def total(values: list[int]) -> int:
    return sum(values)


@app.task
def fails(*_: object) -> None:
    raise ValueError("it fails")


@app.task
def heard(error: dict[str, str]) -> str:
    return error["message"]


@app.task(bind=True)
def replaced(self: Task[..., Any, Any]) -> int:
    value: int = self.replace(group(add.s(1, 1), flaky.si(1), add.s(2, 2)) | total_of_numbers.s())
    return value


@app.task
def total_of_numbers(values: list[object]) -> int:
    return sum(value for value in values if isinstance(value, int))


def test_a_workflow_runs_step_by_step(sandbox: Sandbox) -> None:
    result = (group(add.s(1, 1), add.s(2, 2)) | total.s() | add.s(10)).delay()
    assert [str(call) for call in sandbox.leftovers()] == [str(call) for call in sandbox.enqueued(add)]
    assert len(sandbox.run_all()) == 2
    sandbox.assert_enqueued(total, times=1)
    assert len(sandbox.run_until_idle()) == 2
    assert result.get() == 16


def test_inline_replacements_and_failures_of_workflows(inline: Sandbox) -> None:
    assert replaced.delay().get() == 6
    failed = (group(add.s(1, 1), fails.s()) | total.s()).on_error(heard.s()).delay()
    assert failed.state == "FAILURE"
    inline.assert_enqueued(heard, times=1)
    inline.assert_enqueued(total, times=0)


def test_a_workflow_with_a_worker(sandbox: Sandbox) -> None:
    with sandbox.worker(pool="threads"):
        assert (group(add.s(1, 1), add.s(2, 2)) | total.s()).delay().get(timeout=5) == 6


def test_a_deadline_of_a_workflow_comes_in_its_time() -> None:
    with of(app, workflow_deadline=3600) as sandbox:
        late = (group(add.s(1, 1), add.signature((2, 2), countdown=7200)) | total.s()).delay()
        sandbox.run_for(3599)
        assert late.state == "PENDING"
        sandbox.run_for(1)
        assert late.state == "FAILURE"


# -- with limits ---


def test_what_is_over_a_rate_has_its_turn_when_time_has_passed(sandbox: Sandbox) -> None:
    @app.task(name="paced", rate_limit="1/m")
    def paced(x: int) -> int:
        return x

    results = [paced.delay(x) for x in range(3)]
    sandbox.run_until_idle()
    assert [result.ready() for result in results] == [True, False, False]
    sandbox.run_for(60)
    assert [result.ready() for result in results] == [True, True, False]
    sandbox.run_for(60)
    assert [result.get() for result in results] == [0, 1, 2]


def test_inline_what_is_over_a_rate_has_run_when_the_call_returns(inline: Sandbox) -> None:
    @app.task(name="paced inline", rate_limit="1/m")
    def paced(x: int) -> int:
        return x

    assert [paced.delay(x).get() for x in range(3)] == [0, 1, 2]


def test_a_unique_call_is_there_once_until_it_is_done(sandbox: Sandbox) -> None:
    @app.task(name="only", unique=Unique("{x}", on_conflict="existing"))
    def only(x: int) -> int:
        return x

    first, second = only.delay(1), only.delay(1)
    only.delay(2)
    assert first == second
    sandbox.assert_enqueued(only, args=(1,), times=1)
    sandbox.run_until_idle()
    assert first.get() == 1
    assert only.delay(1) != first


# -- threads -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pool", ["solo", "threads", "asyncio"])
def test_a_worker_in_a_thread(sandbox: Sandbox, pool: str) -> None:
    ports = app.ports
    with sandbox.worker(pool=pool):
        assert add.delay(1, 2).get(timeout=5) == 3
        assert add.apply_async((1, 2), queue="unheard-of").get(timeout=5) == 3
        delayed = add.apply_async((3, 4), countdown=3600)
        sandbox.clock.advance(3600)
        assert delayed.get(timeout=5) == 7
    assert app.ports is ports
    assert delayed.get() == 7
    assert add.delay(1, 2).state == "PENDING"


def test_who_receives_hears_of_a_new_queue(sandbox: Sandbox) -> None:
    received: list[Delivery] = []
    queues = sandbox.ports.watched

    def receive() -> None:
        while not received:
            received.extend(queues.receive(["default"], 1, 30.0))

    thread = threading.Thread(target=receive)
    thread.start()
    eventually(lambda: queues.queues() == ["default"], what="it waits")
    add.apply_async((1, 2), queue="unheard-of")
    thread.join(10)
    assert [delivery.queue for delivery in received] == ["unheard-of"]


def test_the_clock_goes_on_while_a_worker_is_there_and_only_then(sandbox: Sandbox) -> None:
    with sandbox.worker(pool="threads"):
        with pytest.raises(ResultTimeout):
            add.apply_async((1, 2), countdown=3600).get(timeout=0.05)
    at = sandbox.clock.now()
    time.sleep(0.01)
    assert sandbox.clock.now() == at


def test_a_worker_that_cannot_boot_says_so(sandbox: Sandbox) -> None:
    with pytest.raises(ConfigError, match="solo runs one task at a time"):
        with sandbox.worker(pool="solo", concurrency=4):
            pass


def test_a_task_that_does_not_end_is_reported() -> None:
    going = threading.Event()
    ends = threading.Event()

    @app.task(name="stays")
    def stays() -> None:
        going.set()
        ends.wait(20)

    def run(sandbox: Sandbox) -> None:
        with sandbox.worker(pool="threads"):
            stays.delay()
            assert going.wait(5)

    with of(app, grace=0.05) as sandbox:
        with pytest.raises(RuntimeError, match="stays did not end"):
            run(sandbox)
        ends.set()


def test_tasks_with_a_hard_limit_run_here_too(sandbox: Sandbox) -> None:
    @app.task(name="bounded", time_limit=5)
    def bounded() -> str:
        return "in time"

    with sandbox.worker(pool="threads"):
        assert bounded.delay().get(timeout=5) == "in time"
    result = bounded.delay()
    sandbox.run_until_idle()
    assert result.get() == "in time"
    del app._registry.own["bounded"]


# -- in and out of test mode -------------------------------------------------------------------------------


def test_afterwards_all_is_as_it_was() -> None:
    own = Kernel("own", transport="memory://")

    @own.task(name="one")
    def one() -> int:
        return 1

    one.delay()
    ports, clock, here = own.ports, own.clock, current_app()
    with of(own, max_retries=0) as sandbox:
        assert own.ports is not ports
        assert own.config.tasks.max_retries == 0
        assert current_app() is own
        assert sandbox.enqueued() == []
        one.delay()
        sandbox.run_until_idle()
    assert (own.ports, own.clock, current_app()) == (ports, clock, here)
    assert own.config.tasks.max_retries != 0
    sizes = own.ports.transport.sizes(["default"])  # type: ignore[attr-defined]
    assert sizes[0].ready == 1
    own.close()


def test_what_is_set_while_the_configuration_is_put_together_stays() -> None:
    own = Kernel("own", transport="memory://")

    @own.on_configure.connect
    def configure(app: Kernel) -> None:
        app.configure(queue="mine", priority=1)

    with of(own, priority=2):
        assert (own.config.tasks.queue, own.config.tasks.priority) == ("mine", 2)
    assert (own.config.tasks.queue, own.config.tasks.priority) == ("mine", 1)


def test_two_sandboxes_see_nothing_of_each_other() -> None:
    with of(app) as first:
        add.delay(1, 2)
        with of(Kernel("other")) as second:
            assert second.enqueued() == []
            assert current() is second
        assert current() is first
        assert len(first.enqueued()) == 1


def test_an_application_is_in_test_mode_once(sandbox: Sandbox) -> None:
    with pytest.raises(ConfigError, match="in test mode already"):
        with of(app):
            pass
    add.delay(1, 2)
    sandbox.run_until_idle()


def test_outside_of_test_mode_there_is_no_sandbox() -> None:
    with pytest.raises(ConfigError, match="no application is in test mode"):
        current()


def test_a_setting_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match="max_retries"):
        with of(app, max_retry=1):
            pass


def test_an_application_may_be_closed_in_between(sandbox: Sandbox) -> None:
    result = add.delay(1, 2)
    app.close()
    sandbox.run_until_idle()
    app.close()
    assert result.get() == 3


def test_what_libraries_share_belongs_to_the_application_in_test_mode(sandbox: Sandbox) -> None:
    @shared_task(name="library")
    def library() -> str:
        return current_app().name

    result = library.delay()
    sandbox.run_until_idle()
    assert result.get() == "shop"


def test_what_is_sent_in_a_test_is_not_a_part_of_a_task_that_ran(sandbox: Sandbox) -> None:
    parent.delay(1)
    sandbox.run_until_idle()
    assert current_request() is None
    result = add.delay(1, 1)
    assert sandbox.enqueued(add)[-1].envelope.extra == {}
    assert result.id == sandbox.enqueued(add)[-1].id


def test_what_is_for_an_exchange_is_run(sandbox: Sandbox) -> None:
    result = published.delay(7)
    sandbox.assert_enqueued(published, queue="sums")
    sandbox.run_until_idle()
    assert result.get() == 7
