"""The application: many calls at once, forked children, settings of plugins, moments."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from kernel_memory import MemoryTransport, Space

from kernel import AsyncResult, Kernel, Unavailable
from kernel.errors import ConfigError, EncodeError, PartialSend, Retry
from kernel.hooks import hookimpl
from kernel.opened import Opened
from kernel.ports import Inspects, Outgoing


def memory(**options: object) -> Kernel:
    """An application on a fresh space of the memory adapter, whose batches have at most ten messages."""
    return Kernel("memory", transport=f"memory://{uuid4()}?max_batch=10", send_timeout=0.05, **options)


def waiting(app: Kernel) -> int | None:
    """How many messages are ready."""
    transport = app.ports.transport
    assert isinstance(transport, Inspects)
    return transport.sizes(["default"])[0].ready


# -- many calls --------------------------------------------------------------------------------------------


def until_closed(app: Kernel, closed_at: int, count: int) -> Iterator[tuple[int]]:
    """Arguments for so many calls; on the way the transport goes away."""
    for number in range(count):
        if number == closed_at:
            app.ports.transport.close()
        yield (number,)


def test_the_errors_of_many_calls_are_told_by_the_place_of_the_call() -> None:
    app = memory()
    with pytest.raises(PartialSend) as caught:
        app.send_many("work", until_closed(app, 85, 100))
    assert sorted(caught.value.errors) == list(range(80, 100))
    app.close()


def test_many_calls_of_which_none_could_be_sent_are_one_error() -> None:
    app = memory()
    with pytest.raises(Unavailable):
        app.send_many("work", until_closed(app, 5, 100))
    app.close()


def test_a_call_that_cannot_be_encoded_ends_many_calls_where_it_stands() -> None:
    with memory() as app:
        with pytest.raises(EncodeError):
            app.send_many("work", [(number if number < 25 else object(),) for number in range(100)])
        assert waiting(app) == 20


def test_many_calls_inside_of_a_batch_are_sent_at_its_end() -> None:
    with memory() as app:
        with app.batch():
            assert len(app.send_many("work", [(number,) for number in range(25)])) == 25
            assert waiting(app) == 0
        assert waiting(app) == 25


# -- forks -------------------------------------------------------------------------------------------------


def in_child(work: Callable[[], object]) -> int:
    """The exit status of a forked child that does this work: 0 when it raised nothing."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


CALLS: dict[str, Callable[[Kernel, AsyncResult[object]], object]] = {
    "send_task": lambda app, sent: app.send_task("work", (1,)),
    "send_many": lambda app, sent: app.send_many("work", [(1,)]),
    "result": lambda app, sent: app.result(sent.id).state,
    "as_completed": lambda app, sent: list(app.as_completed([])),
    "close": lambda app, sent: app.close(),
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("call", CALLS)
def test_a_forked_child_uses_no_connection_of_its_parent(tmp_path: Path, call: str) -> None:
    # SQLite refuses a connection that was opened before a fork, so a call that uses one fails.
    with Kernel("forked", transport=f"sqlite:////{str(tmp_path).lstrip('/')}/jobs.db") as app:
        sent = app.send_task("work", (0,))
        assert in_child(lambda: CALLS[call](app, sent)) == 0
        assert app.send_task("work", (2,)).state == "PENDING", "the parent's own connections are as before"


# -- configuration -----------------------------------------------------------------------------------------


class Defaults:
    """A plugin that brings settings, as one for a framework does."""

    @hookimpl
    def kernel_configure(self) -> dict[str, object]:
        return {"queue": "of the plugin", "send_timeout": 5.0, "lease": 7.0}


def test_a_plugin_wins_over_the_file_and_over_nobody_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kernel.toml").write_text("lease = 9.0\n")
    monkeypatch.setenv("KERNEL_SEND_TIMEOUT", "6")
    config = Kernel("shop", plugins=[Defaults()], queue="of the code").config
    assert (config.tasks.queue, config.tasks.send_timeout, config.worker.lease) == ("of the code", 6.0, 7.0)
    assert (config.sources["send_timeout"], config.sources["lease"]) == ("KERNEL_SEND_TIMEOUT", "plugin")


# -- moments -----------------------------------------------------------------------------------------------


def test_a_moment_without_a_time_zone_is_refused_wherever_one_is_given() -> None:
    naive = datetime(2030, 1, 1)
    with memory() as app:

        @app.task(name="work")
        def work() -> None:
            """Nothing."""

        with pytest.raises(ConfigError, match="no time zone"):
            work.apply_async(eta=naive)
        with pytest.raises(ConfigError, match="no time zone"):
            work.retry(eta=naive)
        with pytest.raises(Retry) as caught:
            work.retry(eta=naive.replace(tzinfo=UTC))
        assert caught.value.eta == 1893456000.0


def test_two_threads_that_come_first_both_have_the_whole_configuration() -> None:
    app = Kernel("shop", transport="memory://")
    begun, queues = threading.Event(), []

    @app.on_configure.connect
    def configure(app: Kernel) -> None:
        begun.set()
        time.sleep(0.05)  # as long as it takes to import what has the settings
        app.configure(queue="mine")

    first = threading.Thread(target=lambda: queues.append(app.config.tasks.queue))
    first.start()
    assert begun.wait(10)
    queues.append(app.config.tasks.queue)
    first.join(10)
    assert queues == ["mine", "mine"]


def test_a_result_store_that_is_away_keeps_nothing_from_being_sent(tmp_path: Path, free_port: int) -> None:
    """Nor does the coordination service. Who asks for a result hears of it."""
    away = f"redis://127.0.0.1:{free_port}?timeout=0.2"
    transport = f"sqlite:///{tmp_path}/q.db"
    with Kernel("sender", transport=transport, results=away, coordination=away, send_timeout=2.0) as app:
        result = app.send_task("any")
        assert app.ports.transport.features.dedup, "claims are made for keys, of which there are none"
        with pytest.raises(Unavailable):
            result.get(timeout=1.0)
        with pytest.raises(Unavailable):
            asyncio.run(result.aget(timeout=1.0))
        with pytest.raises(Unavailable):
            app.ports.all()
        assert app.send_task("any").id != result.id


def test_what_is_closed_is_not_opened_any_more(free_port: int) -> None:
    app = Kernel("sender", transport="memory://closed", results=f"memory://{free_port}")
    ports = app.ports
    app.close()
    with pytest.raises(Unavailable, match="closed"):
        ports.all()


class LosesAnAnswer(MemoryTransport):
    """Stores the first batch that it is given, and does not say so."""

    lost = False

    def send(self, batch: Sequence[Outgoing]) -> None:
        super().send(batch)
        if not self.lost:
            self.lost = True
            raise Unavailable("the answer was lost", sent="unknown")


@pytest.mark.parametrize(("once", "copies"), [(False, 2), (True, 1)])
def test_a_send_whose_answer_was_lost_is_one_message_where_it_has_a_key(once: bool, copies: int) -> None:
    with Kernel("sender", send_once=once) as app:
        app.use(LosesAnAnswer(Space()))
        first = app.send_task("t")
        assert waiting(app) == copies
        app.send_many("t", [(), ()])
        app.send_task("t", task_id=first.id)
        assert waiting(app) == copies + (2 if once else 3), "within five minutes an id is sent once"


def test_keys_are_refused_where_nobody_looks_at_them(tmp_path: Path) -> None:
    with Kernel("sender", transport=f"sqlite:///{tmp_path}/q.db", send_once=True) as app:
        with pytest.raises(ConfigError, match="send_once needs a transport"):
            app.send_task("t")


def test_all_who_ask_for_the_first_result_wait_in_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that takes its time to open: two waiting rooms would wait on one connection at a time."""
    opening = threading.Barrier(4)
    opened = Opened.results.fget
    monkeypatch.setattr(Opened, "results", property(lambda ports: (opening.wait(5.0), opened(ports))[1]))
    with memory() as app:
        rooms: list[object] = []
        threads = [threading.Thread(target=lambda: rooms.append(app.results)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(5.0)
    assert len(rooms) == 4
    assert len(set(map(id, rooms))) == 1
