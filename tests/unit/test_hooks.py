"""Hooks: pluggy's order, compiled calls, and plugins that fail."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from kernel.envelope import Envelope
from kernel.errors import ConfigError
from kernel.hooks import Call, Hooks, Settled, Specs, hookimpl

BATCH = [(Envelope("1", "t", b"", "json"), "q")]


def load(*plugins: object) -> Hooks:
    return Hooks.load(plugins, entry_points=False)


class Recorder:
    """A plugin that writes down which of its hooks ran, under its own name."""

    def __init__(self, name: str, log: list[Any]) -> None:
        self.name = name
        self.log = log

    @hookimpl
    def kernel_sending(self, batch: Any) -> None:
        self.log.append((self.name, "sending", batch))

    @hookimpl
    def kernel_received(self) -> None:
        self.log.append((self.name, "received"))

    @hookimpl
    def kernel_settled(self, batch: Any) -> None:
        self.log.append((self.name, "settled", batch))


class First:
    """A plugin that wants to come first wherever it is registered."""

    def __init__(self, log: list[Any]) -> None:
        self.log = log

    @hookimpl(tryfirst=True)
    def kernel_sending(self, batch: Any) -> None:
        self.log.append(("first", "sending", batch))


def test_nobody_listens_and_nothing_is_called() -> None:
    hooks = load()
    assert (hooks.sending, hooks.received, hooks.settled, hooks.wrap_call) == ((), (), (), ())
    call = print
    assert hooks.wrapped("task", call) is call
    assert hooks.configure({"lease": 1.0}) == []
    assert hooks.retry_at("task", BATCH[0][0], ValueError(), 7.0) == 7.0


def test_batch_hooks_are_called_in_the_order_of_pluggy_with_what_they_want() -> None:
    log: list[Any] = []
    hooks = load(First(log), Recorder("a", log), Recorder("b", log))
    for hook in hooks.sending:
        hook(BATCH)
    compiled = log.copy()
    log.clear()
    hooks.manager.hook.kernel_sending(batch=BATCH)
    assert compiled == log == [(name, "sending", BATCH) for name in ("first", "b", "a")]
    log.clear()
    for hook in hooks.received:
        hook(BATCH)
    assert log == [("b", "received"), ("a", "received")]
    log.clear()
    settled = [Settled(BATCH[0][0], "q", "SUCCESS", 0.5)]
    for told in hooks.settled:
        told(settled)
    assert log == [("b", "settled", settled), ("a", "settled", settled)]


def test_compile_follows_the_manager() -> None:
    hooks = load()
    plugin = Recorder("late", [])
    counts = [len(hooks.sending)]
    hooks.manager.register(plugin)
    counts.append(len(hooks.sending))
    hooks.compile()
    counts.append(len(hooks.sending))
    hooks.manager.unregister(plugin)
    hooks.compile()
    counts.append(len(hooks.sending))
    assert counts == [0, 0, 1, 0]


def test_a_failing_batch_hook_is_logged_once_and_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    log: list[Any] = []

    class Broken:
        @hookimpl
        def kernel_settled(self, batch: Any) -> None:
            raise ValueError("broken plugin")

        @hookimpl
        def kernel_sending(self, batch: Any) -> None:
            raise ValueError("broken too")

    hooks = load(Recorder("good", log), Broken())
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            for told in hooks.settled:
                told([])
        for hook in hooks.sending:
            hook([])
    assert log == [("good", "settled", [])] * 3 + [("good", "sending", [])]
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert "kernel_settled" in messages[0]
    assert "Broken" in messages[0]
    assert "kernel_sending" in messages[1]
    assert all(record.exc_info for record in caplog.records)


def test_wrappers_of_a_call_are_composed_the_first_outermost() -> None:
    def around(name: str) -> object:
        class Wrapper:
            @hookimpl
            def kernel_wrap_call(self, call: Call, task: Any) -> Call:
                return lambda *values: [f"{name} of {task}", *call(*values)]

        return Wrapper()

    class Uninterested:
        @hookimpl
        def kernel_wrap_call(self) -> None:
            return None

    hooks = load(around("a"), Uninterested(), around("b"))
    assert hooks.wrapped("t", lambda *values: list(values))(1, 2) == ["b of t", "a of t", 1, 2]


def test_configure_answers_are_applied_so_that_the_first_in_call_order_wins() -> None:
    def plugin(name: str) -> object:
        class Configures:
            @hookimpl
            def kernel_configure(self, values: dict[str, Any]) -> dict[str, Any] | None:
                values["queue"] = "must not leak"
                return {"queue": name} if name else None

        return Configures()

    given = {"lease": 1.0}
    answers = load(plugin("a"), plugin(""), plugin("b")).configure(given)
    assert answers == [{"queue": "a"}, {"queue": "b"}]
    assert given == {"lease": 1.0}


def test_the_first_answer_to_a_retry_counts() -> None:
    def plugin(at: float | None) -> object:
        class Decides:
            @hookimpl
            def kernel_retry(self, at_: Any = None) -> float | None:
                return at

        return Decides()

    hooks = load(plugin(1), plugin(2), plugin(None))
    assert hooks.retry_at("task", BATCH[0][0], ValueError(), 7.0) == 2.0


def test_a_declared_task_is_told() -> None:
    seen: list[Any] = []

    class Listens:
        @hookimpl
        def kernel_task_registered(self, app: Any, task: Any) -> None:
            seen.append((app, task))

    load(Listens()).task_registered("app", "task")
    assert seen == [("app", "task")]


class Misspelt:
    @hookimpl
    def kernel_setled(self, batch: Any) -> None: ...


class WrongArguments:
    @hookimpl
    def kernel_settled(self, batches: Any) -> None: ...


class PluggyWrapper:
    @hookimpl(wrapper=True)
    def kernel_settled(self, batch: Any) -> Any:
        return (yield)


@pytest.mark.parametrize(
    ("plugin", "message"),
    [(Misspelt, "kernel_setled"), (WrongArguments, "batches"), (PluggyWrapper, "is a pluggy wrapper")],
)
def test_a_plugin_that_does_not_fit_is_refused_at_load(plugin: Callable[[], object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load(plugin())
    assert "\n" not in str(caught.value)


def test_a_plugin_given_twice_counts_once() -> None:
    plugin = Recorder("a", [])
    assert len(load(plugin, plugin).sending) == 1


def test_installed_plugins_come_last_so_that_given_ones_are_called_first(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[Any] = []
    monkeypatch.setattr("kernel.discovery.plugins", lambda: [("installed", Recorder("installed", log))])
    hooks = Hooks.load([Recorder("given", log)])
    for hook in hooks.sending:
        hook(BATCH)
    assert [entry[0] for entry in log] == ["given", "installed"]
    assert hooks.manager.has_plugin("installed")


def test_every_hook_says_what_it_is_for() -> None:
    hooks = [function for name, function in vars(Specs).items() if name.startswith("kernel_")]
    assert len(hooks) == 16
    assert all(function.__doc__ for function in hooks)
