"""The one retry loop: how often, how long, and what is left of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kernel import steady
from kernel.clock import FakeClock
from kernel.errors import PartialSend, PortError, Rejected, Unavailable
from kernel.ports import Outgoing
from kernel.sending.batcher import in_chunks
from kernel.steady import FIRST_WAIT, FORGOTTEN_AFTER, LONGEST_WAIT, REMIND_EVERY, Backoff, Outage, persist, send_all


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> FakeClock:
    """Time passes only in the waits of the loop."""
    monkeypatch.setattr(steady, "monotonic", clock.monotonic)
    monkeypatch.setattr(steady, "sleep", clock.advance)
    return clock


class Service:
    """Stores messages, and fails each call as `script` says: None works, an error is raised."""

    def __init__(self, script: Sequence[PortError | None]) -> None:
        self.script = list(script)
        self.calls: list[list[bytes]] = []
        self.stored: list[bytes] = []

    def send(self, batch: Sequence[Outgoing]) -> None:
        payloads = [out.payload for out in batch]
        self.calls.append(payloads)
        error = self.script.pop(0) if self.script else None
        if isinstance(error, PartialSend):
            self.stored += [payload for index, payload in enumerate(payloads) if index not in error.errors]
        if error is not None:
            raise error
        self.stored += payloads


def batch(text: str) -> list[Outgoing]:
    return [Outgoing("q", letter.encode()) for letter in text]


def test_an_outage_is_told_at_once_then_every_minute_and_at_its_end(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    outage = Outage("the transport", clock)
    for _ in range(25):
        outage.failed(Unavailable("the file is damaged"))
        clock.advance(REMIND_EVERY / 10)
    away = [outage.away]
    outage.worked()
    away.append(outage.away)
    outage.worked()
    assert away == [True, False]
    assert [record.getMessage() for record in caplog.records] == [
        "the transport is unavailable: the file is damaged; trying again until it is back",
        "the transport is still unavailable after 60 s: the file is damaged",
        "the transport is still unavailable after 120 s: the file is damaged",
        "the transport is back after 150.0 s",
    ]


def test_waits_double_up_to_the_longest_and_start_anew() -> None:
    backoff = Backoff()
    for step in range(12):
        whole = min(LONGEST_WAIT, FIRST_WAIT * 2**step)
        assert whole / 2 <= backoff.wait_for() <= whole
    backoff.reset()
    assert backoff.wait_for() <= FIRST_WAIT


def test_an_outage_that_ended_waits_little_the_next_time() -> None:
    outage = Outage("x", FakeClock())
    for _ in range(10):
        outage.failed(Unavailable())
    outage.worked()
    assert outage.failed(Unavailable()) <= FIRST_WAIT


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage().partition(";")[0] for record in caplog.records]


def test_a_service_is_away_once_however_many_operations_find_it_so(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    service = steady.Service("the transport", clock)
    receiving, settling = Outage(service), Outage(service)
    for _ in range(10):
        receiving.failed(Unavailable("refused"))
        settling.failed(Unavailable("broken pipe"))
        clock.advance(1.0)
    assert told(caplog) == ["the transport is unavailable: refused"]
    receiving.worked()
    assert service.away, "one works, the other does not"
    settling.worked()
    assert not service.away
    assert told(caplog)[1:] == ["the transport is back after 10.0 s"]


def test_an_operation_that_works_while_another_fails_is_not_told_each_time(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    service = steady.Service("the transport", clock)
    receiving, sending = Outage(service), Outage(service)
    for _ in range(20):
        sending.failed(Unavailable("full"))
        receiving.failed(Unavailable("busy"))
        receiving.worked()
        clock.advance(1.0)
    assert told(caplog) == ["the transport is unavailable: full"]


def test_an_operation_that_is_not_tried_again_is_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    service = steady.Service("the transport", clock)
    dropped, receiving = Outage(service), Outage(service)
    dropped.failed(Unavailable("away"))
    clock.advance(FORGOTTEN_AFTER + 1)
    assert not service.away
    receiving.failed(Unavailable("away"))
    receiving.worked()
    assert told(caplog) == ["the transport is unavailable: away", "the transport is back after 31.0 s"]


# -- persist -----------------------------------------------------------------------------------------------


def _failing(times: int, error: Exception) -> Callable[[], int]:
    left = [error] * times

    def call() -> int:
        if left:
            raise left.pop()
        return 7

    return call


def test_a_call_is_repeated_until_it_works(at: FakeClock) -> None:
    assert persist(_failing(5, Unavailable("away")), 60.0) == 7


def test_only_what_may_work_later_is_repeated(at: FakeClock) -> None:
    start = at.monotonic()
    for error in (Rejected("never"), PartialSend({0: Unavailable()}), ValueError("a defect")):
        with pytest.raises(type(error)):
            persist(_failing(1, error), 60.0)
    assert at.monotonic() == start


def test_the_last_error_ends_the_patience_before_the_time_is_over(at: FakeClock) -> None:
    start = at.monotonic()
    with pytest.raises(Unavailable, match="away"):
        persist(_failing(10**6, Unavailable("away")), 30.0)
    assert 20.0 < at.monotonic() - start <= 30.0


def test_without_patience_there_is_one_try() -> None:
    with pytest.raises(Unavailable):
        persist(_failing(1, Unavailable("away")), 0.0)


# -- send_all ----------------------------------------------------------------------------------------------


def test_only_what_is_left_is_sent_again(at: FakeClock) -> None:
    service = Service([PartialSend({1: Unavailable(), 3: Unavailable()}), PartialSend({1: Unavailable()})])
    send_all(service.send, batch("abcd"), 60.0)
    assert service.calls == [[b"a", b"b", b"c", b"d"], [b"b", b"d"], [b"d"]]
    assert sorted(service.stored) == [b"a", b"b", b"c", b"d"]


def test_what_is_refused_is_named_by_its_place_in_the_whole(at: FakeClock) -> None:
    large, late = Rejected("large"), Rejected("late")
    service = Service([PartialSend({0: large, 2: Unavailable(), 3: Unavailable()}), PartialSend({1: late})])
    with pytest.raises(PartialSend) as caught:
        send_all(service.send, batch("abcd"), 60.0)
    assert caught.value.errors == {0: large, 3: late}
    assert sorted(service.stored) == [b"b", b"c"]


def test_what_time_ran_out_for_is_named_beside_what_is_refused(at: FakeClock) -> None:
    large = Rejected("large")
    service = Service([PartialSend({0: large, 1: Unavailable("full")}), *[Unavailable("away")] * 1000])
    with pytest.raises(PartialSend) as caught:
        send_all(service.send, batch("abc"), 5.0)
    errors = caught.value.errors
    assert errors[0] is large
    assert isinstance(errors[1], Unavailable)
    assert sorted(errors) == [0, 1]


def test_when_nothing_is_sent_the_error_is_that_of_the_service(at: FakeClock) -> None:
    with pytest.raises(Unavailable, match="away"):
        send_all(Service([Unavailable("away")] * 1000).send, batch("ab"), 5.0)
    with pytest.raises(Rejected, match="never"):
        send_all(Service([Rejected("never")]).send, batch("ab"), 5.0)


def test_a_rest_that_is_refused_as_a_whole_does_not_hide_what_was_sent(at: FakeClock) -> None:
    """A plain `Rejected` says that nothing was stored: whoever believes it sends the whole batch again."""
    service = Service([PartialSend({1: Unavailable(), 2: Rejected("large")}), Rejected("closed")])
    with pytest.raises(PartialSend) as caught:
        send_all(service.send, batch("abc"), 60.0)
    assert {index: str(error) for index, error in caught.value.errors.items()} == {1: "closed", 2: "large"}


def test_what_one_try_may_have_sent_stays_unknown(at: FakeClock) -> None:
    """The tries after it say "no" of themselves only: a caller that believes it sends the message a second time."""
    lost, away = Unavailable("lost", sent="unknown"), Unavailable("away")
    with pytest.raises(Unavailable, match="away") as caught:
        send_all(Service([lost, *[away] * 1000]).send, batch("ab"), 5.0)
    assert caught.value.sent == "unknown"
    service = Service([PartialSend({1: lost, 2: away}), *[PartialSend({0: away, 1: away})] * 1000])
    with pytest.raises(PartialSend) as partial:
        send_all(service.send, batch("abc"), 5.0)
    assert {index: error.sent for index, error in partial.value.errors.items()} == {1: "unknown", 2: "no"}


# -- in_chunks ---------------------------------------------------------------------------------------------


def test_chunks_hold_at_most_so_many() -> None:
    service = Service([])
    in_chunks(service.send, 2)(batch("abcde"))
    assert [len(call) for call in service.calls] == [2, 2, 1]
    assert b"".join(service.stored) == b"abcde"


def test_errors_of_a_chunk_are_named_by_their_place_in_the_whole() -> None:
    first, last = Rejected("1"), Unavailable("4")
    service = Service([PartialSend({1: first}), None, PartialSend({0: last})])
    with pytest.raises(PartialSend) as caught:
        in_chunks(service.send, 2)(batch("abcde"))
    assert caught.value.errors == {1: first, 4: last}


def test_a_first_chunk_that_fails_is_the_error_of_all() -> None:
    service = Service([Unavailable("away", sent="unknown")])
    with pytest.raises(Unavailable, match="away"):
        in_chunks(service.send, 2)(batch("abcde"))
    assert len(service.calls) == 1


def test_a_later_chunk_that_fails_leaves_the_rest_unsent_and_named() -> None:
    service = Service([None, Unavailable("away")])
    with pytest.raises(PartialSend) as caught:
        in_chunks(service.send, 2)(batch("abcdef"))
    assert sorted(caught.value.errors) == [2, 3, 4, 5]
    assert service.stored == [b"a", b"b"]


_PART = st.dictionaries(st.integers(0, 2), st.sampled_from([Unavailable("full"), Rejected("large")]), min_size=1)
_FAULT = st.sampled_from([None, Unavailable("away"), Rejected("no")]) | _PART


@example([{1: Unavailable("full"), 0: Unavailable("full")}, Unavailable("away"), {0: Unavailable("full")}], 2)
@given(st.lists(_FAULT, max_size=12), st.integers(1, 9))
def test_every_message_is_stored_once_or_named(
    faults: list[PortError | dict[int, PortError] | None], most: int
) -> None:
    clock = FakeClock()
    script = list(faults)
    stored: list[bytes] = []

    def send(messages: Sequence[Outgoing]) -> None:
        fault = script.pop(0) if script else None
        if isinstance(fault, PortError):
            raise fault
        errors = {index: error for index, error in (fault or {}).items() if index < len(messages)}
        stored.extend(out.payload for index, out in enumerate(messages) if index not in errors)
        if errors:
            raise PartialSend(errors)

    messages = batch("abcdefg")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steady, "monotonic", clock.monotonic)
        patch.setattr(steady, "sleep", clock.advance)
        try:
            send_all(in_chunks(send, most), messages, 3.0)
            failed: set[int] = set()
        except PartialSend as partial:
            failed = set(partial.errors)
        except PortError:
            failed = set(range(len(messages)))
    assert sorted(stored) == [out.payload for index, out in enumerate(messages) if index not in failed]
