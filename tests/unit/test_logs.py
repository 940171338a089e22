"""What is logged, where to, and what is left alone."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kernel import get_task_logger, logs
from kernel.current import running
from kernel.envelope import Envelope
from kernel.errors import ConfigError

TEXT_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} INFO +\d+ (\S+) (\S+) (.*)")
ROWS = [("id1", "shop.add", "SUCCESS", 0.25, ""), ("id2", "shop.mail", "FAILURE", 1.0, "ValueError: a\nb")]


class Job:
    """As a worker tells about the task that it runs."""

    def __init__(self, task_id: str, name: str) -> None:
        self.envelope = Envelope(task_id, name, b"", "json")
        self.queue, self.redelivered, self.node = "default", 0, "here:1"

    @property
    def task(self) -> Any:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """The logger "kernel" as nobody has set it up; afterwards as it was before."""
    logger = logging.getLogger("kernel")
    before = logger.handlers[:], logger.level, logger.propagate
    logger.handlers.clear()
    logger.propagate = True
    yield
    for handler in logger.handlers:
        if handler not in before[0]:
            handler.close()
    logger.handlers[:], logger.propagate = before[0], before[2]
    logger.setLevel(before[1])


@pytest.fixture
def in_task() -> Iterator[None]:
    token = running.set(Job("id9", "shop.resize"))
    yield
    running.reset(token)


class Counting(io.StringIO):
    """Counts writes."""

    writes = 0

    def write(self, text: str) -> int:
        self.writes += 1
        return super().write(text)


def test_outside_of_a_task_a_line_says_so() -> None:
    out = io.StringIO()
    logs.setup(stream=out)
    get_task_logger("shop").info("hello %s", "you")
    match = TEXT_LINE.fullmatch(out.getvalue().rstrip("\n"))
    assert match is not None
    assert match.groups() == ("-", "-", "hello you")
    assert f" {os.getpid()} " in out.getvalue()


@pytest.mark.usefixtures("in_task")
def test_inside_of_a_task_every_record_has_its_id_and_name() -> None:
    out = io.StringIO()
    logs.setup(stream=out)
    get_task_logger("shop").info("resized")
    assert " id9 shop.resize resized\n" in out.getvalue()


@pytest.mark.usefixtures("in_task")
def test_the_filter_serves_a_handler_of_the_application() -> None:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.addFilter(logs.TaskFields())
    handler.setFormatter(logging.Formatter("%(task_id)s|%(task_name)s|%(message)s"))
    logger = logging.getLogger("an.application")
    logger.addHandler(handler)
    try:
        logger.warning("careful")
    finally:
        logger.removeHandler(handler)
    assert out.getvalue() == "id9|shop.resize|careful\n"


@pytest.mark.usefixtures("in_task")
def test_json_is_one_object_per_line() -> None:
    out = io.StringIO()
    logs.setup(format="json", stream=out)
    try:
        raise ValueError("two\nlines \udcff")
    except ValueError:
        get_task_logger("shop").exception("no %s", "luck")
    (line,) = out.getvalue().splitlines()
    found = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", found.pop("ts"))
    assert "ValueError: two\nlines" in found.pop("exception")
    assert found == {
        "level": "ERROR",
        "logger": "kernel.task.shop",
        "message": "no luck",
        "pid": os.getpid(),
        "task_id": "id9",
        "task_name": "shop.resize",
    }


def test_json_knows_no_task_outside_of_one() -> None:
    out = io.StringIO()
    logs.setup(format="json", stream=out)
    logging.getLogger("kernel.worker").info("up")
    found = json.loads(out.getvalue())
    assert found["task_id"] is None
    assert found["task_name"] is None
    assert "exception" not in found


def test_finished_tasks_are_a_line_each_in_one_write() -> None:
    out = Counting()
    logs.setup(stream=out)
    logs.log_finished(ROWS)
    first, second = out.getvalue().splitlines()
    assert first.endswith(" id1 shop.add SUCCESS in 0.2500 s")
    assert second.endswith(" id2 shop.mail FAILURE in 1.0000 s: ValueError: a b")
    assert out.writes == 1


def test_finished_tasks_in_json() -> None:
    out = io.StringIO()
    logs.setup(format="json", stream=out)
    logs.log_finished(ROWS)
    first, second = map(json.loads, out.getvalue().splitlines())
    assert (first["task_id"], first["task_name"], first["state"]) == ("id1", "shop.add", "SUCCESS")
    assert (second["runtime"], second["detail"]) == (1.0, "ValueError: a\nb")


def test_other_handlers_see_finished_tasks_as_text(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "kernel.worker"):
        logs.log_finished(ROWS)
    assert caplog.messages == ["shop.add[id1] SUCCESS in 0.2500 s\nshop.mail[id2] FAILURE in 1.0000 s: ValueError: a b"]


def test_nobody_wants_finished_tasks_above_info() -> None:
    out = io.StringIO()
    logs.setup("warning", stream=out)
    assert not logs.wants_finished()
    logs.log_finished(ROWS)
    assert out.getvalue() == ""
    logs.setup("info", stream=out)
    assert logs.wants_finished()


def test_setup_twice_is_one_handler(tmp_path: Path) -> None:
    first, second = io.StringIO(), io.StringIO()
    logs.setup(stream=first)
    logs.setup(stream=second)
    get_task_logger("shop").info("once")
    assert first.getvalue() == ""
    assert second.getvalue().count("once") == 1


def test_setup_leaves_the_root_logger_and_stdout_alone(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    logs.setup()
    get_task_logger("shop").info("to stderr")
    assert (root.handlers[:], root.level) == before
    out, err = capsys.readouterr()
    assert out == ""
    assert "to stderr" in err


@pytest.mark.parametrize(
    ("level", "format", "file"), [("loud", "text", ""), ("info", "xml", ""), ("info", "text", "/")]
)
def test_setup_refuses_and_changes_nothing(level: str, format: str, file: str) -> None:
    before = logging.getLogger("kernel").handlers[:]
    with pytest.raises(ConfigError):
        logs.setup(level, file, format)
    assert logging.getLogger("kernel").handlers == before


def test_a_file_that_was_rotated_is_opened_anew(tmp_path: Path) -> None:
    file = tmp_path / "kernel.log"
    logs.setup(file=str(file))
    logger = get_task_logger("shop")
    logger.info("one")
    file.rename(tmp_path / "kernel.log.1")
    logger.info("two \udcff")
    assert file.read_text().endswith("two \\udcff\n")
    assert "two" not in (tmp_path / "kernel.log.1").read_text()


FORKING = """
import os, sys
from kernel import logs
logs.setup(file=sys.argv[1])
children = []
for _ in range(4):
    pid = os.fork()
    if pid == 0:
        for _ in range(10):
            logs.log_finished([("id", "task", "SUCCESS", 0.0, "x" * 100)] * 200)  # far more than one buffer
        os._exit(0)
    children.append(pid)
sys.exit(any(os.waitpid(pid, 0)[1] for pid in children))
"""


def test_lines_of_several_processes_do_not_mix(tmp_path: Path) -> None:
    file = tmp_path / "kernel.log"
    subprocess.run([sys.executable, "-c", FORKING, str(file)], check=True, timeout=30)
    lines = file.read_text().splitlines()
    assert len(lines) == 4 * 10 * 200
    assert all(TEXT_LINE.fullmatch(line) for line in lines)


def test_a_long_text_is_cut_between_lines() -> None:
    text = "".join(f"{'y' * (index % 300)}\n" for index in range(200)) + "z" * 9000 + "\nend\n"
    blocks = list(logs._blocks(text))
    assert "".join(blocks) == text
    assert all(block.endswith("\n") for block in blocks)
    assert all(len(block) <= logs.BLOCK or block.count("\n") == 1 for block in blocks)


def test_a_stream_that_cannot_show_a_character_shows_its_number() -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, "ascii", write_through=True)
    logs.setup(stream=out)
    get_task_logger("shop").info("snow \u2603")
    assert raw.getvalue().endswith(b"snow \\u2603\n")
