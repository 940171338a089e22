"""Payloads in S3: written before the message, deleted after it, and nobody else's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from adapters.sqs.wiring import client, counted, raw, refusal
from kernel_sqs import SqsTransport, offload

from kernel.errors import Rejected, Unavailable
from kernel.ports import Outgoing

LARGE = bytes(range(256)) * 4096


@pytest.fixture
def s3(url: str, prefix: str) -> Iterator[Any]:
    made = raw(url, "s3")
    made.create_bucket(Bucket=prefix + "b", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    yield made
    made.close()


@pytest.fixture
def storing(url: str, prefix: str, s3: Any, opened: Callable[[str], SqsTransport]) -> SqsTransport:
    endpoint = url.removeprefix("sqs+").partition("?")[0]
    return opened(f"{url}&s3={prefix}b/payloads&s3_endpoint={endpoint}")


def keys(s3: Any, prefix: str) -> list[str]:
    return [each["Key"] for each in s3.list_objects_v2(Bucket=f"{prefix}b").get("Contents", [])]


def test_a_large_payload_takes_the_detour(storing: SqsTransport, s3: Any, prefix: str) -> None:
    assert storing.features.max_payload == offload.LARGEST
    storing.send([Outgoing("work", b"small"), Outgoing("work", LARGE)])
    stored = keys(s3, prefix)
    assert len(stored) == 1
    assert stored[0].startswith("payloads/")
    found = storing.receive(["work"], 10, 5.0)
    assert [each.payload for each in found] == [b"small", LARGE]
    assert storing.release(found) == []
    assert keys(s3, prefix) == stored, "what is given back is still needed"
    found = storing.receive(["work"], 10, 5.0)
    assert storing.ack(found) == []
    assert keys(s3, prefix) == []


def test_above_its_limit_it_is_refused(storing: SqsTransport, s3: Any, prefix: str) -> None:
    with pytest.raises(Rejected, match=f"above the limit of {offload.LARGEST} bytes of an object"):
        storing.send([Outgoing("work", bytes(offload.LARGEST + 1))])
    assert keys(s3, prefix) == []


def test_a_body_that_names_another_place_is_no_errand(storing: SqsTransport, url: str, prefix: str) -> None:
    storing.declare(["work"])
    calls = counted(storing, "s3")
    other = raw(url)
    to = other.get_queue_url(QueueName=f"{prefix}work")["QueueUrl"]
    bodies = [f"s3://elsewhere/payloads/{'a' * 32}", f"s3://{prefix}b/other/a", f"s3://{prefix}b/payloads/../a"]
    for body in bodies:
        other.send_message(QueueUrl=to, MessageBody=body)
    other.close()
    found = storing.receive(["work"], 10, 5.0)
    assert [each.payload.decode() for each in found] == bodies
    assert storing.ack(found) == []
    assert not calls


def test_a_lost_object_leaves_the_body(storing: SqsTransport, s3: Any, prefix: str) -> None:
    storing.send([Outgoing("work", LARGE)])
    key = keys(s3, prefix)[0]
    s3.delete_object(Bucket=f"{prefix}b", Key=key)
    found = storing.receive(["work"], 10, 5.0)
    assert [each.payload for each in found] == [f"s3://{prefix}b/{key}".encode()], "for the dead letters"
    assert storing.ack(found) == []


def test_while_s3_is_away(storing: SqsTransport, s3: Any, prefix: str) -> None:
    storing.send([Outgoing("work", LARGE)])
    storing.send([Outgoing("other", LARGE), Outgoing("other", b"small")])
    events = client(storing, "s3").meta.events
    away = lambda **_: refusal("SlowDown", "", 503)  # noqa: E731
    events.register("before-call.s3", away)
    with pytest.raises(Unavailable, match="get_object"):
        storing.receive(["work"], 10, 0.0)
    found = storing.receive(["other"], 10, 0.0)
    assert [each.payload for each in found] == [b"small"], "the others do not wait for S3"
    assert storing.ack(found) == []
    with pytest.raises(Unavailable, match="put_object"):
        storing.send([Outgoing("work", LARGE)])
    events.unregister("before-call.s3", away)
    assert storing.receive(["work"], 10, 0.0) == [], "its lease is kept: given back at once, it would come at once"
