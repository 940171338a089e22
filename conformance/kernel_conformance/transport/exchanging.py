"""Messages for exchanges. What one leads to is set up at the service, and nothing that the port can make: here it is
seen that no message ends in a queue by mistake."""

from __future__ import annotations

import pytest

from kernel.errors import PartialSend, Rejected
from kernel.ports import Outgoing
from kernel_conformance.clause import claims
from kernel_conformance.transport.abilities import EXCHANGES
from kernel_conformance.transport.bench import QUEUE, TransportBench

#: An exchange that nobody has made.
NOWHERE = "kernel.conformance.nowhere"


@claims(EXCHANGES)
def test_an_exchange_that_is_not_there(bench: TransportBench) -> None:
    """T-EXCH-1: a message for an exchange that is not there is `Rejected`, and comes out of no queue.

    Fix: ask whether the exchange is there before the first message; the attribute goes before `queue`.
    """
    bench.refused([Outgoing(QUEUE, b"astray", exchange=NOWHERE, routing_key=QUEUE)])
    bench.quiet()


@claims(EXCHANGES)
def test_others_of_a_batch_for_an_exchange(bench: TransportBench) -> None:
    """T-EXCH-2: with an exchange of a batch not there, either `PartialSend` names its messages, or nothing is stored.

    Fix: refuse before anything is published; on many brokers the first such message ends a whole channel.
    """
    with pytest.raises((PartialSend, Rejected)) as caught:
        bench.first.send([Outgoing(QUEUE, b"a"), Outgoing(QUEUE, b"b", exchange=NOWHERE), Outgoing(QUEUE, b"c")])
    if isinstance(caught.value, PartialSend):
        assert list(caught.value.errors) == [1]
        assert bench.settle(2) == [b"a", b"c"]
    bench.quiet()
