"""Logging: task id and name on every record, one line per finished task, and a handler for the command line.

`kernel` logs to loggers below "kernel" and configures none of them by itself: a program that embeds it sees ordinary
records and decides. The command line calls `setup`, which gives the logger "kernel" one handler of its own. The root
logger, the loggers of the application and stdout are left alone.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TextIO

import msgspec

from kernel.current import running
from kernel.errors import ConfigError

#: The logger above all others of kernel.
ROOT = "kernel"
#: The loggers that tasks write to are below this one.
TASKS = "kernel.task"
#: What stands for task id and name outside of a task.
NOBODY = "-"
#: A block of lines for a pipe or a terminal has at most so many characters, so that the operating system writes it
#: in one piece (PIPE_BUF) and lines of several processes do not mix.
BLOCK = 4096

#: One finished task: id, name, state, runtime in seconds, and a detail such as the error, "" for none.
Row = tuple[str, str, str, float, str]

_worker = logging.getLogger("kernel.worker")


def get_task_logger(name: str) -> logging.Logger:
    """The logger "kernel.task.<name>", for use inside of tasks; `name` is usually `__name__`."""
    return logging.getLogger(f"{TASKS}.{name}" if name else TASKS)


class TaskFields(logging.Filter):
    """Puts `task_id` and `task_name` of the running task on every record, "-" outside of a task.

    Belongs on a handler: a filter on a logger does not see the records of the loggers below it. Add it to a handler
    of your own to have the two in your own format.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Complete the record; every record passes. A record that has the two fields already keeps them."""
        if not hasattr(record, "task_id"):
            job = running.get()
            record.task_id = NOBODY if job is None else job.envelope.id
            record.task_name = NOBODY if job is None else job.envelope.task
        return True


# -- finished tasks ----------------------------------------------------------------------------------------


class FinishedTasks:
    """The message of a record about several tasks. Handlers other than ours see its text, one line per task."""

    __slots__ = ("rows",)

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows

    def __str__(self) -> str:
        return "\n".join(f"{row[1]}[{row[0]}] {_ending(row)}" for row in self.rows)


def _ending(row: Row) -> str:
    """What is said about one finished task, on one line whatever the detail holds."""
    state, runtime, detail = row[2:]
    text = f"{state} in {runtime:.4f} s"
    return f"{text}: {' '.join(detail.split())}" if detail else text


def wants_finished() -> bool:
    """Whether anybody would see the lines of `log_finished`; asked once per flush."""
    return _worker.isEnabledFor(logging.INFO)


def log_finished(rows: Sequence[Row]) -> None:
    """Log one INFO line per row to "kernel.worker", as one record and one write."""
    if rows:
        _worker.info(FinishedTasks(rows))


# -- formats -----------------------------------------------------------------------------------------------


class TextFormatter(logging.Formatter):
    """`2026-01-31 12:00:00.123 INFO    4711 <task id> <task name> message`, local time."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, or one per finished task; a traceback follows on its own lines."""
        start = f"{self._time(record)} {record.levelname:<7} {record.process} "
        message = record.msg
        if isinstance(message, FinishedTasks):
            return "\n".join(f"{start}{row[0]} {row[1]} {_ending(row)}" for row in message.rows)
        task_id, name = getattr(record, "task_id", NOBODY), getattr(record, "task_name", NOBODY)
        text = f"{start}{task_id} {name} {record.getMessage()}"
        trace = _exception(self, record)
        return f"{text}\n{trace}" if trace else text

    def _time(self, record: logging.LogRecord) -> str:
        return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(record.created))}.{int(record.msecs):03d}"


class JsonFormatter(logging.Formatter):
    """One JSON object per line.

    Keys: ts (RFC 3339, UTC), level, logger, message, pid, task_id and task_name (null outside of a task), exception
    (a traceback as text, only where there is one). A finished task has state, runtime (seconds) and detail too.
    """

    def format(self, record: logging.LogRecord) -> str:
        """One object, or one per finished task."""
        message = record.msg
        if isinstance(message, FinishedTasks):
            return "\n".join(
                self._line(record, _ending(row), row[0], row[1], state=row[2], runtime=row[3], detail=row[4])
                for row in message.rows
            )
        task_id, name = getattr(record, "task_id", NOBODY), getattr(record, "task_name", NOBODY)
        trace = _exception(self, record)
        more = {"exception": trace} if trace else {}
        return self._line(record, record.getMessage(), task_id, name, **more)

    def _line(self, record: logging.LogRecord, message: str, task_id: str, name: str, **more: str | float) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        fields = {
            "ts": f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": message,
            "pid": record.process,
            "task_id": None if task_id == NOBODY else task_id,
            "task_name": None if name == NOBODY else name,
            **more,
        }
        try:
            return msgspec.json.encode(fields).decode()
        except UnicodeEncodeError:  # a lone surrogate, such as in the name of a file that is not UTF-8
            clean = {key: _printable(value) if isinstance(value, str) else value for key, value in fields.items()}
            return msgspec.json.encode(clean).decode()


def _exception(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    """The traceback and the stack of a record as text, "" for none.

    Not kept in `record.exc_text` as the standard formatter does: another handler may format it in its own way.
    """
    parts = []
    if record.exc_info:
        parts.append(formatter.formatException(record.exc_info))
    elif record.exc_text:
        parts.append(record.exc_text)
    if record.stack_info:
        parts.append(formatter.formatStack(record.stack_info))
    return "\n".join(parts)


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


# -- the handler -------------------------------------------------------------------------------------------


class Lines(logging.Handler):
    """Writes each record as whole lines to a file or a text stream.

    It takes no lock. A file is opened for appending and written to in one system call, so threads and processes do
    not mix their lines; and a lock that another thread holds while the process forks would block the child for good.
    A file that was moved or deleted (log rotation) is opened anew.
    """

    def __init__(self, file: str = "", stream: TextIO | None = None) -> None:
        """`file` "" writes to `stream`, and without one to what `sys.stderr` is at the time of each record.

        OSError when the file cannot be opened.
        """
        super().__init__()
        self._path = os.path.abspath(file) if file else ""
        self._stream = stream
        self._fd = _open(self._path) if file else -1

    def createLock(self) -> None:  # noqa: N802 - the name is logging's
        """Make no lock, as said above."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        """Filter and write, without a lock."""
        if not self.filter(record):
            return False
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; what goes wrong is reported by `logging` and never reaches the caller."""
        try:
            text = f"{self.format(record)}\n"
            if self._fd >= 0:
                self._append(text)
            else:
                self._print(text)
        except Exception:
            self.handleError(record)

    def _append(self, text: str) -> None:
        self._follow()
        data = text.encode("utf-8", "backslashreplace")
        written = os.write(self._fd, data)
        while written < len(data):  # a disk that is nearly full, or a signal
            written += os.write(self._fd, data[written:])

    def _print(self, text: str) -> None:
        stream = self._stream or sys.stderr
        if stream is None:
            return  # a process without a standard error, such as a Windows service
        for block in _blocks(text):
            try:
                stream.write(block)
            except UnicodeEncodeError:
                encoding = getattr(stream, "encoding", None) or "ascii"
                stream.write(block.encode(encoding, "backslashreplace").decode(encoding))
            stream.flush()

    def _follow(self) -> None:
        """Open the path anew when it no longer names the open file.

        By `dup2` the number stays the same, so a thread that writes at this moment writes to one or to the other.
        """
        try:
            there = os.stat(self._path)
        except FileNotFoundError:
            there = None
        here = os.fstat(self._fd)
        if there is None or (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino):
            fresh = _open(self._path)
            os.dup2(fresh, self._fd, inheritable=False)
            os.close(fresh)

    def close(self) -> None:
        """Close the file. Idempotent."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
        super().close()


def _open(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


def _blocks(text: str) -> Iterator[str]:
    """Cut into pieces of whole lines of at most `BLOCK` characters; a longer line is a piece of its own."""
    start = 0
    while len(text) - start > BLOCK:
        end = text.rfind("\n", start, start + BLOCK) + 1 or text.find("\n", start) + 1
        yield text[start:end]
        start = end
    if start < len(text):
        yield text[start:]


def setup(level: str = "info", file: str = "", format: str = "text", *, stream: TextIO | None = None) -> None:
    """Give the logger "kernel" one handler and a level; a second call replaces what the first one did.

    `level` is debug, info, warning, error or critical; `format` text or json; `file` "" writes to `stream`, standard
    error by default. Records then go no further than this handler, because an application that also configures the
    root logger would see each of them twice. `ConfigError` for an unknown level or format or a file that cannot be
    opened; nothing is changed then.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ConfigError(f"log_level {level!r} is unknown: use debug, info, warning, error or critical")
    if format not in ("text", "json"):
        raise ConfigError(f"log_format {format!r} is unknown: use text or json")
    try:
        handler = Lines(file, stream)
    except OSError as error:
        raise ConfigError(f"log_file {file}: {error.strerror or error}") from None
    handler.setFormatter(JsonFormatter() if format == "json" else TextFormatter())
    handler.addFilter(TaskFields())
    logger = logging.getLogger(ROOT)
    earlier = [other for other in logger.handlers if isinstance(other, Lines)]
    logger.addHandler(handler)
    for other in earlier:
        logger.removeHandler(other)
        other.close()
    logger.setLevel(number)
    logger.propagate = False
