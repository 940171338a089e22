"""What a broker does that the suite cannot know: refusals, alarms, queues of others. Nothing here ends the node."""

from __future__ import annotations

import time

import pytest
from adapters.rabbitmq.conftest import Opens, bare
from services.rabbitmq import control, shared_rabbitmq
from services.server import Server, free_port
from support import eventually

from kernel.errors import ConfigError, PartialSend, PortError, Rejected, Unavailable
from kernel.ports import Outgoing

QUORUM = {"x-queue-type": "quorum"}


def ready(url: str, queue: str) -> int:
    """Messages that the broker could give to somebody now."""
    with bare(url) as channel:
        count: int = channel.queue_declare(queue, passive=True).method.message_count
        return count


# -- opening -----------------------------------------------------------------------------------------------------


def test_a_wrong_password_is_for_the_operator(opens: Opens) -> None:
    url = shared_rabbitmq().replace("guest:guest@", "guest:topsecret@")
    with pytest.raises(ConfigError, match="user 'guest' or its password is refused") as caught:
        opens(url)
    assert "topsecret" not in str(caught.value)


def test_a_wrong_vhost_is_for_the_operator(opens: Opens) -> None:
    with pytest.raises(ConfigError, match="no virtual host 'nowhere'"):
        opens(f"{shared_rabbitmq()}nowhere")


def test_nobody_there_is_unavailable(opens: Opens) -> None:
    with pytest.raises(Unavailable, match="refused") as caught:
        opens(f"amqp://127.0.0.1:{free_port()}/")
    assert caught.value.sent == "no"


def test_a_host_that_is_away_is_passed_over(opens: Opens, names: str) -> None:
    url = shared_rabbitmq().replace("@", f"@127.0.0.1:{free_port()},")
    transport = opens(url, f"prefix={names}")
    transport.send([Outgoing("q", b"x")])
    assert transport.ack(transport.receive(["q"], 1, 5.0)) == []


# -- queues of others --------------------------------------------------------------------------------------------


def test_a_queue_that_differs_is_named_with_the_argument(opens: Opens, names: str) -> None:
    opens(shared_rabbitmq(), f"prefix={names}").declare(["q"])
    other = opens(shared_rabbitmq(), f"prefix={names}&delivery_limit=5")
    with pytest.raises(Rejected, match=rf"'{names}q' is there with another x-delivery-limit") as caught:
        other.declare(["q"])
    assert "\n" not in str(caught.value)
    other.declare(["a"])


@pytest.mark.parametrize("options", ["", "&declare=no"])
def test_a_quorum_queue_without_dead_letters_is_refused(opens: Opens, names: str, options: str) -> None:
    with bare(shared_rabbitmq()) as channel:
        channel.queue_declare(f"{names}q", durable=True, arguments=QUORUM | {"x-max-length": 9, "x-delivery-limit": 3})
    with pytest.raises(Rejected, match=r"x-dead-letter-exchange|x-max-length"):
        opens(shared_rabbitmq(), f"prefix={names}{options}").declare(["q"])


def test_an_existing_queue_is_used_as_it_is(opens: Opens, names: str) -> None:
    letters = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "elsewhere"}
    with bare(shared_rabbitmq()) as channel:
        channel.queue_declare(f"{names}q", durable=True, arguments=QUORUM | letters | {"x-delivery-limit": 7})
        channel.queue_declare(f"{names}a", durable=True)
        channel.exchange_declare(f"{names}ex", "direct", auto_delete=True)
        for letter in "qa":
            channel.queue_bind(f"{names}{letter}", f"{names}ex", f"task.{names}{letter}")
        transport = opens(shared_rabbitmq(), f"prefix={names}&declare=no&exchange={names}ex&routing_key=task.{{queue}}")
        transport.declare(["q", "a"])
        transport.send([Outgoing("q", b"1"), Outgoing("a", b"2")])
        found = transport.receive(["q"], 1, 5.0) + transport.receive(["a"], 1, 5.0)
        assert [delivery.payload for delivery in found] == [b"1", b"2"]
        assert transport.ack(found) == []
        with pytest.raises(Rejected, match="no queue"):
            transport.send([Outgoing("b", b"3")])


def test_a_message_without_a_route_is_an_error(opens: Opens, names: str) -> None:
    transport = opens(shared_rabbitmq(), f"prefix={names}")
    transport.declare(["q", "a"])
    with bare(shared_rabbitmq()) as channel:
        channel.queue_delete(f"{names}q")
    with pytest.raises(PartialSend) as caught:
        transport.send([Outgoing("a", b"kept"), Outgoing("q", b"lost"), Outgoing("a", b"kept too")])
    assert list(caught.value.errors) == [1]
    assert caught.value.errors[1].sent == "no"
    transport.send([Outgoing("q", b"again")])
    assert [delivery.payload for delivery in transport.receive(["q"], 1, 5.0)] == [b"again"]


def test_dead_letters_are_received_by_who_declared_only_their_queue(opens: Opens, names: str) -> None:
    transport = opens(shared_rabbitmq(), f"prefix={names}")
    transport.declare(["q"])
    transport.send([Outgoing("q.dead", b"letter")])
    found = transport.receive(["q.dead"], 100, 5.0)
    assert [delivery.payload for delivery in found] == [b"letter"]
    assert transport.ack(found) == []


# -- what is held ------------------------------------------------------------------------------------------------


def test_what_nobody_asks_for_goes_back(opens: Opens, names: str) -> None:
    url = shared_rabbitmq()
    transport, other = opens(url, f"prefix={names}"), opens(url, f"prefix={names}")
    transport.send([Outgoing("q", b"%d" % number) for number in range(60)])
    held = transport.receive(["q"], 20, 5.0)
    started_at = time.monotonic()
    found = []
    while len(found) < 60 - len(held):
        found += other.receive(["q"], 1, 1.0)
    assert {delivery.payload for delivery in held + found} == {b"%d" % number for number in range(60)}
    assert time.monotonic() - started_at < 2.0
    assert transport.ack(held) == []


def test_one_long_task_keeps_nothing_from_others(opens: Opens, names: str) -> None:
    transport = opens(shared_rabbitmq(), f"prefix={names}")
    transport.send([Outgoing("q", b"long"), Outgoing("q", b"next")])
    transport.receive(["q"], 1, 5.0)
    other = opens(shared_rabbitmq(), f"prefix={names}")
    found = other.receive(["q"], 1, 1.0)
    assert [(delivery.payload, delivery.redelivered) for delivery in found] == [(b"next", 0)]


def test_a_lost_connection_marks_its_receipts(opens: Opens, names: str) -> None:
    transport = opens(shared_rabbitmq(), f"prefix={names}")
    transport.send([Outgoing("q", b"a"), Outgoing("q", b"b")])
    acked, held = transport.receive(["q"], 2, 5.0)
    assert transport.ack([acked]) == []
    running = transport._running
    assert running is not None
    running.engine.loop.call(lambda: running.link.drop(ConnectionError("cut")))

    def again() -> bool:
        try:
            return bool(transport.receive(["q"], 1, 1.0))
        except Unavailable:
            return False

    eventually(again, what="the message comes back")
    assert transport.ack([held]) == [held]
    assert transport.release([held])[0] is held
    assert transport.ack([acked]) == []


def test_a_deleted_queue_is_declared_again(opens: Opens, names: str) -> None:
    transport = opens(shared_rabbitmq(), f"prefix={names}")
    assert transport.receive(["q"], 10, 0.1) == []
    with bare(shared_rabbitmq()) as channel:
        channel.queue_delete(f"{names}q")

    def works() -> bool:
        try:
            transport.send([Outgoing("q", b"x")])
            return bool(transport.receive(["q"], 10, 1.0))
        except PortError:
            return False

    eventually(works, what="the queue is there again")


# -- alarms ------------------------------------------------------------------------------------------------------


def test_an_alarm_is_told_and_ends_without_a_restart(node: tuple[Server, str], opens: Opens) -> None:
    server, url = node
    transport = opens(url, "timeout=3")
    transport.send([Outgoing("q", b"before")])
    held = transport.receive(["q"], 1, 5.0)
    control(server, "set_vm_memory_high_watermark", "0.00000001")
    try:
        # The broker blocks a connection with the first message after the alarm, and may store that one.
        def told() -> bool:
            try:
                transport.send([Outgoing("q", b"during")])
            except Unavailable as error:
                return "RabbitMQ blocks publishers" in str(error)
            return False

        eventually(told, timeout=20.0, what="the alarm is told")
        started_at = time.monotonic()
        with pytest.raises(Unavailable, match="RabbitMQ blocks publishers") as caught:
            transport.send([Outgoing("q", b"refused")])
        assert time.monotonic() - started_at < 1.0
        assert caught.value.sent == "no"
        assert transport.ack(held) == [], "what was received is settled all the same"
    finally:
        control(server, "set_vm_memory_high_watermark", "0.4")

    def sends() -> bool:
        try:
            transport.send([Outgoing("q", b"after")])
        except Unavailable:
            return False
        return True

    eventually(sends, timeout=20.0, what="the alarm ends")
    found: list[bytes] = []
    while b"after" not in found:
        found += [delivery.payload for delivery in transport.receive(["q"], 1, 5.0)]
    assert b"before" not in found
    assert b"refused" not in found


# -- long tasks --------------------------------------------------------------------------------------------------


def test_heartbeats_go_on_while_a_task_computes(opens: Opens, names: str) -> None:
    transport = opens(shared_rabbitmq(), f"prefix={names}&heartbeat=1")
    transport.send([Outgoing("q", b"x")])
    held = transport.receive(["q"], 1, 5.0)
    until = time.monotonic() + 3.5  # the broker ends a connection that is silent for two heartbeats
    while time.monotonic() < until:
        sum(range(1000))
    assert transport.ack(held) == []
    assert transport.features.lease_total == 1800.0


def test_consumer_timeout_is_the_longest_that_a_message_is_held(opens: Opens, names: str) -> None:
    transport = opens(shared_rabbitmq(), f"prefix={names}&consumer_timeout=60")
    assert transport.features.lease_total == 60.0
    assert transport.features.lease is None
    assert not hasattr(transport, "extend")
