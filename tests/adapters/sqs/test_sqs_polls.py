"""Long polls: adopted by the next receive, given back when nobody comes, never more than a few."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from adapters.sqs.wiring import answer, answering, client, counted, refusal
from kernel_sqs import SqsTransport, polls
from kernel_sqs.polls import Polls

from kernel.errors import Unavailable
from kernel.native import Signal, Thread
from kernel.ports import Delivery, Outgoing

pytestmark = pytest.mark.usefixtures("no_new_threads")

#: Longest wait of these tests for what must come; seconds.
LONG = 5.0


class Gate:
    """What a poll asks, held up until a test lets an answer through."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.released: list[Delivery] = []
        self.begun, self.open, self.given_back = Signal(), Signal(), Signal()
        self.answer: list[Delivery] | Exception = []

    def take(self, queue: str, limit: int) -> list[Delivery]:
        self.asked.append(queue)
        self.begun.set()
        assert self.open.wait(LONG)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def release(self, deliveries: Sequence[Delivery]) -> None:
        self.released += deliveries
        self.given_back.set()


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def bell() -> Signal:
    return Signal()


@pytest.fixture
def polling(gate: Gate, bell: Signal) -> Polls:
    return Polls(gate.take, gate.release, bell)


def message(text: bytes) -> Delivery:
    return Delivery(text, "a", None)


def test_what_comes_late_is_given_back(gate: Gate, bell: Signal, polling: Polls) -> None:
    late = message(b"late")
    gate.answer = [late]
    assert polling.start(["a"], 1)
    gate.open.set()
    assert gate.given_back.wait(polls.GRACE + LONG), "nobody asked for it"
    assert gate.released == [late]
    assert polling.collect(["a"], 1) == [], "given back and handed out"


def test_what_comes_late_is_handed_out_by_the_next_receive(gate: Gate, bell: Signal, polling: Polls) -> None:
    first, second = message(b"1"), message(b"2")
    gate.answer = [first, second]
    polling.start(["a"], 2)
    assert polling.under_way("a")
    gate.open.set()
    assert bell.wait(LONG)
    assert polling.collect(["b"], 1) == [], "it belongs to those who ask for its queue"
    assert polling.collect(["b", "a"], 1) == [first], "no more than the limit"
    assert polling.start(["a"], 1), "what is left of a poll is not replaced by another one"
    assert gate.asked == ["a"]
    assert polling.collect(["a"], 1) == [second]
    polling.close(LONG)
    assert gate.released == []


def test_closing_gives_back_what_comes(gate: Gate, bell: Signal, polling: Polls) -> None:
    gate.answer = [message(b"x")]
    polling.start(["a"], 1)
    closing = Thread(lambda: polling.close(LONG), "closing")
    closing.start()
    gate.open.set()
    assert closing.join(LONG)
    assert gate.released == gate.answer
    assert not polling.start(["a"], 1), "no poll after the end"


def test_the_error_of_a_poll_is_raised_once(gate: Gate, bell: Signal, polling: Polls) -> None:
    gate.answer = Unavailable("away")
    polling.start(["a"], 1)
    gate.open.set()
    assert bell.wait(LONG)
    with pytest.raises(Unavailable, match="away"):
        polling.collect(["a"], 1)
    assert polling.collect(["a"], 1) == []


def test_a_defect_leaves_no_poll_behind(
    gate: Gate, bell: Signal, polling: Polls, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate.answer = ZeroDivisionError("a defect")
    polling.start(["a"], 1)
    gate.open.set()
    assert bell.wait(LONG)
    assert not polling.under_way("a")


def test_polls_are_few(gate: Gate, polling: Polls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polls, "MOST", 3)
    assert not polling.start(["a", "b", "c", "d", "e"], 1)
    gate.open.set()
    polling.close(LONG)
    assert sorted(gate.asked) == ["a", "b", "c"]


# -- with the service ----------------------------------------------------------------------------------------


def test_queues_without_a_poll_are_looked_at(
    url: str, opened: Callable[[str], SqsTransport], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polls, "MOST", 1)
    transport, sender = opened(url), opened(url)
    transport.declare(["a", "b"])
    found: list[Delivery] = []
    waiting = Thread(lambda: found.extend(transport.receive(["a", "b"], 1, LONG)), "waiting")
    waiting.start()
    assert not waiting.join(0.05)
    sender.send([Outgoing("b", b"x")])
    assert waiting.join(LONG)
    assert [each.payload for each in found] == [b"x"]


def test_an_idle_queue_costs_one_request_per_poll(url: str, opened: Callable[[str], SqsTransport]) -> None:
    transport = opened(url.replace("wait=1", "wait=2"))
    transport.declare(["work"])
    calls = counted(transport)
    for _ in range(3):
        assert transport.receive(["work"], 1, 1.0) == []
    assert 2 <= calls["ReceiveMessage"] <= 3, "a look, and a poll of two seconds for two receives"


def test_an_endpoint_that_does_not_wait_is_not_hammered(transport: SqsTransport) -> None:
    transport.declare(["work"])
    asked: list[int] = []

    def at_once(request: dict[str, Any]) -> Any:
        asked.append(request["WaitTimeSeconds"])
        return answer()

    answering(transport, "ReceiveMessage", at_once)
    assert transport.receive(["work"], 1, 1.0) == []
    assert len(asked) <= 6


def test_a_woken_receive_leaves_its_poll_to_the_next(url: str, opened: Callable[[str], SqsTransport]) -> None:
    transport, sender = opened(url.replace("wait=1", "wait=3")), opened(url)
    transport.declare(["work"])
    polled = Signal()

    def noted(params: dict[str, Any], **_: Any) -> None:
        if json.loads(params["body"])["WaitTimeSeconds"]:
            polled.set()

    client(transport).meta.events.register("before-call.sqs.ReceiveMessage", noted)
    waiting = Thread(lambda: transport.receive(["work"], 1, LONG) and None, "waiting")
    waiting.start()
    assert polled.wait(LONG)
    transport.wake()
    assert waiting.join(LONG)
    calls = counted(transport)
    sender.send([Outgoing("work", b"x")])
    found = transport.receive(["work"], 1, LONG)
    assert [(each.payload, each.redelivered) for each in found] == [(b"x", 0)]
    assert calls["ReceiveMessage"] == 0, "the poll that was under way brought it"
    left = found[0].receipt.held_until - time.monotonic()
    assert left >= transport.features.lease, "a whole lease is before it, however late it was handed out"  # type: ignore[operator]


def test_a_message_for_a_poll_that_nobody_waits_for_goes_to_others(
    url: str, opened: Callable[[str], SqsTransport]
) -> None:
    busy, other = opened(url.replace("wait=1", "wait=2")), opened(url)
    busy.declare(["a", "b"])
    found: list[Delivery] = []
    waiting = Thread(lambda: found.extend(busy.receive(["a", "b"], 1, LONG)), "waiting")
    waiting.start()
    assert not waiting.join(0.2)
    other.send([Outgoing("b", b"ends it")])
    assert waiting.join(LONG)
    assert busy._polls.under_way("a")
    other.send([Outgoing("a", b"x")])
    again = other.receive(["a"], 1, LONG)
    assert [each.payload for each in again] == [b"x"], "nothing stays with a transport that does not receive"
    assert other.ack(again) == busy.ack(found) == []


def test_an_error_of_a_later_queue_does_not_cost_an_earlier_one(transport: SqsTransport) -> None:
    transport.send([Outgoing("work", b"x")])
    transport.declare(["broken"])
    answering(
        transport,
        "ReceiveMessage",
        lambda request: refusal("InternalFailure", status=500) if request["QueueUrl"].endswith("broken") else None,
    )
    found = transport.receive(["work", "broken"], 10, 0.0)
    assert [each.payload for each in found] == [b"x"]
    with pytest.raises(Unavailable):
        transport.receive(["broken"], 10, 0.0)
