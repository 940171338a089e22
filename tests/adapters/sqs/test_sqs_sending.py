"""Batches: cut into calls, and every failure told by message."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from adapters.sqs.wiring import answer, answering, counted, raw, refusal
from faults.proxy import Proxy, Weather
from faults.systems import port_of, through
from kernel_sqs import SqsTransport

from kernel.emulate.complete import complete
from kernel.errors import PartialSend, Rejected, Unavailable
from kernel.ports import Outgoing


def failed(index: int, code: str, sender: bool) -> dict[str, Any]:
    return {"Id": str(index), "Code": code, "Message": "said the service", "SenderFault": sender}


def drained(transport: SqsTransport, count: int, queue: str = "work") -> list[bytes]:
    found: list[bytes] = []
    while len(found) < count:
        deliveries = transport.receive([queue], 10, 5.0)
        assert deliveries, f"{len(found)} of {count} came"
        assert transport.ack(deliveries) == []
        found += [each.payload for each in deliveries]
    return found


def test_each_failure_is_told_by_its_message(transport: SqsTransport) -> None:
    def partly(request: dict[str, Any]) -> Any:
        entries = request["Entries"]
        good = [{"Id": each["Id"], "MessageId": "m", "MD5OfMessageBody": ""} for each in entries[:1]]
        return answer(
            Successful=good,
            Failed=[
                failed(1, "InvalidMessageContents", True),
                failed(2, "InternalError", False),
                failed(3, "AWS.SimpleQueueService.RequestThrottled", True),
            ],
        )

    answering(transport, "SendMessageBatch", partly)
    with pytest.raises(PartialSend) as caught:
        transport.send([Outgoing("work", b"%d" % number) for number in range(4)])
    errors = caught.value.errors
    assert {index: type(error) for index, error in errors.items()} == {1: Rejected, 2: Unavailable, 3: Unavailable}
    assert {index: error.sent for index, error in errors.items()} == {1: "no", 2: "unknown", 3: "no"}
    assert "InvalidMessageContents: said the service" in str(errors[1])


def test_a_failure_of_the_only_message_is_its_own_error(transport: SqsTransport) -> None:
    answering(transport, "SendMessageBatch", lambda _: answer(Failed=[failed(0, "InvalidMessageContents", True)]))
    with pytest.raises(Rejected, match="InvalidMessageContents"):
        transport.send([Outgoing("work", b"x")])


def test_what_was_stored_before_a_failing_call_stays_stored(transport: SqsTransport) -> None:
    transport.declare(["work"])
    asked: list[int] = []

    def throttled(request: dict[str, Any]) -> Any:
        asked.append(len(request["Entries"]))
        return refusal("AWS.SimpleQueueService.RequestThrottled") if len(asked) > 1 else None

    answering(transport, "SendMessageBatch", throttled)
    with pytest.raises(PartialSend) as caught:
        transport.send([Outgoing("work", b"%d" % number) for number in range(25)])
    assert sorted(caught.value.errors) == list(range(10, 25))
    assert all(type(error) is Unavailable for error in caught.value.errors.values())
    assert caught.value.sent == "no"
    assert asked == [10, 10], "what comes after a failure waits for the kernel's loop"
    assert drained(transport, 10) == [b"%d" % number for number in range(10)]


def test_a_batch_is_cut_by_number(transport: SqsTransport) -> None:
    calls = counted(transport)
    transport.send([Outgoing("work", b"%d" % number) for number in range(25)])
    assert calls["SendMessageBatch"] == 3
    assert drained(transport, 25) == [b"%d" % number for number in range(25)]


def test_a_batch_is_cut_by_size(transport: SqsTransport) -> None:
    transport.declare(["work"])
    sizes: list[int] = []

    def noted(request: dict[str, Any]) -> None:
        sizes.append(sum(len(each["MessageBody"]) for each in request["Entries"]))

    answering(transport, "SendMessageBatch", noted)
    batch = [bytes([number]) * 300_000 for number in range(3)]  # 400,000 bytes each in base64
    transport.send([Outgoing("work", payload) for payload in batch])
    assert sizes == [800_000, 400_000]
    assert drained(transport, 3) == batch


def test_the_refusal_names_the_limit(transport: SqsTransport) -> None:
    assert transport.features.max_payload == 786_432
    with pytest.raises(Rejected, match="1048576 bytes of a message, which is 786432 of a payload; s3= lifts that"):
        transport.send([Outgoing("work", bytes(786_433))])
    older = SqsTransport.from_url("sqs://?region=eu-west-1&message_size=262144")
    assert older.features.max_payload == 196_608


def test_a_delay_beyond_900_s_goes_by_hops(transport: SqsTransport) -> None:
    transport.declare(["work"])
    delays: list[int] = []
    answering(transport, "SendMessageBatch", lambda asked: delays.extend(e["DelaySeconds"] for e in asked["Entries"]))
    done = complete(transport)
    now = time.time()
    done.transport.send([Outgoing("work", b"a", not_before=now + 10_000), Outgoing("work", b"b", not_before=now + 5)])
    assert done.transport.features.delay == float("inf")
    assert any("hops of 899 s" in line for line in done.emulated)
    assert sorted(delays) in ([5, 899], [6, 899], [5, 900], [6, 900])


def test_whole_seconds_are_rounded_up_and_kept_in_order(transport: SqsTransport) -> None:
    transport.declare(["work"])
    entries: list[dict[str, Any]] = []
    answering(transport, "SendMessageBatch", lambda asked: entries.extend(asked["Entries"]))
    now = time.time()
    transport.send(
        [
            Outgoing("work", b"c", not_before=now + 60.2),
            Outgoing("work", b"b", not_before=now + 60.1),
            Outgoing("work", b"a"),
        ]
    )
    assert [(each["MessageBody"], each["DelaySeconds"] in (60, 61)) for each in entries] == [
        ("YQ==", False),
        ("Yg==", True),
        ("Yw==", True),
    ]
    with pytest.raises(Rejected, match="above the limit of 900 s"):
        transport.send([Outgoing("work", b"x", not_before=now + 1000)])


def test_other_languages_write_base64_and_text_is_handed_on(url: str, transport: SqsTransport) -> None:
    transport.declare(["work"])
    other = raw(url)
    to = other.get_queue_url(QueueName=transport._location.prefix + "work")["QueueUrl"]
    for body in ("aGVsbG8=", "not base64, größe"):
        other.send_message(QueueUrl=to, MessageBody=body)
    other.close()
    assert drained(transport, 2) == [b"hello", "not base64, größe".encode()]


# -- answers that are lost ---------------------------------------------------------------------------------------------


def test_an_outage_costs_one_copy_however_often_it_is_tried(url: str, opened: Callable[[str], SqsTransport]) -> None:
    proxy = Proxy(("127.0.0.1", port_of(url)))
    try:
        transport = opened(through(proxy, url) + "&timeout=1")
        transport.send([Outgoing("work", b"before")])
        proxy.set(Weather(lose_down=True))
        told = []
        for _ in range(4):
            with pytest.raises(Unavailable) as caught:
                transport.send([Outgoing("work", b"meanwhile")])
            told.append(caught.value.sent)
        assert told == ["unknown", "no", "no", "no"]
        proxy.heal()
        transport.send([Outgoing("work", b"meanwhile")])
        assert sorted(drained(transport, 3)) == [b"before", b"meanwhile", b"meanwhile"]
        assert transport.receive(["work"], 1, 0.0) == []
    finally:
        proxy.close()


def test_a_refusal_is_an_answer_too(transport: SqsTransport) -> None:
    transport.declare(["work"])
    failures = [refusal("InternalFailure", status=500)]
    asked: list[str] = []

    def denied(request: dict[str, Any]) -> Any:
        asked.append(request["QueueUrl"])
        return refusal("AccessDenied", status=403)

    answering(transport, "SendMessageBatch", lambda _: failures.pop() if failures else None)
    answering(transport, "GetQueueAttributes", denied)
    with pytest.raises(Unavailable):
        transport.send([Outgoing("work", b"x")])
    assert not asked
    transport.send([Outgoing("work", b"x")])
    transport.send([Outgoing("work", b"x")])
    assert len(asked) == 1, "asked once, after the answer that did not come"
    assert drained(transport, 2) == [b"x", b"x"]
