"""Steps that end by an error of pika."""

from __future__ import annotations

from typing import Any

import pytest
from kernel_rabbitmq.steps import Run, Steps, Wait
from pika.exceptions import ChannelWrongStateError, ConnectionWrongStateError

from kernel.errors import Unavailable


@pytest.mark.parametrize("error", [ConnectionWrongStateError("closed"), ChannelWrongStateError("closed")])
@pytest.mark.parametrize("waits", [False, True])
def test_a_refusal_of_a_connection_that_is_going_down_is_an_outage(error: Exception, waits: bool) -> None:
    """Not a defect: it comes to any call of a process that was frozen for longer than its heartbeats."""
    wait = Wait()

    def steps() -> Steps[None]:
        if waits:
            yield wait
        raise error

    ended: list[Any] = []
    Run(steps(), lambda value, failure: ended.append(failure))
    wait.done()
    [failure] = ended
    assert isinstance(failure, Unavailable)
    assert failure.sent == "unknown"


def test_any_other_error_is_what_it_is() -> None:
    def steps() -> Steps[None]:
        raise KeyError("a defect")
        yield Wait()

    ended: list[Any] = []
    Run(steps(), lambda value, failure: ended.append(failure))
    assert [type(failure) for failure in ended] == [KeyError]
