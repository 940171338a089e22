"""`kernel call` and `kernel result`."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from cli.shop import Shop
from click.testing import CliRunner

from kernel import envelope as wire
from kernel.cli.main import cli
from kernel.envelope import decode
from kernel.outcome import Entry, Error, encode_entry
from kernel.ports import Record
from kernel.serializers.json_ import JsonSerializer

Write = Callable[[str, str], Path]


def end(shop: Shop, task_id: str, entry: Entry) -> None:
    """Record how a task ended, as a worker does."""
    store = shop.app.ports.results
    assert store is not None
    store.put([Record(task_id, encode_entry(entry), True, (0, 0, 0))], 60.0)


SUCCESS = Entry("SUCCESS", "json", b"[1,2]", None, 1_700_000_000.0, 2, None, "", "here:7")
FAILURE = Entry("FAILURE", "", b"", Error("ValueError", "no luck", "Traceback: line\nValueError: no luck\n"))


def test_a_call_is_sent_as_the_options_say(shop: Shop) -> None:
    options = ["--queue", "mail", "--priority", "7", "--countdown", "60", "--expires", "90", "--task-id", "mine"]
    result = shop.run("call", "shop.send", "--args", '["a", 1]', "--kwargs", '{"b": null}', *options)
    assert (result.exit_code, result.stdout) == (0, "mine\n")
    (payload,) = shop.payloads("mail")
    envelope = decode(payload)
    assert (envelope.id, envelope.task, envelope.body) == ("mine", "shop.send", b'[["a",1],{"b":null}]')
    assert envelope.extra[wire.PRIORITY] == 7
    assert envelope.extra[wire.ETA] == pytest.approx(envelope.sent_at + 60, abs=1)
    assert envelope.extra[wire.EXPIRES_AT] == pytest.approx(envelope.sent_at + 90, abs=1)


def test_a_call_in_json(shop: Shop) -> None:
    found = shop.json("call", "shop.send")
    assert found == {"id": decode(shop.payloads("default")[0]).id, "task": "shop.send"}


@pytest.mark.parametrize(
    "options",
    [
        ["--args", "{}"],
        ["--args", "[1"],
        ["--kwargs", "[]"],
        ["--countdown", "-1"],
        ["--priority", "10"],
        ["--wait", "x"],
    ],
)
def test_options_that_make_no_sense(shop: Shop, options: list[str]) -> None:
    assert shop.run("call", "shop.send", *options).exit_code == 2
    assert shop.payloads("default") == []


def test_arguments_are_checked_where_the_task_is_known(shop: Shop, written: Write) -> None:
    written("known_app2.py", "from kernel import Kernel\napp = Kernel('known_app2')\n@app.task\ndef add(a, b): ...\n")
    result = shop.run("-A", "known_app2", "call", "known_app2.add", "--args", "[1]")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: known_app2.add: ")
    result = shop.run("-A", "known_app2", "call", "known_app2.ad")
    assert result.exit_code == 0
    assert "did you mean 'known_app2.add'?" in result.stderr


def test_a_call_awaits_its_result(shop: Shop) -> None:
    threading.Timer(0.05, end, (shop, "mine", SUCCESS)).start()
    result = shop.run("call", "shop.send", "--task-id", "mine", "--wait", "10")
    assert result.exit_code == 0
    assert "value:   [1, 2]" in result.stdout


def test_a_call_that_is_not_in_time(shop: Shop) -> None:
    result = shop.run("call", "shop.send", "--task-id", "mine", "--wait", "0.01")
    assert result.exit_code == 4
    assert "PENDING" in result.stdout


def test_a_success(shop: Shop) -> None:
    end(shop, "mine", SUCCESS)
    found = shop.json("result", "mine")
    assert found == {
        "id": "mine",
        "state": "SUCCESS",
        "value": [1, 2],
        "error": None,
        "reason": "",
        "attempt": 2,
        "at": 1_700_000_000.0,
        "node": "here:7",
    }
    assert shop.run("result", "mine").exit_code == 0


def test_a_failure(shop: Shop) -> None:
    end(shop, "mine", FAILURE)
    result = shop.run("result", "mine")
    assert result.exit_code == 1
    assert "ValueError: no luck" in result.stdout
    assert "Traceback" not in result.stdout
    assert "Traceback: line" in shop.run("result", "mine", "--traceback").stdout
    found = json.loads(shop.run("result", "mine", "--json").stdout)
    assert found["error"]["message"] == "no luck"


def test_nothing_is_known(shop: Shop) -> None:
    result = shop.run("result", "nobody", "--json")
    assert result.exit_code == 4
    assert json.loads(result.stdout)["state"] == "PENDING"


def test_a_result_is_forgotten_after_it_was_shown(shop: Shop) -> None:
    end(shop, "mine", SUCCESS)
    assert "[1, 2]" in shop.run("result", "mine", "--forget").stdout
    assert shop.run("result", "mine").exit_code == 4


def test_a_value_that_is_not_json(shop: Shop) -> None:
    end(shop, "mine", Entry("SUCCESS", "json", JsonSerializer().dumps({"a": (1, b"x")})))
    assert shop.run("result", "mine", "--json").exit_code == 0
    assert "{'a': (1, b'x')}" in shop.run("result", "mine").stdout


def test_without_a_store(shop: Shop) -> None:
    result = CliRunner().invoke(cli, ["result", "mine", "--transport", shop.url, "--results", "none"])
    assert result.exit_code == 1
    assert result.stderr.startswith("error: no result store is configured")
    result = CliRunner().invoke(cli, ["call", "shop.send", "--wait", "1", "--transport", shop.url, "--results", "none"])
    assert result.stderr.endswith("nothing was sent\n")
    assert shop.payloads("default") == []


def test_a_call_to_an_exchange_is_refused_where_there_are_none(shop: Shop) -> None:
    result = shop.run("call", "shop.send", "--args", '["a", 1]', "--exchange", "events", "--routing-key", "mail.new")
    assert result.exit_code == 2
    assert "exchange 'events': this transport has no exchanges" in result.stderr
