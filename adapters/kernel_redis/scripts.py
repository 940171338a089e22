"""The Lua scripts. Each runs on the server as one step, and is sent by its digest.

A server that was restarted, or whose scripts were flushed, answers NOSCRIPT and has done nothing: the client then
sends the text itself, which the server keeps again.
"""

from __future__ import annotations

from hashlib import sha1
from importlib.resources import files
from typing import Any

_TEXTS: dict[str, str] = {}


class Script:
    """One script; `files` are joined, so that scripts can share functions."""

    __slots__ = ("digest",)

    def __init__(self, *names: str) -> None:
        folder = files("kernel_redis") / "lua"
        text = "\n".join((folder / f"{name}.lua").read_text("utf-8") for name in names)
        self.digest = sha1(text.encode(), usedforsecurity=False).hexdigest()
        _TEXTS[self.digest] = text

    def command(self, keys: tuple[str | bytes, ...], *arguments: Any) -> tuple[Any, ...]:
        """The command that runs it."""
        return ("EVALSHA", self.digest, len(keys), *keys, *arguments)


def in_full(command: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same command with the text of the script in place of its digest."""
    return ("EVAL", _TEXTS[command[1]], *command[2:])
