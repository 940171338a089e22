"""Listening to, and answering in place of the server, at the events of the client library itself."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from botocore.session import Session
from kernel_sqs import SqsTransport
from services.sqs import REGION


def client(transport: SqsTransport, name: str = "sqs") -> Any:
    """The client that a transport uses."""
    return getattr(transport._service, f"_{name}")


def raw(url: str, name: str = "sqs") -> Any:
    """A client of one's own: what another program sees."""
    endpoint = url.removeprefix("sqs+").partition("?")[0]
    return Session().create_client(name, region_name=REGION, endpoint_url=endpoint)


def counted(transport: SqsTransport, name: str = "sqs") -> Counter[str]:
    """The calls of a transport from now on, by operation."""
    calls: Counter[str] = Counter()
    client(transport, name).meta.events.register(f"before-call.{name}", lambda model, **_: calls.update([model.name]))
    return calls


def answering(transport: SqsTransport, operation: str, answer: Callable[[dict[str, Any]], Any]) -> None:
    """Have an operation of SQS answered by a function of its request; None lets the request through."""

    def given(params: dict[str, Any], **_: Any) -> Any:
        return answer(json.loads(params["body"]))

    client(transport).meta.events.register(f"before-call.sqs.{operation}", given)


def answer(**parsed: Any) -> tuple[Any, dict[str, Any]]:
    """A good answer of the service."""
    return SimpleNamespace(status_code=200), {**parsed, "ResponseMetadata": {"HTTPStatusCode": 200}}


def refusal(code: str, message: str = "", status: int = 400) -> tuple[Any, dict[str, Any]]:
    """An error of the service."""
    error = {"Code": code, "Message": message}
    return SimpleNamespace(status_code=status), {"Error": error, "ResponseMetadata": {"HTTPStatusCode": status}}
