"""The SQS adapter against moto, on standard and on FIFO queues.

moto keeps everything in memory, so what outlives the end of the service cannot be proven with it: those clauses
stay "not proven". What the adapter does while the service is away is tested in tests/adapters/sqs.
"""

from __future__ import annotations

import pytest
from kernel_conformance import TransportConformance
from kernel_sqs import SqsTransport
from services.sqs import CREDENTIALS, shared_sqs

#: Seconds. SQS counts in whole ones, and what the suite leaves of a lease of one is little on a busy machine.
LEASE = 2


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


class TestStandard(TransportConformance):
    label = "sqs"
    lease_for = 0.9  # so short that leases are cut to one second where their end is all that is waited for
    quiet_for = 0.02
    slack = 1.5  # moto is a program in Python, which a busy machine lets wait

    def make(self, namespace: str) -> SqsTransport:
        # A name on the service has 80 letters, and the suite uses sixty of them.
        return SqsTransport.from_url(f"{shared_sqs()}&prefix={namespace[:7]}-&lease={LEASE}&wait=1")


class TestFifo(TestStandard):
    label = "sqs-fifo"

    def make(self, namespace: str) -> SqsTransport:
        return SqsTransport.from_url(f"{shared_sqs()}&prefix={namespace[:7]}-&lease={LEASE}&wait=1&fifo=yes")
