"""Queues: made with their dead letters, or given and then never looked up."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from adapters.sqs.wiring import counted, raw
from botocore.session import Session
from kernel_sqs import SqsTransport

from kernel.errors import ConfigError, Rejected, Unavailable
from kernel.ports import Outgoing


@pytest.fixture
def every(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """All calls of transports that are opened from now on, those of `open` too."""
    calls: Counter[str] = Counter()
    create = Session.create_client

    def made(self: Session, *arguments: Any, **named: Any) -> Any:
        client = create(self, *arguments, **named)
        client.meta.events.register("before-call", lambda model, **_: calls.update([model.name]))
        return client

    monkeypatch.setattr(Session, "create_client", made)
    return calls


def attributes(url: str, name: str) -> dict[str, str]:
    client = raw(url)
    try:
        to = client.get_queue_url(QueueName=name)["QueueUrl"]
        found: dict[str, str] = client.get_queue_attributes(QueueUrl=to, AttributeNames=["All"])["Attributes"]
        return found
    finally:
        client.close()


def test_a_queue_is_made_with_its_dead_letters(url: str, prefix: str, transport: SqsTransport) -> None:
    transport.declare(["work", "work.p1"])
    dead = attributes(url, f"{prefix}work-dead")
    assert "RedrivePolicy" not in dead
    for name in ("work", "work-p1"):
        made = attributes(url, f"{prefix}{name}")
        assert json.loads(made["RedrivePolicy"]) == {"deadLetterTargetArn": dead["QueueArn"], "maxReceiveCount": 1000}
        assert made["MessageRetentionPeriod"] == dead["MessageRetentionPeriod"] == "1209600"
        assert made["VisibilityTimeout"] == "60"
        assert made["MaximumMessageSize"] == "1048576"


def test_the_service_moves_what_is_received_too_often(url: str, opened: Callable[[str], SqsTransport]) -> None:
    transport = opened(f"{url}&deliveries=2")
    transport.send([Outgoing("work", b"poison")])
    for _ in range(2):
        assert transport.release(transport.receive(["work"], 1, 5.0)) == []
    assert transport.receive(["work"], 1, 0.0) == []
    moved = transport.receive(["work.dead"], 1, 5.0)
    assert [each.payload for each in moved] == [b"poison"], "verbatim, as kernel's tools for dead letters want it"


def test_a_queue_that_is_there_is_used_as_it_is(url: str, prefix: str, transport: SqsTransport) -> None:
    client = raw(url)
    client.create_queue(QueueName=f"{prefix}own", Attributes={"VisibilityTimeout": "7"})
    client.close()
    transport.send([Outgoing("own", b"x")])
    assert attributes(url, f"{prefix}own")["VisibilityTimeout"] == "7"


def test_given_queues_are_never_looked_up(
    url: str, prefix: str, opened: Callable[[str], SqsTransport], every: Counter[str]
) -> None:
    client = raw(url)
    work, dead = (client.create_queue(QueueName=f"{prefix}{name}")["QueueUrl"] for name in ("abc", "xyz"))
    client.close()
    every.clear()
    transport = opened(f"{url}&queue.work={work}&queue.work.dead={dead}")
    transport.declare(["work", "work.dead"])
    transport.send([Outgoing("work", b"a"), Outgoing("work.dead", b"b")])
    found = transport.receive(["work", "work.dead"], 10, 1.0)
    assert [(each.queue, each.payload) for each in found] == [("work", b"a"), ("work.dead", b"b")]
    assert transport.extend(found, 30.0) == transport.release(found[:1]) == transport.ack(found[1:]) == []
    assert not every.keys() & {"ListQueues", "CreateQueue", "GetQueueUrl", "SetQueueAttributes"}, every
    with pytest.raises(Rejected, match=r"queue 'else' is not given: add queue\.else=<queue url>"):
        transport.send([Outgoing("else", b"x")])


def test_a_pattern_gives_every_queue(
    url: str, prefix: str, opened: Callable[[str], SqsTransport], every: Counter[str]
) -> None:
    client = raw(url)
    to = client.create_queue(QueueName=f"{prefix}mail-p1")["QueueUrl"]
    client.close()
    every.clear()
    transport = opened(f"{url}&queue.*={to.replace('mail-p1', '{name}')}")
    transport.send([Outgoing("mail.p1", b"x")])
    assert every == {"SendMessageBatch": 1}, "not even `open` asks for anything"
    with pytest.raises(Unavailable, match="not there"):
        transport.send([Outgoing("missing", b"x")])


def test_create_no_makes_nothing(url: str, opened: Callable[[str], SqsTransport]) -> None:
    transport = opened(f"{url}&create=no")
    calls = counted(transport)
    with pytest.raises(Rejected, match="create=no keeps it from being made"):
        transport.declare(["work"])
    assert calls == {"GetQueueUrl": 1}


def test_a_deleted_queue_is_unavailable_and_made_again(url: str, prefix: str, transport: SqsTransport) -> None:
    transport.send([Outgoing("work", b"x")])
    client = raw(url)
    client.delete_queue(QueueUrl=client.get_queue_url(QueueName=f"{prefix}work")["QueueUrl"])
    client.close()
    with pytest.raises(Unavailable, match="not there"):
        transport.send([Outgoing("work", b"y")])
    transport.send([Outgoing("work", b"y")])
    assert [each.payload for each in transport.receive(["work"], 1, 5.0)] == [b"y"]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("queue.work=https://h/1/work&fifo=yes", "fifo"),
        ("queue.work=work", "http"),
        ("queue.*=https://h/1/work", "{name}"),
    ],
)
def test_a_mapping_that_cannot_be(query: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        SqsTransport.from_url(f"sqs://?region=eu-west-1&{query}")
