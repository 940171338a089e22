"""FIFO queues: one message of a key at a time, in order, and once."""

from __future__ import annotations

from typing import Any

from adapters.sqs.wiring import answering
from kernel_sqs import SqsTransport

from kernel.ports import Outgoing


def take(transport: SqsTransport, limit: int = 10) -> list[bytes]:
    found = transport.receive(["work"], limit, 0.0)
    assert transport.ack(found) == []
    return [each.payload for each in found]


def test_keys_become_groups_and_deduplication(fifo: SqsTransport) -> None:
    fifo.declare(["work"])
    sent: list[dict[str, Any]] = []
    answering(fifo, "SendMessageBatch", lambda request: sent.extend(request["Entries"]))
    fifo.send([Outgoing("work", b"a", order_key="k", dedup_key="d"), Outgoing("work", b"b"), Outgoing("work", b"c")])
    assert (sent[0]["MessageGroupId"], sent[0]["MessageDeduplicationId"]) == ("k", "d")
    assert len({each["MessageGroupId"] for each in sent}) == 3, "without a key nobody waits for anybody"
    assert len({each["MessageDeduplicationId"] for each in sent}) == 3
    assert not any("DelaySeconds" in each for each in sent)


def test_a_batch_has_one_message_of_a_key(fifo: SqsTransport) -> None:
    for name in ("warm", "this", "up"):
        fifo.send([Outgoing("work", name.encode())])
        assert take(fifo) == [name.encode()]  # from one message per call to ten
    fifo.send([Outgoing("work", b"%d" % number, order_key="k") for number in range(4)])
    fifo.send([Outgoing("work", b"other", order_key="j")])
    asked: list[int] = []
    answering(fifo, "ReceiveMessage", lambda request: asked.append(request["MaxNumberOfMessages"]))
    found = fifo.receive(["work"], 10, 0.0)
    assert [each.payload for each in found] == [b"0", b"other"]
    assert fifo.receive(["work"], 10, 0.0) == [], "the key is busy"
    assert fifo.ack(found) == []
    rest = [take(fifo) for _ in range(3)]
    assert rest == [[b"1"], [b"2"], [b"3"]], "in order, and one at a time"
    assert asked[0] > 1
    assert asked[1] == 1, "a call that gave several of one key is followed by smaller ones"


def test_what_is_lost_or_released_comes_before_the_next_of_its_key(fifo: SqsTransport) -> None:
    fifo.send([Outgoing("work", b"%d" % number, order_key="k") for number in range(3)])
    held = fifo.receive(["work"], 10, 0.0)
    assert fifo.release(held) == []
    again = fifo.receive(["work"], 10, 5.0)
    assert [(each.payload, each.redelivered) for each in again] == [(b"0", 1)]
    assert fifo.ack(again) == []
    assert take(fifo) == [b"1"]


def test_equal_keys_are_stored_once_also_after_an_ack(fifo: SqsTransport) -> None:
    fifo.send([Outgoing("work", b"a", dedup_key="d")])
    assert take(fifo) == [b"a"]
    fifo.send([Outgoing("work", b"b", dedup_key="d"), Outgoing("work", b"c", dedup_key="e")])
    assert take(fifo) == [b"c"]
