"""`kernel relay --once` and `kernel outbox`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli.shop import Shop
from click.testing import CliRunner, Result
from kernel_sql import SqlOutbox

from kernel.cli.main import cli
from kernel.ports import Outgoing
from kernel.sending.outbox import rows_of


@pytest.fixture
def outbox(tmp_path: Path) -> SqlOutbox:
    made = SqlOutbox.from_url(f"sqlite:///{tmp_path}/out.db")
    made.open()
    return made


def call(shop: Shop, *words: str) -> Result:
    return CliRunner().invoke(cli, [*words, "--transport", shop.url])


def frame(shop: Shop) -> Outgoing:
    return shop.app.sheet("shop.add").message((1, 2), {}, {"task_id": "add-1"})[1]


def test_everything_is_sent(shop: Shop, outbox: SqlOutbox) -> None:
    outbox.add(rows_of([frame(shop)] * 3, 0.0))
    assert call(shop, "relay", "out.db", "--once").output == "sent 3 messages, refused 0\n"
    assert json.loads(call(shop, "relay", "out.db", "--once", "--json").output) == {"sent": 0, "refused": 0}
    assert len(shop.app.ports.transport.receive(["default"], 10, 0.0)) == 3


def test_the_configured_outbox_is_the_default(shop: Shop, outbox: SqlOutbox, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "error: which outbox? name its file or URL, or set KERNEL_OUTBOX" in call(shop, "relay", "--once").output
    monkeypatch.setenv("KERNEL_OUTBOX", "out.db")
    assert call(shop, "relay", "--once").exit_code == 0


def test_what_is_in_it_is_shown(shop: Shop, outbox: SqlOutbox) -> None:
    outbox.add(rows_of([frame(shop), Outgoing("other", b"no frame")], 1e9))
    shown = json.loads(call(shop, "outbox", "show", "out.db", "--json").output)
    assert (shown["waiting"], shown["refused"], shown["oldest_for"] > 0) == (2, 0, True)
    assert "waiting" in call(shop, "outbox", "show", "out.db").output
    rows = json.loads(call(shop, "outbox", "list", "out.db", "--json").output)
    assert [(row["id"], row["task"], row["queue"]) for row in rows] == [
        ("add-1", "shop.add", "default"),
        (None, None, "other"),
    ]
    assert "shop.add" in call(shop, "outbox", "list", "out.db").output


def test_refused_messages_are_listed_tried_again_and_purged(shop: Shop, outbox: SqlOutbox) -> None:
    outbox.add(rows_of([Outgoing("q", b"x" * (65 << 20)), frame(shop), frame(shop)], 0.0))
    rows = outbox.claim("me", 10, 30.0)
    outbox.refuse("me", [(row.id, "too large") for row in rows])
    listed = json.loads(call(shop, "outbox", "list", "out.db", "--refused", "--json").output)
    assert [row["reason"] for row in listed] == ["too large"] * 3
    first, second, _ = (row["row"] for row in listed)
    assert call(shop, "outbox", "retry", "--outbox", "out.db").exit_code == 2
    tried = call(shop, "outbox", "retry", second, "--outbox", "out.db")
    assert tried.output == "1 message will be tried again\n"
    assert call(shop, "relay", "out.db", "--once").exit_code == 0
    purged = call(shop, "outbox", "purge", first, "--outbox", "out.db", "--yes")
    assert purged.output == "purged 1 message\n"
    assert call(shop, "outbox", "purge", "--all", "--outbox", "out.db", "--yes").output == "purged 1 message\n"


def test_a_relay_that_had_something_refused_says_so_by_its_status(
    tmp_path: Path, shop: Shop, outbox: SqlOutbox
) -> None:
    outbox.add(rows_of([Outgoing("q", b"x" * 5000), frame(shop)], 0.0))
    words = ["relay", "out.db", "--once", "--transport", "memory://narrow?max_payload=4000"]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 1
    assert "sent 1 message, refused 1\n" in done.output


def test_tables_are_printed_and_made(shop: Shop, tmp_path: Path) -> None:
    assert "payload BYTEA NOT NULL" in call(shop, "outbox", "ddl", "postgresql://").output
    assert call(shop, "outbox", "create", "new.db").output == "the tables are there\n"
    assert json.loads(call(shop, "outbox", "show", "new.db", "--json").output)["waiting"] == 0
