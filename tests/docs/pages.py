"""The pages of the documentation, and the fenced blocks in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

#: A comment right before a block excuses it from being run; it must say why.
_EXCUSE = re.compile(r"<!-- not run: (.+) -->")
_FENCE = re.compile(r"^```(\S*)(.*)$")


class Block(NamedTuple):
    """One fenced block."""

    language: str
    text: str
    #: Number of its first line in the page, from 1.
    line: int
    #: Why it is not run; "" when it is.
    excuse: str

    @property
    def file(self) -> str:
        """The name of the file that a reader is to save it as: what its first line says, as in `# shop.py`."""
        named = re.match(r"# (\w+\.(?:py|toml))\n", self.text)
        return named[1] if named else ""


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    return list(_blocks(page.read_text("utf-8").splitlines()))


def _blocks(lines: list[str]) -> Iterator[Block]:
    language, start, excuse = None, 0, ""
    for number, line in enumerate(lines, 1):
        fence = _FENCE.match(line)
        if fence and language is None:
            language, start = fence[1], number
            before = [text for text in lines[max(0, number - 3) : number - 1] if text]
            found = _EXCUSE.fullmatch(before[-1]) if before else None
            excuse = found[1] if found else ""
        elif fence:
            yield Block(language or "", "\n".join(lines[start : number - 1]) + "\n", start + 1, excuse)
            language = None


def title(page: Path) -> str:
    """Its path in the project."""
    return str(page.relative_to(ROOT))
