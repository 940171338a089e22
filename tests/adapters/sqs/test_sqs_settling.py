"""Receipts: worth nothing after their time, and failures told by message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from adapters.sqs.wiring import answer, answering, counted
from kernel_sqs import SqsTransport

from kernel.errors import Unavailable
from kernel.native import monotonic
from kernel.ports import Delivery, Outgoing


def held(transport: SqsTransport, count: int = 1) -> list[Delivery]:
    transport.send([Outgoing("work", b"%d" % number) for number in range(count)])
    found = transport.receive(["work"], 10, 5.0)
    assert len(found) == count
    return found


def test_a_stale_receipt_is_not_even_sent(url: str, opened: Callable[[str], SqsTransport]) -> None:
    first, second = opened(f"{url}&lease=1"), opened(f"{url}&lease=1")
    lost = held(first)
    calls = counted(first)
    again = second.receive(["work"], 1, 5.0)
    assert [each.payload for each in again] == [b"0"]
    assert again[0].redelivered == 1
    assert first.ack(lost) == first.release(lost) == first.extend(lost, 60.0) == lost
    assert not calls, "a stale handle can still delete on a standard queue, so none is sent"
    assert second.ack(again) == []


def test_an_extension_that_was_held_up_on_its_way_revives_nothing(
    url: str, opened: Callable[[str], SqsTransport]
) -> None:
    """SQS honours it, with a handle that is stale by then: whoever believed that would delete what another one runs."""
    first, second = opened(f"{url}&lease=1"), opened(f"{url}&lease=1")
    found = held(first)
    taken: list[Delivery] = []
    answering(first, "ChangeMessageVisibilityBatch", lambda request: taken.extend(second.receive(["work"], 1, 5.0)))
    assert first.extend(found, 60.0) == found
    assert first.ack(found) == found
    assert [each.redelivered for each in taken] == [1]
    assert second.ack(taken) == []


def test_a_released_receipt_deletes_nothing(transport: SqsTransport) -> None:
    given = held(transport)
    assert transport.release(given) == []
    calls = counted(transport)
    assert transport.ack(given) == given
    assert calls["DeleteMessageBatch"] == 0
    again = transport.receive(["work"], 1, 5.0)
    assert [each.redelivered for each in again] == [1], "SQS counts what it hands out"
    assert transport.ack(again) == []


def test_an_ack_that_fails_in_part_is_repeated_in_part(transport: SqsTransport) -> None:
    found = held(transport, 3)
    asked: list[list[str]] = []

    def partly(request: dict[str, Any]) -> Any:
        handles = [each["ReceiptHandle"] for each in request["Entries"]]
        asked.append(handles)
        if len(asked) > 1:
            return None
        failed = [
            {"Id": "1", "Code": "InternalError", "SenderFault": False},
            {"Id": "2", "Code": "ReceiptHandleIsInvalid", "SenderFault": True},
        ]
        return answer(Successful=[{"Id": "0"}], Failed=failed)

    answering(transport, "DeleteMessageBatch", partly)
    with pytest.raises(Unavailable, match="InternalError") as caught:
        transport.ack(found)
    assert caught.value.sent == "unknown"
    assert transport.ack(found) == [found[2]], "one is settled, one is asked for again, one was lost"
    assert asked[1] == [found[1].receipt.handle]


def test_an_extension_is_whole_seconds_and_ends_with_the_twelve_hours(transport: SqsTransport) -> None:
    found = held(transport, 3)
    asked: list[int] = []
    answering(
        transport,
        "ChangeMessageVisibilityBatch",
        lambda request: asked.extend(each["VisibilityTimeout"] for each in request["Entries"]),
    )
    found[1].receipt.total_until = monotonic() + 20.5
    found[2].receipt.total_until = monotonic() + 0.5
    assert transport.extend(found, 29.1) == [found[2]], "an extension by 0 would be a release"
    assert asked == [30, 20]
    assert 29.0 < found[0].receipt.held_until - monotonic() <= 30.0


def test_more_than_ten_are_settled_in_several_calls(transport: SqsTransport) -> None:
    transport.send([Outgoing("work", b"x")] * 12)
    found: list[Delivery] = []
    while len(found) < 12:
        found += transport.receive(["work"], 10, 5.0)
    calls = counted(transport)
    assert transport.extend(found, 60.0) == []
    assert transport.ack([*found, found[0]]) == []
    assert calls == {"ChangeMessageVisibilityBatch": 2, "DeleteMessageBatch": 2}
