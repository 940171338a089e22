from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest
from kernel_sqs import SqsTransport
from services.sqs import CREDENTIALS, shared_sqs


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def prefix() -> str:
    """What no other test's queues are named."""
    return f"t{uuid.uuid4().hex[:8]}-"


@pytest.fixture
def url(prefix: str) -> str:
    return f"{shared_sqs()}&prefix={prefix}&wait=1"


@pytest.fixture
def opened() -> Iterator[Callable[[str], SqsTransport]]:
    """Open transports and close them at the end, also when the test fails."""
    transports: list[SqsTransport] = []

    def opener(url: str) -> SqsTransport:
        transport = SqsTransport.from_url(url)
        transports.append(transport)
        transport.open()
        return transport

    yield opener
    for transport in transports:
        transport.close()


@pytest.fixture
def transport(url: str, opened: Callable[[str], SqsTransport]) -> SqsTransport:
    return opened(url)


@pytest.fixture
def fifo(url: str, opened: Callable[[str], SqsTransport]) -> SqsTransport:
    return opened(f"{url}&fifo=yes")
