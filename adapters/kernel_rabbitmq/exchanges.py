"""Exchanges that others have made: looked for once per connection, before anything is published to them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from kernel.errors import PortError, Rejected
from kernel.ports import Outgoing
from kernel_rabbitmq.faults import NOT_FOUND, code_of
from kernel_rabbitmq.names import carried
from kernel_rabbitmq.steps import Steps
from kernel_rabbitmq.topology import Topology


class Exchanges:
    """Which of the exchanges that messages name are there. Only the I/O thread touches it.

    To publish and see was rejected: the broker answers with the end of the channel, and all that others have published
    on it has no answer any more.
    """

    def __init__(self, topology: Topology) -> None:
        self._topology = topology

    def refused(self, batch: Sequence[Outgoing]) -> Steps[dict[int, PortError]]:
        """The messages, by index, that are for exchanges which are not there, and why."""
        reasons: dict[str, PortError] = {}
        errors: dict[int, PortError] = {}
        for name in {out.exchange for out in batch if out.exchange}:
            try:
                yield from self._topology.remember(_known(name), partial(self._look, name))
            except Rejected as error:
                reasons[name] = error
        for index, out in enumerate(batch):
            if out.exchange in reasons:
                errors[index] = reasons[out.exchange]
            elif out.exchange:
                try:
                    carried(out.routing_key)
                except Rejected as error:
                    errors[index] = error
        return errors

    def names(self, exchange: str) -> bool:
        """Whether messages have named this exchange, and it is not one that the adapter itself publishes to."""
        return self._topology.knows([_known(exchange)])

    def forget(self, exchange: str) -> None:
        """It may be gone: look again before the next message."""
        self._topology.forget(_known(exchange))

    def _look(self, name: str) -> Steps[None]:
        try:
            yield from self._topology.rpc("exchange_declare", carried(name), passive=True)
        except PortError as error:
            if code_of(error.__cause__ or error) != NOT_FOUND:
                raise
            raise Rejected(
                f"there is no exchange {name!r}: create it and bind queues to it, or name a queue"
            ) from error


def _known(exchange: str) -> str:
    return f"exchange of others {exchange}"
