"""Bad input of every sort: where it ends, and that the worker goes on."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from math import inf, nan
from typing import Any

import msgspec
import pytest
from engine.harness import Engine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import eventually

from kernel import Ignore, Reject, Retry
from kernel import envelope as wire
from kernel.envelope import Carrier, Envelope, decode_carrier, encode, encode_carrier
from kernel.errors import ConfigError, EncodeError, Rejected, TaskFailed
from kernel.ports import Outgoing, Record

Make = Callable[..., Engine]


def raw(*fields: Any) -> bytes:
    """A live frame whose fields nobody checked."""
    return b"\x01" + msgspec.msgpack.encode(fields)


def damaged(number: int, value: Any) -> bytes:
    """A frame with one optional field that cannot be."""
    return raw("damaged", "fine", b"[[],{}]", "json", 0, 0, 0.0, {number: value})


def nested(levels: int) -> list[Any]:
    """Lists in lists."""
    return [nested(levels - 1)] if levels else []


FIXED = [
    b"",
    b"\x00",
    b"\x01",
    b"\xff\xfe",
    b"hello",
    b"\xc0",
    b"\xc0\x91",
    b"\xd0",
    b"{}" * 1000,
    raw(),
    raw("id"),
    raw("", "fine", b"[[],{}]", "json"),
    raw("id", 7, b"[[],{}]", "json"),
    raw("id", "fine", b"[[],{}]", "json", -1),
    raw("id", "fine", b"[[],{}]", "json", 0, 0, nan),
    raw("id", "fine", b"[[],{}]", "json", 2**40),
    raw("id", "fine", b"[[],{}]", "json", 0, 0, 0.0, {"text": 1}),
    encode(Envelope("id", "fine", b"[[],{}]", "json"))[:-3],
    encode(Envelope("id", "fine", b"[[],{}]", "json")) + b"x",
    encode_carrier(Carrier(0.0, 0, b"\xff")),
    encode_carrier(Carrier(0.0, 0, b"")),
    damaged(wire.ETA, nan),
    damaged(wire.ETA, inf),
    damaged(wire.ETA, "tomorrow"),
    damaged(wire.EXPIRES_AT, -1.0),
    damaged(wire.EXPIRES_AT, 1e300),
    damaged(wire.PRIORITY, "high"),
    damaged(wire.PRIORITY, 10),
    damaged(wire.HOME, 5),
    damaged(wire.HOP, -1),
    damaged(wire.SOFT_LIMIT, nan),
    damaged(wire.HARD_LIMIT, "1"),
    damaged(wire.MAX_RETRIES, 0.5),
    damaged(wire.MAX_DELIVERIES, None),
    damaged(wire.HEADERS, []),
    damaged(wire.RESULT, 9),
    damaged(wire.ACK_EARLY, 1),
    damaged(wire.UNKNOWN_SINCE, {}),
    damaged(wire.FENCE, -1),
    damaged(99, nested(60)),
]


def _fine(engine: Engine) -> Any:
    @engine.task
    def fine(word: str = "fine") -> str:
        return word

    return fine


def test_bytes_that_are_no_call_end_among_the_dead_letters(engine: Engine) -> None:
    fine = _fine(engine)
    for payload in FIXED:
        engine.post(payload)
    with engine.run():
        assert engine.get(fine.delay()) == "fine"
        letters = engine.letters(len(FIXED))
        engine.empty()
    assert {letter.payload for letter in letters} == set(FIXED)
    assert {letter.kind for letter in letters} == {"unprocessable"}
    assert all(letter.reason and letter.queue == "default" for letter in letters)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.binary(max_size=60), min_size=1, max_size=20), st.data())
def test_any_bytes_whatsoever_end_somewhere(engines: Make, payloads: list[bytes], data: st.DataObject) -> None:
    engine = engines("threads")
    fine = _fine(engine)
    whole = engine.frame("fine", b'[["x"],{}]', extra={wire.HEADERS: {"a": 1}, wire.PRIORITY: 3})
    cut = [whole[: data.draw(st.integers(0, len(whole) - 1))] for _ in range(3)]
    flipped = bytearray(whole)
    flipped[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    for payload in [*payloads, *cut, *(bytes((wire.LIVE,)) + payload for payload in payloads)]:
        engine.post(payload)
    engine.post(bytes(flipped))
    with engine.run():
        assert engine.get(fine.delay()) == "fine"
        sent = 2 * len(payloads) + 4
        eventually(lambda: engine.total("default") + engine.total("default.dead") <= sent, what="nothing multiplies")
        eventually(lambda: (engine.size().ready, engine.size().in_flight) == (0, 0), what="all are judged")


# -- versions ----------------------------------------------------------------------------------------------


def test_a_newer_frame_is_sent_on_and_then_dead(make: Make) -> None:
    engine = make(unknown_for=0.3)
    fine = _fine(engine)
    newer = b"\x02whatever"
    engine.post(newer)
    with engine.run():
        assert engine.get(fine.delay()) == "fine"
        eventually(lambda: engine.size().delayed == 1, what="it is sent on")
        carrier = decode_carrier(engine.transport.peek("default", 1)[0])
        assert carrier is not None
        assert (carrier.hops, carrier.payload) == (1, newer)
        assert engine.total("default.dead") == 0
        letter = engine.letter()
    assert (letter.payload, letter.kind) == (newer, "unprocessable")
    assert "newer version" in letter.reason


def test_a_carried_frame_runs_once_a_worker_can_read_it(make: Make) -> None:
    engine = make()
    _fine(engine)
    payload = engine.frame("fine", b'[["carried"],{}]', id="c1")
    engine.post(encode_carrier(Carrier(time.time() - 5, 3, payload)))
    with engine.run():
        assert engine.get(engine.app.result("c1")) == "carried"
        engine.empty()
    assert engine.total("default.dead") == 0


# -- tasks and codecs that nobody knows --------------------------------------------------------------------


def test_an_unknown_task_hops_and_then_dies(make: Make) -> None:
    engine = make(unknown_for=0.3)
    fine = _fine(engine)
    result = engine.app.send_task("nobody.knows", (1,), priority=4, headers={"h": 1})
    with engine.run():
        assert engine.get(fine.delay()) == "fine"
        eventually(lambda: engine.size().delayed == 1, what="it hops")
        assert not result.ready()
        letter = engine.letter()
        assert engine.fails(result).type == "kernel.errors.UnknownTask"
    assert letter.envelope is not None
    assert (letter.id, letter.task, letter.kind, letter.priority) == (result.id, "nobody.knows", "unprocessable", 4)
    assert letter.envelope.extra[wire.HEADERS] == {"h": 1}
    assert "nobody.knows" in letter.reason


def test_an_unknown_task_that_becomes_known_runs(make: Make) -> None:
    engine = make()
    result = engine.app.send_task("late", (1,))
    with engine.run():
        eventually(lambda: engine.size().delayed == 1, what="it hops")
    engine.task(lambda number: number + 1, name="late")
    with engine.run():
        assert engine.get(result) == 2


def test_an_unknown_codec_is_dead_at_once(make: Make) -> None:
    engine = make()
    fine = _fine(engine)
    engine.post(engine.frame("fine", codec="cbor", id="c1"))
    with engine.run():
        assert engine.get(fine.delay()) == "fine"
        letter = engine.letter()
        assert "cbor" in engine.fails(engine.app.result("c1")).message
    assert letter.kind == "unprocessable"
    assert "cbor" in letter.reason


def test_pickle_only_where_it_is_accepted(make: Make) -> None:
    refusing = make()
    _fine(refusing)
    result = refusing.app.send_task("fine", ("x",), serializer="pickle")
    with refusing.run():
        letter = refusing.letter()
        assert isinstance(refusing.fails(result), TaskFailed)
    assert "accept" in letter.reason

    accepting = make(accept=("json", "pickle"))

    @accepting.task(serializer="pickle")
    def echo(value: Any) -> Any:
        return value

    with accepting.run():
        assert accepting.get(echo.delay({1, (2, frozenset())})) == {1, (2, frozenset())}
        assert accepting.get(echo.delay(nan)) is not None
        accepting.post(accepting.frame("echo", b"\x80\x04garbage", codec="pickle"))
        assert accepting.letter().kind == "unprocessable"


# -- sizes -------------------------------------------------------------------------------------------------


def test_what_is_too_large_is_refused_in_the_caller(make: Make) -> None:
    engine = make()
    fine = _fine(engine)
    engine.transport.declare(["default"])
    with pytest.raises(Rejected, match=r"fine.*limit of 4194304.*max_payload"):
        fine.delay("x" * (10 << 20))
    with pytest.raises(Rejected, match="4194304"):
        engine.app.send_many(fine, [("small",), ("x" * (10 << 20),)])
    assert engine.total() == 0


def test_a_frame_that_is_too_large_all_the_same_is_dead(engines: Make, adapter: str) -> None:
    engine = engines("threads", adapter)
    fine = _fine(engine)
    huge = engine.frame("fine", b'[["' + b"x" * (5 << 20) + b'"],{}]')
    engine.post(huge)
    with engine.run():
        assert engine.get(fine.delay()) == "fine"
        letter = engine.letter()
    assert letter.payload == huge
    assert "max_payload" in letter.reason


def test_a_dead_letter_that_the_transport_refuses_loses_nothing_else(engines: Make) -> None:
    """The dead frame is larger than the message in it: at the transport's limit it no longer fits."""
    engine = engines("threads", query="max_payload=3000")

    @engine.task(dead_letter=True)
    def fail(word: str) -> None:
        raise ValueError("x" * 2000)

    fine = _fine(engine)
    result = fail.delay("x" * 2500)
    others = [fine.delay(str(n)) for n in range(20)]
    with engine.run():
        assert [engine.get(other) for other in others] == [str(n) for n in range(20)]
        assert engine.fails(result).type == "ValueError"
        engine.empty()
        letter = engine.letter()
    assert letter.id == result.id


# -- bodies ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [b"", b"nonsense", b"[1,2", b"[]", b"[[]]", b"[1,2,3]", b"[[],{},0]", b'"ab"', b"null", b'["ab",{}]', b"[[1],[]]",
     b'{"a":1,"b":2}', b'[{"x":1},{}]', b"[[],null]", b'[[],{"1":{"$type":"no"}}]', b"\xff\xfe"],
)  # fmt: skip
def test_a_body_that_is_not_args_and_kwargs_is_unprocessable(engines: Make, body: bytes) -> None:
    engine = engines("threads")
    fine = _fine(engine)
    ran = threading.Event()

    @engine.task
    def loose(*args: Any, **kwargs: Any) -> None:
        ran.set()

    engine.post(engine.frame("loose", body, id="b1"))
    with engine.run():
        letter = engine.letter()
        assert isinstance(engine.fails(engine.app.result("b1")), TaskFailed)
        assert engine.get(fine.delay()) == "fine"
    assert not ran.is_set()
    assert letter.kind == "unprocessable"
    assert "arguments" in letter.reason


def test_arguments_that_do_not_fit_fail_in_the_worker(pooled: Engine) -> None:
    _fine(pooled)
    pooled.post(pooled.frame("fine", b'[[],{"nope":1}]', id="a1"))
    pooled.post(pooled.frame("fine", b"[[1,2,3],{}]", id="a2"))
    with pooled.run():
        for task_id in ("a1", "a2"):
            error = pooled.fails(pooled.app.result(task_id))
            assert error.type == "TypeError"
            assert "fine" in error.message


def test_options_that_no_worker_could_read_are_refused_in_the_caller(engines: Make) -> None:
    engine = engines("threads")
    fine = _fine(engine)
    engine.transport.declare(["default"])
    bad: list[dict[str, Any]] = [
        {"countdown": nan},
        {"countdown": inf},
        {"countdown": 1e300},
        {"eta": -5.0},
        {"eta": nan},
        {"expires": inf},
        {"priority": 10},
        {"priority": 2.5},
        {"priority": True},
        {"max_retries": -5},
        {"max_retries": 1.5},
        {"soft_time_limit": -1.0},
        {"time_limit": "3"},
        {"max_deliveries": -1},
        {"result_expires": nan},
        {"headers": {"deep": nested(40)}},
        {"task_id": 5},
        {"countdown": 1.0, "eta": 5.0},
        {"misspelled": 1},
    ]
    for options in bad:
        with pytest.raises((ConfigError, EncodeError, TypeError, ValueError)):
            fine.apply_async((), **options)
    with pytest.raises(EncodeError):
        fine.apply_async((), headers={"x": object()})
    with pytest.raises(EncodeError):
        fine.delay(object())
    assert engine.total() == 0


# -- results and exceptions --------------------------------------------------------------------------------


class _Silent(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class _Exiting(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


def _outcomes(engine: Engine) -> dict[str, tuple[Any, str, str]]:
    """Task by name, the type of its failure, and what its message holds."""

    @engine.task
    def unserialisable() -> object:
        return object()

    @engine.task
    def cyclic() -> Any:
        value: list[Any] = []
        value.append(value)
        return value

    @engine.task
    def silent() -> None:
        raise _Silent

    @engine.task
    def exiting() -> None:
        raise _Exiting

    @engine.task
    def surrogate() -> None:
        raise ValueError("file \udcff name")

    @engine.task
    def exit() -> None:
        raise SystemExit(4)

    @engine.task
    def interrupt() -> None:
        raise KeyboardInterrupt

    @engine.task
    def generator() -> None:
        raise GeneratorExit

    @engine.task
    def cancelled() -> None:
        raise asyncio.CancelledError

    @engine.task
    def deep() -> int:
        return int(deep.function()) + 1

    @engine.task
    def verbose() -> None:
        raise ValueError("x" * 1_000_000)

    @engine.task
    def lone() -> str:
        return "\ud800"

    return {
        "unserialisable": (
            unserialisable,
            "kernel.errors.EncodeError",
            "unserialisable cannot be serialised with json",
        ),
        "cyclic": (cyclic, "kernel.errors.EncodeError", "cyclic cannot be serialised"),
        "silent": (silent, "_Silent", "no text"),
        "exiting": (exiting, "", ""),
        "surrogate": (surrogate, "ValueError", "file \\udcff name"),
        "exit": (exit, "SystemExit", "4"),
        "interrupt": (interrupt, "KeyboardInterrupt", ""),
        "generator": (generator, "GeneratorExit", ""),
        "cancelled": (cancelled, "CancelledError", ""),
        "deep": (deep, "RecursionError", "maximum recursion depth"),
        "verbose": (verbose, "ValueError", "left out"),
        "lone": (lone, "EncodeError", "lone cannot be serialised"),
    }


def test_tasks_that_end_in_odd_ways_are_failures(engine: Engine) -> None:
    fine = _fine(engine)
    outcomes = _outcomes(engine)
    with engine.run():
        results = {name: task.delay() for name, (task, _, _) in outcomes.items()}
        for name, (_, kind, message) in outcomes.items():
            error = engine.fails(results[name])
            assert isinstance(error, TaskFailed), name
            assert error.type.endswith(kind), name
            assert message in error.message, name
            assert len(error.traceback) < 30_000
        assert engine.get(fine.delay()) == "fine"
        engine.empty()


def test_coroutines_that_end_in_odd_ways_are_failures(engine: Engine) -> None:
    fine = _fine(engine)

    @engine.task
    async def fail(kind: str) -> Any:
        await asyncio.sleep(0)
        kinds: dict[str, BaseException] = {
            "SystemExit": SystemExit(4),
            "KeyboardInterrupt": KeyboardInterrupt(),
            "CancelledError": asyncio.CancelledError(),
            "GeneratorExit": GeneratorExit(),
            "ValueError": ValueError("v"),
            "StopIteration": StopIteration("s"),
        }
        raise kinds[kind]

    @engine.task
    async def calm() -> str:
        await asyncio.sleep(0)
        return "calm"

    with engine.run():
        for kind in ("SystemExit", "KeyboardInterrupt", "CancelledError", "ValueError", "GeneratorExit"):
            assert engine.fails(fail.delay(kind)).type.endswith(kind)
            assert engine.get(calm.delay()) == "calm"
        assert engine.fails(fail.delay("StopIteration")).type == "RuntimeError"
        assert engine.get(fine.delay()) == "fine"
        engine.empty()


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
def test_a_function_that_returns_a_coroutine_fails(pooled: Engine) -> None:
    async def hidden() -> int:
        return 1

    @pooled.task
    def returns() -> Any:
        return hidden()

    with pooled.run():
        assert "cannot be serialised" in pooled.fails(returns.delay()).message


def test_standard_output_is_the_tasks_own(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    @engine.task
    def talk() -> None:
        print("hello from a task")

    with engine.run():
        engine.get(talk.delay())
    assert capsys.readouterr().out == "hello from a task\n"


def test_signals_with_odd_values(pooled: Engine) -> None:
    fine = _fine(pooled)

    @pooled.task
    def odd(what: str) -> None:
        raise {
            "surrogate": Reject("file \udcff name"),
            "number": Reject(5),  # type: ignore[arg-type]
            "none": Reject(None),  # type: ignore[arg-type]
            "nan": Retry(countdown=nan),
            "inf": Retry(countdown=inf),
            "huge": Retry(countdown=1e300),
            "past": Retry(eta=-1e9, max_retries=0),
            "text": Retry(countdown="soon"),  # type: ignore[arg-type]
            "ignore": Ignore("\udcff"),
        }[what]

    with pooled.run():
        odds = ("surrogate", "number", "none", "nan", "inf", "huge", "past", "text")
        for what in odds:
            assert isinstance(pooled.fails(odd.delay(what)), TaskFailed), what
        odd.delay("ignore")
        assert pooled.get(fine.delay()) == "fine"
        pooled.empty()


def test_a_record_that_cannot_be_read_does_not_stop_the_worker(pooled: Engine) -> None:
    fine = _fine(pooled)
    store = pooled.app.ports.results
    assert store is not None
    store.put([Record("broken", b"\xffnonsense", True, (0, 0, 0))], 60.0)
    pooled.post(pooled.frame("fine", id="broken"))
    with pooled.run():
        assert pooled.get(fine.delay()) == "fine"
        pooled.empty()


def test_messages_of_other_priorities_and_keys_are_taken(pooled: Engine) -> None:
    """What a broker or another sender says about a message and the envelope does not."""
    _fine(pooled)
    pooled.transport.send([Outgoing("default", pooled.frame("fine", id="p1"), 9, 0.0, time.time() + 60, "d", "o")])
    with pooled.run():
        assert pooled.get(pooled.app.result("p1")) == "fine"
