"""The tools that look after queues, with the keys and without."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from adapters.seal.keyrings import inline, text
from cli.shop import Shop
from click.testing import CliRunner, Result

from kernel import Kernel, discovery
from kernel.cli.main import cli
from kernel.envelope import Dead, decode, decode_sealed, encode_dead
from kernel.ports import Outgoing

_numbers = itertools.count()


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """A shop whose messages are sealed; its command line has the keys from the environment."""
    monkeypatch.setenv("SHOP_KEYS", f"k1 hmac {text('k1')}")
    monkeypatch.setenv("KERNEL_SEAL", "hmac://?env=SHOP_KEYS")
    url = f"memory://sealedcli{next(_numbers)}"
    with Kernel("shop", transport=url) as app:
        yield Shop(app, url)


def keyless(shop: Shop, *arguments: str, seal: str = "") -> Result:
    """The same command without the keys, or with others."""
    return CliRunner(env={"KERNEL_SEAL": seal}).invoke(cli, [*arguments, "--transport", shop.url])


NO_KEY = "sealed with the key 'k1', and no seal is configured here: set seal= (KERNEL_SEAL) to the keys that open it"


def travelling(shop: Shop, queue: str) -> list[bytes]:
    """What is in a queue, as it travels."""
    adapter = discovery.transport(shop.url)
    adapter.open()
    found: list[bytes] = adapter.peek(queue, 100)  # type: ignore[attr-defined]
    adapter.close()
    return found


def bury(shop: Shop) -> str:
    """A letter of a call that was sealed for the queue that it came from."""
    shop.app.send_task("shop.send", [1], queue="mail", priority=5)
    (payload,) = travelling(shop, "mail")
    (delivery,) = shop.app.ports.transport.receive(["mail"], 1, 0.0)
    shop.app.ports.transport.ack([delivery])
    letter = Dead(payload, "mail", "failed", "the task failed", "ValueError: no luck", priority=5)
    shop.send("mail.dead", encode_dead(letter))
    return decode(delivery.payload).id


def test_letters_are_listed_shown_and_requeued_with_the_key(shop: Shop) -> None:
    id = bury(shop)
    (row,) = shop.json("dead", "list")
    assert (row["task"], row["kind"], row["call"]["args"]) == ("shop.send", "failed", [1])
    assert "ValueError: no luck" in shop.run("dead", "show", id).stdout
    assert shop.json("dead", "requeue", "--task", "shop.*")["requeued"] == 1
    (again,) = travelling(shop, "mail")
    assert decode_sealed(again) is not None
    (peeked,) = shop.json("queues", "peek", "mail")
    assert (peeked["frame"], peeked["id"]) == ("live", id)


def test_without_the_key_every_tool_says_so_in_one_line(shop: Shop) -> None:
    id = bury(shop)
    listed = keyless(shop, "dead", "list", "--json")
    (row,) = json.loads(listed.stdout)
    assert (listed.exit_code, row["kind"], row["task"], row["reason"]) == (0, "sealed", "", NO_KEY)
    note = f"note: 1 message left, because the seal does not open here: {NO_KEY}\n"
    assert listed.stderr == note
    shown = keyless(shop, "dead", "show", id)
    assert (shown.exit_code, shown.stderr) == (1, f"{note}error: no dead letter of {id}\n")
    for command in (("dead", "requeue", "--all"), ("dead", "requeue", "--task", "shop.*")):
        requeued = keyless(shop, *command)
        assert (requeued.stdout, requeued.stderr) == ("requeued 0 letters\n", note)
    assert len(travelling(shop, "mail.dead")) == 1


def test_with_another_key_the_missing_one_is_named(shop: Shop) -> None:
    bury(shop)
    listed = keyless(shop, "dead", "list", seal=inline("hmac", "k2"))
    assert "sealed with the key 'k1', which is not among k2" in listed.stderr
    assert len(travelling(shop, "mail.dead")) == 1


def test_letters_can_be_purged_without_the_key(shop: Shop) -> None:
    bury(shop)
    assert keyless(shop, "dead", "purge", "--kind", "sealed", "--yes").stdout == "purged 1 letter\n"


def test_a_look_into_a_queue_without_the_key(shop: Shop) -> None:
    shop.app.send_task("shop.send", [1], queue="mail")
    result = keyless(shop, "queues", "peek", "mail", "--json")
    assert [(row["frame"], row["reason"]) for row in json.loads(result.stdout)] == [("sealed", NO_KEY)]
    assert "(sealed)" in keyless(shop, "queues", "peek", "mail").stdout


def test_moving_seals_for_the_new_queue_and_leaves_what_does_not_open(shop: Shop) -> None:
    shop.app.send_task("shop.send", [1], queue="mail")
    adapter = discovery.transport(shop.url)
    adapter.open()
    adapter.send([Outgoing("mail", b"forged")])
    adapter.close()
    result = shop.run("queues", "move", "mail", "post")
    assert result.stdout == "moved 1 message from mail to post\n"
    assert "note: 1 message left, because the seal does not open here: not sealed" in result.stderr
    assert travelling(shop, "mail") == [b"forged"]
    (delivery,) = shop.app.ports.transport.receive(["post"], 10, 0.0)
    assert b"shop.send" in delivery.payload
    shop.app.ports.transport.release([delivery])
    assert keyless(shop, "queues", "move", "post", "mail", seal=inline("hmac", "k2")).stdout.startswith("moved 0")
    assert len(travelling(shop, "post")) == 1


def test_a_seal_that_cannot_be_is_one_line(shop: Shop) -> None:
    for seal, told in (
        (text("k1"), "'***' is no URL of a seal"),
        (f"hmac://?key={text('k1')}", "the id of a key has"),
        ("hmac://?env=SHOP_NONE", "SHOP_NONE, which is to hold the keys, is not set"),
    ):
        result = keyless(shop, "dead", "list", seal=seal)
        assert result.exit_code == 2
        assert result.stderr.startswith("error: ")
        assert result.stderr.count("\n") == 1
        assert told in result.stderr
        assert text("k1")[:8] not in result.output


def test_settings_show_where_the_keys_are_and_no_key(shop: Shop) -> None:
    assert shop.json("config")["seal"]["value"] == "hmac://?env=SHOP_KEYS"
    for seal in (inline("aes"), f"aes://{text('k1')}", text("k1"), f"aes://?env=A&key={text('k1')}"):
        shown = keyless(shop, "config", "--json", seal=seal).stdout
        assert json.loads(shown)["seal"]["value"].endswith("***")
        assert text("k1")[:8] not in shown


def test_the_banner_names_the_keys_by_their_ids(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(
        "from kernel import Kernel\n"
        "app = Kernel('banner', transport='memory://banner', seal='hmac://?env=SHOP_KEYS', unsealed='accept',\n"
        "             max_tasks=1)\n"
        "@app.task\ndef one(): pass\n"
        "one.delay()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", "from kernel.worker.process import run_worker; run_worker({'app': 'tasks'}, None)"],
        cwd=tmp_path, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert "seal       hmac-sha256, seals with k1; unsealed messages are taken" in done.stderr
    assert text("k1")[:8] not in done.stderr + done.stdout
