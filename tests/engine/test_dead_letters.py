"""What a task says about its own end, and what a dead letter holds."""

from __future__ import annotations

import threading

from engine.harness import PATIENCE, Engine
from support import eventually

from kernel import Ignore, Reject
from kernel.dead import DeadLetters


def test_a_rejected_message_is_a_dead_letter_with_its_reason(engine: Engine) -> None:
    @engine.task
    def refuse(word: str) -> None:
        raise Reject(f"no {word}")

    sent = engine.frame("refuse", b'[["bread"],{}]', id="r1")
    with engine.run():
        engine.post(sent)
        letter = engine.letter()
        error = engine.fails(engine.app.result("r1"))
        engine.empty()
    assert (letter.payload, letter.kind, letter.reason) == (sent, "failed", "no bread")
    assert (error.type, error.message) == ("kernel.errors.Reject", "no bread")


def test_an_ignored_message_leaves_no_trace(engine: Engine) -> None:
    ran = threading.Event()

    @engine.task
    def skip() -> None:
        ran.set()
        raise Ignore

    with engine.run():
        result = skip.delay()
        assert ran.wait(PATIENCE)
        engine.empty()
    assert result.state == "PENDING"
    assert engine.total("default.dead") == 0


def test_a_dead_letter_that_is_sent_again_runs_again(engine: Engine) -> None:
    """Its generation rises, so that the new outcome replaces the final one that stands."""
    mended = threading.Event()

    @engine.task(dead_letter=True)
    def work() -> str:
        if not mended.is_set():
            raise ValueError("broken")
        return "mended"

    with engine.run():
        result = work.delay()
        assert engine.fails(result).message == "broken"
        engine.letter()
        mended.set()
        assert DeadLetters(engine.transport, "default").requeue() == 1
        eventually(lambda: engine.app.result(result.id).successful(), what="the new outcome stands")
        assert engine.get(engine.app.result(result.id)) == "mended"
        engine.empty()
    assert engine.total("default.dead") == 0
