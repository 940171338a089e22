"""`kernel queues`."""

from __future__ import annotations

import json

import pytest
from cli.shop import Shop
from click.testing import CliRunner

from kernel.cli.main import cli
from kernel.envelope import Carrier, decode, encode_carrier


def test_sizes(shop: Shop) -> None:
    for _ in range(3):
        shop.app.send_task("shop.send", queue="mail")
    shop.app.send_task("shop.send", queue="mail", countdown=60)
    shop.app.ports.transport.receive(["mail"], 1, 0.0)
    shop.bury(shop.call("shop.send"), "mail")
    rows = {row["queue"]: row for row in shop.json("queues")}
    assert set(rows) == {"default", "elsewhere", "mail"}
    mail = rows["mail"]
    assert (mail["ready"], mail["delayed"], mail["in_flight"], mail["dead"]) == (2, 1, 1, 1)
    assert 0 <= mail["oldest_age"] < 5
    assert rows["default"]["oldest_age"] is None
    assert [row["queue"] for row in shop.json("queues", "-Q", "mail", "-Q", "new")] == ["mail", "new"]
    table = shop.run("queues").stdout
    assert table.splitlines()[0].split() == ["queue", "ready", "delayed", "in", "flight", "dead", "oldest"]
    assert table.splitlines()[2].split() == ["default", "0", "0", "0", "0", "-"]


def test_a_transport_that_cannot_look(shop: Shop) -> None:
    result = CliRunner().invoke(cli, ["queues", "--transport", f"{shop.url}?mask=inspect"])
    assert result.exit_code == 2
    assert "cannot look into its queues" in result.stderr


def test_peek_takes_nothing(shop: Shop) -> None:
    shop.app.send_task("shop.send", ("you",), {"n": 1}, queue="mail", priority=3)
    shop.send("mail", b"\xffnonsense", encode_carrier(Carrier(1.0, 2, b"later")))
    shop.bury(shop.call("shop.lost"), "mail")
    found = shop.json("queues", "peek", "mail")
    assert shop.json("queues", "peek", "mail") == found
    live, unknown, carrier = found
    assert (live["frame"], live["task"], live["args"], live["kwargs"]) == ("live", "shop.send", ["you"], {"n": 1})
    assert live["priority"] == 3
    assert (unknown["frame"], unknown["bytes"]) == ("unknown", 9)
    assert (carrier["frame"], carrier["hops"]) == ("carrier", 2)
    assert "'you', n=1" in shop.run("queues", "peek", "mail").stdout
    assert shop.json("queues", "peek", "mail.dead")[0]["frame"] == "dead"
    assert len(shop.json("queues", "peek", "mail", "--limit", "1")) == 1


def test_purge_asks(shop: Shop) -> None:
    for _ in range(2):
        shop.app.send_task("shop.send", queue="mail")
    refused = shop.run("queues", "purge", "mail", input="n\n")
    assert refused.exit_code == 1
    assert "Drop 2 messages of mail?" in refused.stderr
    assert len(shop.payloads("mail")) == 2
    assert shop.json("queues", "purge", "mail", "--yes") == {"queue": "mail", "dropped": 2}
    assert shop.payloads("mail") == []


@pytest.mark.parametrize("mask", ["", "?mask=commit", "?mask=commit,lease"])
def test_move_keeps_payloads_and_order(shop: Shop, mask: str) -> None:
    shop.url += mask
    ids = [shop.app.send_task("shop.send", queue="mail").id for _ in range(250)]
    before = shop.payloads("mail")
    assert shop.json("queues", "move", "mail", "post", "--limit", "101")["moved"] == 101
    assert len(shop.payloads("mail")) == 149
    rest = shop.app.ports.transport.receive(["mail"], 1000, 0.0)
    assert [delivery.redelivered for delivery in rest] == [0] * 149, "given back, not abandoned"
    shop.app.ports.transport.release(rest)
    assert shop.json("queues", "move", "mail", "post")["moved"] == 149
    assert shop.payloads("post") == before
    assert [decode(payload).id for payload in shop.payloads("post")] == ids
    assert shop.payloads("mail") == []


def test_move_to_itself_is_refused(shop: Shop) -> None:
    assert shop.run("queues", "move", "mail", "mail").exit_code == 2


def test_what_cannot_be_sent_stays(shop: Shop) -> None:
    shop.app.send_task("shop.send", queue="mail")
    shop.app.send_task("shop.send", ("x" * 500,), queue="mail")
    shop.url += "?mask=commit&max_payload=300"
    result = shop.run("queues", "move", "mail", "post")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: 1 messages not sent")
    assert [len(shop.payloads(name)) for name in ("mail", "post")] == [1, 1]


def test_output_is_json_and_nothing_else(shop: Shop) -> None:
    assert json.loads(shop.run("queues", "--json").stdout)
