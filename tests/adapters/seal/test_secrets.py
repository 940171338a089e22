"""A secret of a URL or of the environment is shown nowhere: not in an error, a log, a `repr`, a banner, a traceback.

Every adapter is given a marker for its password or key and then made to speak: by mistakes in its URL, by a service
that is not there and one that refuses the password, by every view of the configuration, with logs at DEBUG.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner
from services.rabbitmq import shared_rabbitmq
from services.redis import redis_server
from services.sqs import shared_sqs

from kernel import Kernel, discovery
from kernel.cli.main import cli
from kernel.configuration.config import Config
from kernel.errors import KernelError

ROOT = Path(__file__).parents[3]
#: Looks like a password and, with its 43 letters, like a key.
MARKER = "MarkerThatNobodyMayEverSeeInAnyOutput012345"
#: What is searched for: the beginning, so that a text that was cut is found as well.
SEEN = MARKER[:12]
NOWHERE = "127.0.0.1:1"

#: Adapter: URLs that lead nowhere, and URLs with a mistake in them.
AWAY = [
    f"redis://user:{MARKER}@{NOWHERE}/0?timeout=0.3",
    f"rediss://:{MARKER}@{NOWHERE}/0?timeout=0.3",
    f"redis+sentinel://u:{MARKER}@{NOWHERE}/shop?timeout=0.3&sentinel_password={MARKER}",
    f"redis+cluster://u:{MARKER}@{NOWHERE}?timeout=0.3",
    f"redis+unix://:{MARKER}@/nowhere/redis.sock",
    f"amqp://user:{MARKER}@{NOWHERE}/?timeout=0.3",
    f"amqps://user:{MARKER}@{NOWHERE}/?timeout=0.3",
    f"sqs+http://{NOWHERE}?region=eu-west-1&timeout=0.3",
    "sqlite:////nowhere/at/all.db",
]
WRONG = [
    f"redis://user:{MARKER}@host:port",
    f"redis://user:{MARKER}@host/db",
    f"redis://user:{MARKER}/with/slash@host/0",
    f"redis://user:{MARKER}#hash@host/0",
    f"redis://user:{MARKER}@host/0?tiemout=3",
    f"redis://host/0?password={MARKER}",
    f"redis+sentinel://host/?sentinel_password={MARKER}&x=1",
    f"amqp://user:{MARKER}@host:port/",
    f"amqp://user:{MARKER}/slash@host/",
    f"amqp://user:{MARKER}@host/?tiemout=3",
    f"amqp://user:{MARKER}@host/?password={MARKER}",
    f"sqs://key:{MARKER}@?region=x",
    f"sqs://?region=x&secret_key={MARKER}",
    f"sqlite://user:{MARKER}@host/x.db",
    f"sqlite:///x.db?password={MARKER}",
    f"memory://user:{MARKER}@host?passwd={MARKER}",
    f"nosuch://user:{MARKER}@host/0",
    f"user:{MARKER}@host",
]
SEALS = [
    *(f"{kind}://?key=k1:{MARKER}" for kind in ("hmac", "aes", "ed25519")),
    "hmac://?env=MARKED",
    "aes://?file=marked.keys",
]
WRONG_SEALS = [
    MARKER,
    f"hmac://{MARKER}",
    f"hmac://k1:{MARKER}@",
    f"hmac:///{MARKER}",
    f"hmac://?{MARKER}",
    f"hmac://?key={MARKER}",
    f"aes://?key=k1:{MARKER}{MARKER}",
    f"aes://?key=k1:{MARKER}&kye=x",
    f"nosuch://?key={MARKER}",
    "ed25519://?env=MARKED",
    "ed25519://?file=damaged.keys",
]


@pytest.fixture(autouse=True)
def marked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Secrets where each adapter looks for them, and logs of everybody at DEBUG."""
    (tmp_path / "marked.keys").write_text(f"k1 aes {MARKER}\n")
    (tmp_path / "damaged.keys").write_text(f"k1 ed25519 {MARKER}!\n{MARKER} x\n")
    monkeypatch.setenv("MARKED", f"k1 hmac {MARKER}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", MARKER)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    caplog.set_level(logging.DEBUG)


class Heard:
    """All that was said, to be searched."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def error(self, error: BaseException) -> None:
        """An error as it is printed, with the traceback and every error behind it."""
        self.texts += [str(error), repr(error), *traceback.format_exception(error)]

    def check(self, caplog: pytest.LogCaptureFixture) -> None:
        """Fail where the marker is; messages of logs with what was given to them."""
        self.texts += [caplog.text, *(repr(record.__dict__) for record in caplog.records)]
        found = [text[max(0, text.index(SEEN) - 300) :][:600] for text in self.texts if SEEN in text]
        assert found == []


@pytest.fixture
def heard(caplog: pytest.LogCaptureFixture) -> Heard:
    return Heard()


def provoke(heard: Heard, what: Callable[[], Any]) -> None:
    try:
        heard.texts.append(repr(what()))
    except KernelError as error:
        heard.error(error)


def use(url: str, **options: Any) -> None:
    """Whatever an application does with a URL."""
    app = Kernel("secrets", transport=url, send_timeout=0.3, **options)
    with app:
        app.send_task("x")


@pytest.mark.parametrize("url", [*AWAY, *WRONG], ids=lambda url: url.replace(MARKER, "***"))
def test_no_error_of_an_adapter_shows_a_secret(url: str, heard: Heard, caplog: pytest.LogCaptureFixture) -> None:
    for port in (discovery.transport, discovery.results, discovery.coordination, discovery.schedules):
        made: list[Any] = []
        provoke(heard, lambda port=port, made=made: made.append(port(url)) or made[0])
        for adapter in made:
            heard.texts += [repr(adapter), str(adapter)]
            heard.texts += [repr(value) for value in vars(adapter).values()]
            provoke(heard, adapter.open)
            provoke(heard, adapter.close)
    provoke(heard, lambda: use(url))
    provoke(heard, lambda: use("memory://secrets", results=url, coordination="none", schedules="none"))
    heard.check(caplog)


@pytest.mark.parametrize("url", [*SEALS, *WRONG_SEALS], ids=lambda url: url.replace(MARKER, "***"))
def test_no_error_of_a_seal_shows_a_key(url: str, heard: Heard, caplog: pytest.LogCaptureFixture) -> None:
    provoke(heard, lambda: discovery.seal(url))
    app = Kernel("secrets", transport="memory://secrets", seal=url)
    with app:
        provoke(heard, lambda: app.ports.sealing)
        provoke(heard, lambda: app.send_task("x"))
        heard.texts += [repr(app), repr(app.config), repr(app.config.describe())]
    heard.check(caplog)


@pytest.mark.parametrize(
    ("key", "url"),
    [
        *(("transport", url) for url in (*AWAY, *WRONG)),
        *(("results", url) for url in WRONG[::4]),
        *(("seal", url) for url in (*SEALS, *WRONG_SEALS)),
    ],
    ids=lambda part: part.replace(MARKER, "***"),
)
def test_no_view_of_the_configuration_shows_a_secret(
    key: str, url: str, heard: Heard, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    file = tmp_path / "kernel.toml"
    file.write_text(f'{key} = "{url}"\n')
    for config in (Config.load({key: url}, environ={}), Config.load(environ={}, file=file)):
        heard.texts += [repr(config), str(config), repr(config.describe()), repr(config.ports)]
    for value in ([url], {"a": url}, url.encode()):
        provoke(heard, lambda value=value: Config.load({key: value}, environ={}))
    result = CliRunner(env={f"KERNEL_{key.upper()}": url}).invoke(cli, ["config"])
    heard.texts.append(result.output)
    heard.check(caplog)


COMMANDS = [["dead", "list"], ["queues"], ["call", "x"], ["result", "x"], ["config"], ["adapters"]]


@pytest.mark.parametrize("url", [AWAY[0], AWAY[5], AWAY[7], *WRONG[::3]], ids=lambda url: url.replace(MARKER, "***"))
def test_no_command_shows_a_secret_not_even_with_its_traceback(
    url: str, heard: Heard, caplog: pytest.LogCaptureFixture
) -> None:
    for command in COMMANDS:
        for given in ({"KERNEL_TRANSPORT": url}, {"KERNEL_TRANSPORT": "memory://x", "KERNEL_SEAL": WRONG_SEALS[3]}):
            result = CliRunner(env={**given, "KERNEL_SEND_TIMEOUT": "0.3"}).invoke(cli, ["--traceback", *command])
            heard.texts.append(result.output)
            if result.exception is not None:
                heard.error(result.exception)
    heard.check(caplog)


def printed(tmp_path: Path, source: str, *words: str) -> str:
    """What a program prints, all of it."""
    (tmp_path / "tasks.py").write_text(source)
    given = {**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / place) for place in (".", "adapters"))}
    done = subprocess.run(
        [sys.executable, "-m", "kernel.cli.main", *words], cwd=tmp_path, env=given, capture_output=True, text=True,
        timeout=40,
    )  # fmt: skip
    return done.stdout + done.stderr


def test_a_worker_at_debug_shows_no_secret(tmp_path: Path) -> None:
    """With a real Redis that asks for the password; the worker ends by itself after one task."""
    server, url = redis_server("--requirepass", MARKER)
    try:
        marked_url = url.replace("://", f"://:{MARKER}@")
        source = (
            "from kernel import Kernel\n"
            f"app = Kernel('secrets', transport={marked_url!r}, seal='hmac://?env=MARKED')\n"
            "@app.task\ndef one(): raise ValueError('told')\n"
            "if __name__ != '__main__' and not __import__('os').environ.get('ONCE'):\n"
            "    __import__('os').environ['ONCE'] = '1'\n"
            "    one.delay()\n"
            "@app.task\ndef stop():\n    import os, signal\n    os.kill(os.getppid(), signal.SIGTERM)\n"
            "stop.delay()\n"
        )
        text = printed(tmp_path, source, "--traceback", "worker", "tasks:app", "-l", "debug")
    finally:
        server.close()
    assert "ValueError: told" in text
    assert "hmac-sha256" in text
    assert SEEN not in text


def test_a_refused_password_is_not_repeated(heard: Heard, caplog: pytest.LogCaptureFixture) -> None:
    server, url = redis_server("--requirepass", "another")
    try:
        provoke(heard, lambda: use(url.replace("://", f"://:{MARKER}@")))
    finally:
        server.close()
    place = urlsplit(shared_rabbitmq())
    provoke(heard, lambda: use(f"amqp://guest:{MARKER}@{place.hostname}:{place.port}/"))
    provoke(heard, lambda: use(f"{shared_sqs()}&prefix=secrets-"))
    assert len(heard.texts) > 2
    heard.check(caplog)
