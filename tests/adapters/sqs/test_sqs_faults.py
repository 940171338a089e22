"""What goes wrong with credentials, regions, endpoints, rights and load, and what is said about it."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from adapters.sqs.wiring import answering, client, refusal
from botocore.awsrequest import AWSResponse
from botocore.session import Session
from kernel_sqs import SqsTransport
from services.server import free_port
from services.sqs import sqs_server

from kernel.errors import ConfigError, Rejected, Unavailable
from kernel.native import Thread
from kernel.ports import Outgoing


def open_at(url: str) -> None:
    transport = SqsTransport.from_url(url)
    try:
        transport.open()
    finally:
        transport.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqs://key:secret@host?region=r", "no credentials: set AWS_ACCESS_KEY_ID"),
        ("sqs+http://key:secret@host?region=r", "no credentials: set AWS_ACCESS_KEY_ID"),
        ("sqs://?endpoint=http://key:secret@host", "without credentials"),
        ("sqs://host?region=r", "write sqs://"),
        ("sqs+http://?region=r", "write sqs://"),
        ("sqs://?regoin=r", "unknown option 'regoin', did you mean 'region'"),
        ("sqs://?lease=0", "lease is a whole number from 1 to"),
        ("sqs://?lease=1.5", "lease is a whole number"),
        ("sqs://?wait=21", "wait is a whole number from 1 to 20"),
        ("sqs://?deliveries=1001", "deliveries is a whole number from 1 to 1000"),
        ("sqs://?message_size=2000000", "message_size is a whole number from 1024 to"),
        ("sqs://?timeout=0", "timeout is a number of seconds of at least"),
        ("sqs://?fifo=maybe", "fifo is yes or no"),
        ("sqs://?prefix=a.b", "prefix has letters"),
        ("sqs://?s3=", "s3= is empty"),
    ],
)
def test_a_url_that_cannot_be(url: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        SqsTransport.from_url(url)
    assert "secret" not in str(caught.value)


def test_no_region_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    with pytest.raises(ConfigError, match=r"no region .*add \?region= to the URL or set AWS_DEFAULT_REGION"):
        open_at("sqs://")


def test_no_credentials_say_what_to_do(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    with pytest.raises(ConfigError, match=r"no credentials .*name a profile with \?profile="):
        open_at(url)
    with pytest.raises(ConfigError, match="ProfileNotFound"):
        open_at(f"{url}&profile=nobody")


def test_credentials_of_a_profile(
    url: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, opened: Callable[[str], SqsTransport]
) -> None:
    file = tmp_path / "credentials"
    file.write_text("[batch]\naws_access_key_id = a\naws_secret_access_key = b\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    transport = opened(f"{url}&profile=batch")
    assert client(transport)._request_signer._credentials.access_key == "a"


def test_an_endpoint_where_nobody_is() -> None:
    with pytest.raises(Unavailable, match="Could not connect") as caught:
        open_at(f"sqs+http://127.0.0.1:{free_port()}?region=eu-west-1")
    assert caught.value.sent == "no"


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Have the first call of `open` refused."""

    def arrange(code: str, text: str) -> None:
        create = Session.create_client

        def made(self: Session, *arguments: Any, **named: Any) -> Any:
            made = create(self, *arguments, **named)
            made.meta.events.register("before-call.sqs", lambda **_: refusal(code, text, 403))
            return made

        monkeypatch.setattr(Session, "create_client", made)

    return arrange


@pytest.mark.parametrize("code", ["InvalidClientTokenId", "SignatureDoesNotMatch", "ExpiredToken"])
def test_refused_credentials_are_for_the_operator(url: str, code: str, refused: Callable[[str, str], None]) -> None:
    refused(code, "the canonical string was x-amz-security-token:hunter2")
    with pytest.raises(ConfigError, match=f"the credentials are refused .{code}") as caught:
        open_at(url)
    assert "hunter2" not in str(caught.value)


def test_denied_at_open_names_the_right(url: str, refused: Callable[[str, str], None]) -> None:
    refused("AccessDenied", "not authorized to perform: sqs:getqueueurl")
    with pytest.raises(ConfigError, match="not authorized to perform: sqs:getqueueurl"):
        open_at(url)
    open_at(f"{url}&queue.work=https://sqs.eu-west-1.amazonaws.com/1/work")  # a refusal is an answer


@pytest.mark.parametrize(
    ("code", "status", "kind", "sent"),
    [
        ("AccessDenied", 403, Rejected, "no"),
        ("InvalidClientTokenId", 403, Rejected, "no"),
        ("ExpiredToken", 403, Unavailable, "no"),
        ("RequestThrottled", 403, Unavailable, "no"),
        ("ThrottlingException", 400, Unavailable, "no"),
        ("KMS.ThrottlingException", 400, Unavailable, "no"),
        ("OverLimit", 403, Unavailable, "no"),
        ("AWS.SimpleQueueService.QueueDeletedRecently", 400, Unavailable, "no"),
        ("InternalFailure", 500, Unavailable, "unknown"),
        ("ServiceUnavailable", 503, Unavailable, "unknown"),
        ("InvalidMessageContents", 400, Rejected, "no"),
    ],
)
def test_what_the_service_says(transport: SqsTransport, code: str, status: int, kind: type, sent: str) -> None:
    transport.declare(["work"])
    for operation in ("SendMessageBatch", "ReceiveMessage", "CreateQueue"):
        answering(transport, operation, lambda _: refusal(code, "why", status))
    calls: list[Callable[[], object]] = [
        lambda: transport.send([Outgoing("work", b"x")]),
        lambda: transport.receive(["work"], 1, 0.0),
        lambda: transport.receive(["work"], 1, 1.0),
        lambda: transport.declare(["other"]),
    ]
    for call in calls:
        with pytest.raises(kind) as caught:
            call()
        assert caught.value.sent == sent  # type: ignore[attr-defined]
        assert code.rpartition(".")[2] in str(caught.value)


def test_nothing_is_tried_twice(transport: SqsTransport) -> None:
    transport.declare(["work"])
    tries: list[str] = []

    def broken(request: Any, **_: Any) -> AWSResponse:
        tries.append(request.url)
        return AWSResponse(request.url, 500, {}, SimpleNamespace(stream=lambda: [b""]))

    client(transport).meta.events.register("before-send.sqs.SendMessageBatch", broken)
    with pytest.raises(Unavailable) as caught:
        transport.send([Outgoing("work", b"x")])
    assert caught.value.sent == "unknown"
    assert len(tries) == 1, "the one loop that tries again is the kernel's"


def test_while_the_service_is_away() -> None:
    server, url = sqs_server()
    transport = SqsTransport.from_url(f"{url}&wait=1")
    try:
        transport.open()
        transport.send([Outgoing("work", b"x")])
        held = transport.receive(["work"], 1, 5.0)
        errors: list[BaseException] = []
        blocked = Thread(lambda: transport.receive(["work"], 1, 20.0) and None, "blocked", errors.append)
        blocked.start()
        assert not blocked.join(0.2)
        server.kill()
        assert blocked.join(5.0), "a blocked receive notices the end"
        assert [type(error) for error in errors] == [Unavailable]
        calls: list[Callable[[], object]] = [
            lambda: transport.send([Outgoing("work", b"x"), Outgoing("work", b"y")]),
            lambda: transport.receive(["work"], 1, 0.0),
            lambda: transport.ack(held),
            lambda: transport.release(held),
            lambda: transport.extend(held, 10.0),
            lambda: open_at(url),
        ]
        for call in calls:
            with pytest.raises(Unavailable):
                call()
        server.start()
        with pytest.raises(Unavailable, match="not there"):
            transport.send([Outgoing("work", b"x")])  # this server keeps no queue over its end
        transport.send([Outgoing("work", b"again")])
        assert [each.payload for each in transport.receive(["work"], 1, 5.0)] == [b"again"]
    finally:
        transport.close()
        server.close()
