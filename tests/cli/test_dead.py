"""`kernel.dead` and `kernel dead`: nothing is lost by looking, requeueing or choosing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from cli.shop import Shop

from kernel import envelope as wire
from kernel.dead import HELD_MOST, DeadLetters, Match, read_letter, revive
from kernel.emulate.passthrough import Passthrough
from kernel.envelope import decode, encode
from kernel.errors import PortError, Unavailable
from kernel.ports import Delivery, Outgoing

TRACE = (
    'Traceback (most recent call last):\n  File "t.py", line 1, in boom\n    raise\nValueError: no luck\nsecond line\n'
)


@pytest.fixture
def buried(shop: Shop) -> dict[str, str]:
    """Task name -> id of three letters of two queues, and one frame that a broker moved."""
    moved = shop.call("shop.moved", priority=4)
    shop.send("post.dead", moved)
    return {
        "shop.send": shop.bury(shop.call("shop.send", 1, priority=5), "mail", error=TRACE, deliveries=2, priority=5),
        "shop.resize": shop.bury(shop.call("shop.resize"), "mail", kind="unprocessable", reason="unknown task"),
        "other.job": shop.bury(shop.call("other.job"), "post", error="KeyError: 'x'"),
        "shop.moved": decode(moved).id,
    }


def names(rows: Sequence[dict[str, Any]]) -> list[str]:
    return [row["task"] for row in rows]


def test_list_shows_all_and_takes_nothing(shop: Shop, buried: dict[str, str]) -> None:
    found = shop.json("dead", "list")
    assert names(found) == ["shop.send", "shop.resize", "shop.moved", "other.job"]
    assert names(shop.json("dead", "list")) == names(found)
    first, moved = found[0], found[2]
    assert (first["kind"], first["queue"], first["summary"], first["deliveries"]) == (
        "failed", "mail", "ValueError: no luck", 2,
    )  # fmt: skip
    assert first["call"]["args"] == [1]
    assert (moved["kind"], moved["reason"], moved["priority"]) == ("moved", "moved here by the broker", 4)
    assert "ValueError: no luck" in shop.run("dead", "list").stdout


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--queue", "post"], ["shop.moved", "other.job"]),
        (["--task", "shop.send"], ["shop.send"]),
        (["--task", "shop.*"], ["shop.send", "shop.resize", "shop.moved"]),
        (["--kind", "unprocessable"], ["shop.resize"]),
        (["--error", "no luck"], ["shop.send"]),
        (["--error", "unknown"], ["shop.resize"]),
        (["--task", "shop.*", "--limit", "2"], ["shop.send", "shop.resize"]),
        (["--task", "nobody"], []),
    ],
)
def test_filters(shop: Shop, buried: dict[str, str], options: list[str], expected: list[str]) -> None:
    assert names(shop.json("dead", "list", *options)) == expected


def test_show_says_everything(shop: Shop, buried: dict[str, str]) -> None:
    result = shop.run("dead", "show", buried["shop.send"])
    assert result.exit_code == 0
    for text in (
        "task:       shop.send",
        "args:       [1]",
        'File "t.py", line 1, in boom',
        "reason:     the task failed",
    ):
        assert text in result.stdout
    assert shop.json("dead", "show", buried["shop.resize"])[0]["reason"] == "unknown task"
    missing = shop.run("dead", "show", "nobody")
    assert (missing.exit_code, missing.stderr) == (1, "error: no dead letter of nobody\n")


@pytest.mark.parametrize("mask", ["", "?mask=commit", "?mask=commit,lease,inspect"])
def test_requeue_restores_queue_priority_and_retries(shop: Shop, buried: dict[str, str], mask: str) -> None:
    shop.url += mask
    options = ["-Q", "mail", "-Q", "post"]
    assert shop.json("dead", "requeue", *options, "--task", "shop.send")["requeued"] == 1
    (payload,) = shop.payloads("mail")
    again = decode(payload)
    assert (again.id, again.generation, again.attempt) == (buried["shop.send"], 1, 0)
    assert again.extra[wire.PRIORITY] == 5
    assert len(shop.payloads("mail.dead")) == 1
    assert shop.json("dead", "requeue", *options, "--all") == {"requeued": 3, "queues": {"mail": 1, "post": 2}}
    assert [len(shop.payloads(name)) for name in ("mail", "post", "mail.dead", "post.dead")] == [2, 2, 0, 0]


def test_what_is_not_chosen_keeps_its_order_and_is_free_again(shop: Shop, buried: dict[str, str]) -> None:
    before = shop.payloads("mail.dead")
    letters = DeadLetters(shop.app.ports.transport, "mail")
    assert letters.requeue(Match(task="nobody")) == 0
    assert shop.payloads("mail.dead") == before
    assert len(shop.app.ports.transport.receive(["mail.dead"], 10, 0.0)) == 2


def test_many_held_letters_keep_their_order(shop: Shop) -> None:
    for number in range(130):
        shop.bury(shop.call("shop.send", number), "mail")
    before = shop.payloads("mail.dead")
    shop.url += "?max_batch=50"
    assert shop.json("dead", "requeue", "-Q", "mail", "--task", "nobody")["requeued"] == 0
    assert shop.payloads("mail.dead") == before


def test_a_limit_is_kept_over_batches(shop: Shop) -> None:
    for _ in range(230):
        shop.bury(shop.call("shop.send"), "mail")
    letters = DeadLetters(shop.app.ports.transport, "mail")
    assert letters.requeue(limit=120) == 120
    assert [len(shop.payloads(name)) for name in ("mail", "mail.dead")] == [120, 110]
    assert letters.purge(Match(task="shop.*"), limit=10) == 10
    assert len(letters.list(limit=1000)) == 100
    assert letters.purge() == 100


def test_a_requeue_needs_a_filter_or_all(shop: Shop, buried: dict[str, str]) -> None:
    for verb in ("requeue", "purge"):
        result = shop.run("dead", verb, "-Q", "mail")
        assert result.exit_code == 2
        assert f"name what to {verb}" in result.stderr


def test_requeue_by_id(shop: Shop, buried: dict[str, str]) -> None:
    assert shop.json("dead", "requeue", buried["other.job"])["requeued"] == 1
    assert decode(shop.payloads("post")[0]).task == "other.job"
    assert shop.run("dead", "requeue", "nobody").exit_code == 1


def test_purge_asks_and_takes_what_is_chosen(shop: Shop, buried: dict[str, str]) -> None:
    assert shop.run("dead", "purge", "--task", "shop.*", input="n\n").exit_code == 1
    assert len(shop.json("dead", "list")) == 4
    assert shop.json("dead", "purge", "--task", "shop.*", "--yes")["purged"] == 3
    assert names(shop.json("dead", "list")) == ["other.job"]


def test_a_revived_call_starts_anew(shop: Shop) -> None:
    payload = shop.call("shop.send", expires=0.0, countdown=0.0, headers={"a": 1})
    envelope = decode(payload)
    payload = encode(envelope.but(attempt=3, generation=2, extra={**envelope.extra, wire.HOP: 4, 999: "kept"}))
    out = revive(read_letter(payload, "mail"), lambda: time.time() + 1)
    again = decode(out.payload)
    assert (again.attempt, again.generation, again.id, again.body) == (0, 3, envelope.id, envelope.body)
    assert again.extra == {wire.HEADERS: {"a": 1}, 999: "kept"}
    assert (out.queue, out.expires_at) == ("mail", 0.0)


def test_an_expiry_still_to_come_is_kept(shop: Shop) -> None:
    payload = shop.call("shop.send", expires=600)
    out = revive(read_letter(payload, "mail"))
    assert out.expires_at == decode(payload).extra[wire.EXPIRES_AT] == decode(out.payload).extra[wire.EXPIRES_AT]


@pytest.mark.parametrize("junk", [b"", b"\xff", b"\xd0broken", b"\x05later version", b"\x01\xc1"])
def test_bytes_that_are_no_call_are_letters_too(shop: Shop, junk: bytes) -> None:
    shop.send("mail.dead", junk)
    (row,) = shop.json("dead", "list")
    assert (row["task"], row["kind"], row["call"]) == ("", "moved", None)
    assert shop.run("dead", "list").exit_code == 0
    assert shop.json("dead", "requeue", "--all")["requeued"] == 1
    assert shop.payloads("mail") == [junk]


class Failing(Passthrough):
    """A transport whose sends fail; everything else is the inner one's."""

    def __init__(self, inner: Any, error: PortError, **features: bool) -> None:
        super().__init__(inner, replace(inner.features, **features))
        self._error = error

    def send(self, batch: Sequence[Outgoing]) -> None:
        raise self._error

    def commit(self, batch: Sequence[Any]) -> list[Delivery]:
        raise self._error


@pytest.mark.parametrize("commit", [True, False])
def test_what_cannot_be_sent_stays_a_letter(shop: Shop, buried: dict[str, str], commit: bool) -> None:
    before = shop.payloads("mail.dead")
    transport = Failing(shop.app.ports.transport, Unavailable("away"), commit=commit)
    letters = DeadLetters(transport, "mail")
    with pytest.raises(Unavailable):
        letters.requeue()
    assert shop.payloads("mail.dead") == before


class Relapsing(Failing):
    """A transport with a worker behind it to which every task that is sent fails again at once."""

    def __init__(self, shop: Shop, inspect: bool) -> None:
        super().__init__(shop.app.ports.transport, Unavailable("never"), inspect=inspect)
        self._shop = shop

    def commit(self, batch: Sequence[Any]) -> list[Delivery]:
        lost = Passthrough.commit(self, [(delivery, []) for delivery, _ in batch])
        for _, sends in batch:
            for send in sends:
                self._shop.bury(send.payload, send.queue)
        return lost


@pytest.mark.parametrize("inspect", [True, False])
def test_a_task_that_fails_again_is_requeued_once(shop: Shop, inspect: bool) -> None:
    for _ in range(3):
        shop.bury(shop.call("shop.send"), "mail")
    transport = Relapsing(shop, inspect)
    assert DeadLetters(transport, "mail").requeue() == 3
    assert [decode(read_letter(frame, "").payload).generation for frame in shop.payloads("mail.dead")] == [1, 1, 1]


def test_letters_are_listed_where_a_transport_cannot_peek(shop: Shop) -> None:
    ids = [shop.bury(shop.call("shop.send", number), "mail") for number in range(250)]
    transport = Failing(shop.app.ports.transport, Unavailable("never"), inspect=False, peek=False)
    letters = DeadLetters(transport, "mail")
    assert [letter.id for letter in letters.list(limit=120)] == ids[:120]
    assert [letter.id for letter in letters.find(ids[249])] == [ids[249]]
    assert [letter.id for letter in letters.list(limit=1000)] == ids, "they are all there, in their order"


def test_letters_held_back_keep_their_leases(shop: Shop) -> None:
    for _ in range(350):
        shop.bury(shop.call("shop.send"), "mail")
    ticks = iter(range(0, 10_000, 25))  # each look at the clock is 25 s later, the lease 60 s
    extended: list[int] = []

    class Watched(Failing):
        def extend(self, batch: Sequence[Delivery], lease: float) -> list[Delivery]:
            extended.append(len(batch))
            return super().extend(batch, lease)

    watched = Watched(shop.app.ports.transport, Unavailable("never"), peek=False)
    letters = DeadLetters(watched, "mail", lambda: float(next(ticks)))
    assert letters.requeue(Match(task="nobody")) == 0
    assert extended == [100, 200, 300]


# -- much is held back by nobody, and little at a time -----------------------------------------------------


class Counted(Passthrough):
    """A transport that counts what it has given out and what came back; everything else is the inner one's."""

    def __init__(self, inner: Any, **features: bool) -> None:
        super().__init__(inner, replace(inner.features, **features))
        self.out = self.most = 0

    def receive(self, queues: Sequence[str], limit: int, timeout: float) -> list[Delivery]:
        found = super().receive(queues, limit, timeout)
        self.out += len(found)
        self.most = max(self.most, self.out)
        return found

    def _back(self, batch: Sequence[Any], lost: list[Delivery]) -> list[Delivery]:
        self.out -= len(batch)
        return lost

    def ack(self, batch: Sequence[Delivery]) -> list[Delivery]:
        return self._back(batch, super().ack(batch))

    def release(self, batch: Sequence[Delivery]) -> list[Delivery]:
        return self._back(batch, super().release(batch))

    def commit(self, batch: Sequence[Any]) -> list[Delivery]:
        return self._back(batch, super().commit(batch))


def test_nothing_is_taken_where_nothing_matches(shop: Shop) -> None:
    for _ in range(50):
        shop.bury(shop.call("shop.send"), "mail")
    transport = Counted(shop.app.ports.transport)
    letters = DeadLetters(transport, "mail")
    assert letters.requeue(Match(task="nobody")) == letters.purge(Match(task="nobody")) == 0
    assert transport.most == 0, "a look is enough where there is one"
    wanted = shop.bury(shop.call("shop.resize"), "mail")
    for _ in range(300):
        shop.bury(shop.call("shop.send"), "mail")
    assert letters.requeue(Match(ids=frozenset((wanted,)))) == 1
    assert transport.most == 100, "nothing behind the last one that matches is taken"


@pytest.mark.parametrize("lacks", [(), ("peek",), ("commit",), ("peek", "inspect"), ("peek", "inspect", "commit")])
def test_letters_in_front_are_not_all_held_at_once(shop: Shop, lacks: Sequence[str]) -> None:
    """The one that is meant is behind 2,500 others, of which 1,000 at most may be out of the queue at a time."""
    for number in range(2500):
        shop.bury(shop.call("shop.send", number), "mail")
    wanted = shop.bury(shop.call("shop.resize"), "mail")
    shop.bury(shop.call("shop.send", -1), "mail")
    before = sorted(shop.letters("mail"))
    transport = Counted(shop.app.ports.transport, **dict.fromkeys(lacks, False))
    letters = DeadLetters(transport, "mail")
    assert letters.requeue(Match(ids=frozenset((wanted,)))) == 1
    assert transport.most <= HELD_MOST + 100
    assert transport.out == 0
    assert [decode(payload).id for payload in shop.payloads("mail")] == [wanted]
    after = shop.letters("mail")
    assert sorted([*after, wanted]) == before, "none is lost, none is there twice"
    assert letters.requeue(Match(task="nobody")) == 0
    assert sorted([*shop.letters("mail"), wanted]) == before


def test_large_letters_are_bounded_in_bytes(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kernel.dead.HELD_BYTES", 100_000)
    for _ in range(400):
        shop.bury(shop.call("shop.send", "x" * 1000), "mail")
    transport = Counted(shop.app.ports.transport, peek=False)
    assert DeadLetters(transport, "mail").requeue(Match(task="nobody")) == 0
    assert transport.most <= 200
    assert len(shop.letters("mail")) == 400


# -- a bound on how many a second --------------------------------------------------------------------------


@pytest.mark.parametrize(("rate", "count"), [(0.5, 6), (10.0, 60), (200.0, 1000)])
def test_a_rate_spreads_what_comes_back(shop: Shop, rate: float, count: int) -> None:
    for number in range(count):
        shop.bury(shop.call("shop.send", number), "mail")
    at = [0.0]
    sent: list[tuple[float, int]] = []

    class Timed(Counted):
        def commit(self, batch: Sequence[Any]) -> list[Delivery]:
            sent.append((at[0], len(batch)))
            return super().commit(batch)

    def sleep(seconds: float) -> None:
        at[0] += seconds

    transport = Timed(shop.app.ports.transport)
    assert DeadLetters(transport, "mail", lambda: at[0], sleep).requeue(rate=rate) == count
    assert sum(number for _, number in sent) == count
    assert at[0] + 0.01 >= (count - max(number for _, number in sent)) / rate
    assert at[0] <= count / rate + 1.0
    for began, _ in sent:
        within = sum(number for when, number in sent if began <= when < began + 0.99)
        assert within <= max(1.0, rate * 1.2), "at no moment faster than was asked for"
    assert transport.most <= max(1.0, rate * 5.0), "and what waits for its turn is in the queue, not under a lease"


def test_the_rate_of_the_command_line(shop: Shop, buried: dict[str, str]) -> None:
    began = time.monotonic()
    assert shop.json("dead", "requeue", "-Q", "mail", "-Q", "post", "--all", "--rate", "4")["requeued"] == 4
    assert time.monotonic() - began >= 0.4
    assert shop.run("dead", "requeue", "--all", "--rate", "-1").exit_code == 2


def test_the_application_knows_its_dead_letters(shop: Shop, buried: dict[str, str]) -> None:
    letters = shop.app.dead("mail")
    assert [letter.task for letter in letters.list(Match(kind="unprocessable"))] == ["shop.resize"]
    assert letters.requeue(Match(kind="failed"), rate=1000.0) == 1
    assert letters.purge() == 1
    assert shop.app.dead().queue == "default"
