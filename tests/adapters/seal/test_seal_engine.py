"""What a seal promises, on running workers: what runs, what is refused, and that nothing gets stuck or lost."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from adapters.seal.keyrings import KINDS, inline, line, text
from engine.harness import PATIENCE, Engine
from kernel_seal.__main__ import public
from support import eventually

from kernel import Reject, discovery
from kernel.clock import SYSTEM
from kernel.dead import DeadLetters, read_letter, revive
from kernel.envelope import decode_sealed, encode_sealed
from kernel.errors import ConfigError, Rejected, SealError
from kernel.outcome import Entry, encode_entry
from kernel.ports import Outgoing, Record, Transport
from kernel.sealing.sealing import QUEUE, RESULT, Sealing
from kernel.sealing.transport import reader

Make = Callable[..., Engine]
ADAPTERS = ("", "sqlite")


@contextmanager
def outside(engine: Engine) -> Iterator[Transport]:
    """The transport as somebody has it who has no key."""
    adapter = discovery.transport(engine.url)
    adapter.open()
    yield adapter
    adapter.close()


def sealing(kind: str = "hmac", id: str = "k1", key: str = "") -> Sealing:
    """A seal that the application knows nothing of."""
    return Sealing(discovery.seal(f"{kind}://?key={id}:{text(key or id)}"), "refuse", SYSTEM)


def sent(engine: Engine, count: int = 1, queue: str = "default") -> list[bytes]:
    """What is ready in a queue, as it travels; it is taken."""
    with outside(engine) as transport:
        found = transport.receive([queue], count, PATIENCE)
        transport.ack(found)
    assert len(found) == count
    return [delivery.payload for delivery in found]


def put(engine: Engine, *payloads: bytes, queue: str = "default") -> None:
    """Put bytes into a queue, as they are."""
    with outside(engine) as transport:
        transport.send([Outgoing(queue, payload) for payload in payloads])


def adder(engine: Engine) -> Any:
    @engine.task
    def add(a: int, b: int) -> int:
        return a + b

    return add


# -- what runs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ADAPTERS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_sealed_call_runs_and_its_result_comes_back(make: Make, kind: str, url: str) -> None:
    engine = make(url, seal=inline(kind))
    add = adder(engine)

    async def several() -> list[int]:
        results = await asyncio.gather(*(add.adelay(number, 1) for number in range(5)))
        return [await result.aget(PATIENCE) for result in results]

    with engine.run():
        assert engine.get(add.delay(1, 2)) == 3
        assert [engine.get(each) for each in engine.app.send_many(add, [(1, 1), (2, 2)])] == [2, 4]
        with engine.app.batch():
            late = add.delay(20, 3)
        assert engine.get(late) == 23
        assert asyncio.run(several()) == [1, 2, 3, 4, 5]
        engine.empty()
    assert engine.total("default.dead") == 0


def test_what_is_encrypted_is_nowhere_in_the_clear(make: Make, tmp_path: Path) -> None:
    engine = make("sqlite", seal=inline("aes"))

    @engine.task(dead_letter=True)
    def reverse(word: str) -> str:
        if word == "unspeakable":
            raise ValueError(word)
        return word[::-1]

    result = reverse.delay("ineffable")
    travelling = sent(engine)[0]
    assert b"ineffable" not in travelling
    assert b"reverse" not in travelling
    put(engine, travelling)
    with engine.run():
        assert engine.get(result) == "elbaffeni"
        engine.fails(reverse.delay("unspeakable"))
        assert "unspeakable" in engine.letter().error
    stored = b"".join(file.read_bytes() for file in tmp_path.glob("kernel.db*") if file.is_file())
    assert len(stored) > 10_000
    for word in (b"elbaffeni", b"ineffable", b"unspeakable"):
        assert word not in stored


@pytest.mark.parametrize("url", ADAPTERS)
def test_what_a_worker_sends_on_is_sealed_anew(make: Make, url: str) -> None:
    """A retry, a delay, a call of a task by a task, a rejected one that goes back: none of it is refused, though
    the window is shorter than any of their ways."""
    engine = make(url, replay_window=0.001)
    runs: list[int] = []

    @engine.task(bind=True, default_retry_delay=0.2, max_retries=3)
    def again(self: Any) -> int:
        runs.append(self.request.retries)
        if self.request.retries < 2:
            raise self.retry()
        return self.request.retries

    @engine.task
    def parent() -> str:
        return again.apply_async(countdown=0.2).id

    with engine.run():
        child = engine.get(parent.delay())
        assert engine.get(engine.app.result(child)) == 2
        engine.empty()
    assert runs == [0, 1, 2]
    assert engine.total("default.dead") == 0


def test_a_task_that_nobody_knows_yet_is_sent_on_sealed(make: Make) -> None:
    engine = make()
    late = engine.frame("late", id="x")
    engine.app.post([Outgoing("default", late)])
    with engine.run():
        eventually(lambda: (engine.size().delayed, engine.size().ready) == (1, 0), what="it is sent on")
        with outside(engine) as transport:
            (payload,) = transport.peek("default", 1)  # type: ignore[attr-defined]
    opened, due_at = sealing().open(payload, QUEUE, "default")
    assert b"late" in opened
    assert due_at > time.time() - PATIENCE


def test_a_frame_of_a_newer_version_travels_sealed_and_keeps_its_seal_in_the_dead_letters(make: Make) -> None:
    engine = make(unknown_for=0.0)
    put(engine, sealing().seal(b"\x02\x90", QUEUE, "default"))
    with engine.run():
        letter = engine.letter()
    assert "newer version" in letter.reason
    assert (letter.frame, letter.fault) == (b"\x02\x90", "")
    assert decode_sealed(letter.payload) is not None


@pytest.mark.parametrize("url", ADAPTERS)
def test_a_redelivery_opens_again(make: Make, url: str) -> None:
    engine = make(url, replay_window=0.001)
    add = adder(engine)
    result = add.delay(1, 2)
    engine.lose()
    with engine.run():
        assert engine.get(result) == 3
        engine.empty()
    assert engine.total("default.dead") == 0


def test_emulated_priorities_are_sealed_for_the_home_queue(make: Make) -> None:
    engine = make("memory://sealedlevels?mask=priorities")
    add = adder(engine)
    results = [add.apply_async((number, 0), priority=number) for number in range(10)]
    engine.app.ports.transport.declare(["default"])
    urgent = sent(engine, queue="default.p3")[0]
    assert sealing().open(urgent, QUEUE, "default")[0]
    put(engine, urgent, queue="default.p3")
    with engine.run():
        assert [engine.get(result) for result in results] == list(range(10))
    assert engine.total("default.dead") == 0


# -- what is refused ---------------------------------------------------------------------------------------


def altered(frame: bytes) -> bytes:
    return frame[:-1] + bytes((frame[-1] ^ 1,))


def redated(frame: bytes) -> bytes:
    read = decode_sealed(frame)
    assert read is not None
    read.sent_at += 1.0
    return encode_sealed(read)


ATTACKS: dict[str, tuple[Callable[[bytes, bytes], bytes], str]] = {
    "unsealed": (lambda plain, frame: plain, "not sealed, and only sealed messages are taken here"),
    "altered": (lambda plain, frame: altered(frame), "not what the key 'k1' sealed"),
    "another time": (lambda plain, frame: redated(frame), "not what the key 'k1' sealed"),
    "unknown key": (lambda plain, frame: sealing(id="k9").seal(plain, QUEUE, "default"), "'k9', which is not among k1"),
    "wrong key": (lambda plain, frame: sealing(key="other").seal(plain, QUEUE, "default"), "not what the key 'k1'"),
    "another queue": (lambda plain, frame: sealing().seal(plain, QUEUE, "mail"), "sealed for another place"),
    "a result": (lambda plain, frame: sealing().seal(plain, RESULT, "default"), "sealed for another place"),
    "damaged": (lambda plain, frame: frame[:9], "damaged sealed frame"),
    "garbage": (lambda plain, frame: b"\xe0\xff", "damaged sealed frame"),
    "empty": (lambda plain, frame: b"", "not sealed"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_is_not_sealed_as_it_should_be_is_a_dead_letter_with_the_reason(make: Make, attack: str) -> None:
    engine = make()
    add = adder(engine)
    plain = engine.frame("add", b"[[6,6],{}]", id="forged")
    forge, reason = ATTACKS[attack]
    forged = forge(plain, sealing().seal(plain, QUEUE, "default"))
    put(engine, forged)
    with engine.run() as running:
        letter = engine.letter()
        assert (letter.kind, letter.payload) == ("unprocessable", forged)
        assert reason in letter.reason
        assert engine.get(add.delay(1, 2)) == 3, "the worker goes on"
        assert running.error is None
    assert engine.app.result("forged").state == "PENDING"


def test_a_copy_that_comes_late_is_refused(make: Make) -> None:
    engine = make(replay_window=0.05)
    add = adder(engine)
    with engine.run():
        assert engine.get(add.delay(0, 0)) == 0
        kept = sealing().seal(engine.frame("add", b"[[6,6],{}]", id="replayed"), QUEUE, "default")
        put(engine, kept)
        assert engine.get(engine.app.result("replayed")) == 12
        engine.empty()
        engine.app.result("replayed").forget()
        window = engine._running[0].worker.transport._window  # type: ignore[attr-defined]
        done_at = time.time()
        eventually(lambda: window._empty_at.get("default", 0.0) > done_at, 2 * PATIENCE, "the queue was seen empty")
        put(engine, kept)
        assert "too old by" in engine.letter().reason
    assert engine.app.result("replayed").state == "PENDING"


def test_a_worker_without_a_seal_says_which_setting_is_missing(make: Make) -> None:
    engine = make()
    add = adder(engine)
    add.delay(1, 2)
    with engine.run(seal=""):
        eventually(lambda: engine.total("default.dead") == 1, what="it is refused")
    (letter,) = DeadLetters(engine.transport, "default").list()
    assert (
        letter.reason
        == "sealed with the key 'k1', and no seal is configured here: set seal= (KERNEL_SEAL) to the keys that open it"
    )
    assert (letter.task, letter.fault) == ("add", ""), "who has the key can read it"


def test_settings_that_mean_nothing_without_a_seal_are_refused(make: Make) -> None:
    with pytest.raises(ConfigError, match="replay_window needs a seal"):
        make(seal="", replay_window=60.0).app.ports  # noqa: B018
    with pytest.raises(ConfigError, match="unsealed must be one of refuse, accept, send"):
        make(unsealed="maybe")


# -- keys change -------------------------------------------------------------------------------------------


def test_keys_are_rotated_while_messages_wait(make: Make, keys: Callable[..., str]) -> None:
    old, new = line("old", "hmac"), line("new", "aes")
    both, after = keys("hmac", old, new, name="both"), keys("aes", new, old, name="after")
    engine = make(seal=keys("hmac", old))
    add = adder(engine)
    waiting = add.delay(1, 2)
    with engine.run(seal=both) as first:
        assert engine.get(waiting) == 3
        first.stop()
    second = make(engine.url, seal=after)
    later = adder(second).delay(3, 4)
    with engine.run(seal=both):
        assert second.get(later) == 7
        assert second.app.result(waiting.id).get(0) == 3
    with pytest.raises(SealError, match="key 'old', which is not among new"):
        make(engine.url, seal=keys("aes", new, name="end")).app.result(waiting.id).get(0)


def test_sealing_is_switched_on_in_three_steps(make: Make) -> None:
    """At each step, old and new applications send to each other's workers, and nothing is refused."""
    steps: list[dict[str, Any]] = [
        {"seal": ""},
        {"seal": inline("hmac"), "unsealed": "send"},
        {"seal": inline("hmac"), "unsealed": "accept"},
        {"seal": inline("hmac"), "unsealed": "refuse"},
    ]
    engines = [make("memory://switching", **step) for step in steps]
    for number, (before, after) in enumerate(pairwise(engines)):
        for sender, worker in ((before, after), (after, before)):
            add, _ = adder(sender), adder(worker)
            with worker.run():
                assert sender.get(add.delay(number, 1)) == number + 1
            sender._declared.clear()
            worker._declared.clear()
    assert engines[0].total("default.dead") == 0
    adder(engines[1]).delay(1, 1)
    assert decode_sealed(sent(engines[0])[0]) is None
    adder(engines[2]).delay(1, 1)
    assert decode_sealed(sent(engines[0])[0]) is not None


def test_a_worker_needs_a_key_that_seals(make: Make, keys: Callable[..., str], tmp_path: Path) -> None:
    keys("ed25519", line("k1", "ed25519"), name="secret")
    url = keys("ed25519", *public(str(tmp_path / "secret")), name="public")
    engine = make(seal=url)
    with pytest.raises(ConfigError, match="a worker needs a key of its own"):
        engine.start()
    with pytest.raises(ConfigError, match="nothing was sent"):
        adder(engine).delay(1, 2)


# -- results -----------------------------------------------------------------------------------------------


def test_a_result_of_another_task_is_refused(make: Make) -> None:
    engine = make()
    add = adder(engine)
    with engine.run():
        first, second = add.delay(1, 2), add.delay(3, 4)
        assert (engine.get(first), engine.get(second)) == (3, 7)
    store = discovery.results(engine.url)
    store.open()
    (value,) = store.get([first.id])
    assert value is not None
    store.put([Record(second.id, value, True, (9, 0, 0))], 60.0)
    for forged in (value, encode_entry(Entry("SUCCESS", "json", b"9"))):
        store.put([Record(second.id, forged, True, (10, 0, 0))], 60.0)
        with pytest.raises(SealError, match=f"the result of {second.id} is not"):
            engine.app.result(second.id).get(PATIENCE)
    store.close()
    assert engine.app.result(first.id).get(PATIENCE) == 3


def test_a_forged_record_stops_no_task(make: Make) -> None:
    """A final record that stands says that a redelivered message was done; one that does not open says nothing."""
    engine = make(track_started=True)
    ran = threading.Event()

    @engine.task
    def work() -> None:
        ran.set()

    result = work.delay()
    store = discovery.results(engine.url)
    store.open()
    store.put([Record(result.id, encode_entry(Entry("SUCCESS", "json", b"9")), True, (0, 0, 9))], 60.0)
    engine.lose()
    with engine.run() as running:
        assert ran.wait(PATIENCE)
        engine.empty()
        assert running.error is None
    store.close()


# -- dead letters ------------------------------------------------------------------------------------------


def test_a_dead_letter_is_sent_again_with_a_new_seal(make: Make) -> None:
    engine = make(replay_window=0.001)
    mended = threading.Event()

    @engine.task
    def work() -> str:
        if not mended.is_set():
            raise Reject("not yet")
        return "done"

    with engine.run():
        result = work.delay()
        engine.fails(result)
        letter = engine.letter()
        assert (letter.task, letter.reason) == ("work", "not yet")
        assert decode_sealed(letter.payload) is not None
        mended.set()
        assert DeadLetters(engine.transport, "default").requeue() == 1
        eventually(lambda: engine.app.result(result.id).successful(), what="the new outcome stands")
        engine.empty()


def test_a_forged_letter_is_not_sent_again(make: Make) -> None:
    """Whoever requeues puts a seal on it: what has none of its own stays where it is."""
    engine = make()
    adder(engine)
    plain = engine.frame("add", b"[[6,6],{}]")
    put(engine, plain, queue="default.dead")
    put(engine, plain)
    with engine.run():
        engine.letters(2)
        letters = DeadLetters(engine.transport, "default")
        assert letters.requeue() == 0
        assert (letters.unopened, letters.fault[:10]) == (2, "not sealed")
        assert engine.total("default.dead") == 2
        assert letters.purge() == 2


def test_what_a_broker_moves_by_itself_is_sent_again(make: Make) -> None:
    engine = make()
    add = adder(engine)
    result = add.delay(1, 2)
    put(engine, *sent(engine), queue="default.dead")
    letters = DeadLetters(engine.transport, "default")
    assert letters.list()[0].kind == "moved"
    assert letters.requeue() == 1
    with engine.run():
        assert engine.get(result) == 3


def test_a_message_that_outgrows_the_transport_as_a_letter_keeps_its_own_seal(make: Make) -> None:
    engine = make("memory://sealedsmall?max_payload=400", seal=inline("hmac"))

    @engine.task(dead_letter=True)
    def work(text: str) -> None:
        raise ValueError("x" * 300)

    with engine.run():
        result = work.delay("y" * 100)
        engine.fails(result)
        letter = engine.letter()
    assert (letter.kind, letter.task) == ("moved", "work")
    assert sealing().open(letter.payload, QUEUE, "default")[0]


def test_the_caller_is_told_when_a_message_is_too_large_with_its_seal(make: Make) -> None:
    """By the check before the send, which counts the seal: the transport never sees one that it would refuse."""
    engine = make("memory://sealedtight?max_payload=300")
    add = adder(engine)
    fits, told = 0, set()
    for size in range(300):
        try:
            add.delay("x" * size, 1)
            fits += 1
        except Rejected as error:
            told.add("more than the limit of" in str(error))
    assert told == {True}
    largest = max(len(payload) for payload in sent(engine, fits))
    assert 0 < 300 - largest < 40


def test_a_letter_that_does_not_open_cannot_be_revived(make: Make) -> None:
    engine = make()
    letter = read_letter(engine.frame("add"), "default", reader(engine.transport))
    with pytest.raises(SealError, match="not sealed"):
        revive(letter)
