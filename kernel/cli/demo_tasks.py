"""The application of `kernel demo`: one task that looks at one file."""

from __future__ import annotations

import hashlib
import os
import stat

import msgspec

from kernel.app import Kernel

#: Bytes that are read at a time: a large file must not fill the memory.
BLOCK = 1 << 20

#: Its transport comes from the environment, as that of any application that sets none in code.
app = Kernel("demo")


class Facts(msgspec.Struct, frozen=True):
    """What is known of one file."""

    sha256: str = ""
    size: int = 0
    #: Newline characters.
    lines: int = 0
    #: Why it could not be read; "" when it could.
    error: str = ""


def facts(path: bytes) -> Facts:
    """Read one file. Never raises: a file that vanished or may not be read is a fact too.

    Symbolic links are not followed, and a pipe that took the place of a file is not waited for.
    """
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        with open(os.open(path, flags), "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return Facts(error="not a regular file any more")
            digest, size, lines = hashlib.sha256(), 0, 0
            while block := file.read(BLOCK):
                digest.update(block)
                size += len(block)
                lines += block.count(b"\n")
            return Facts(digest.hexdigest(), size, lines)
    except OSError as error:
        return Facts(error=error.strerror or type(error).__name__)


@app.task(name="kernel.demo.examine", max_deliveries=10)
def examine(path: bytes) -> dict[str, str | int]:
    """The facts of one file. The path is bytes, because the name of a file need not be text."""
    found: dict[str, str | int] = msgspec.to_builtins(facts(path))
    return found
