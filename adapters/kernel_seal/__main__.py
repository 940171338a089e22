"""`python -m kernel_seal`: makes keys.

generate KIND [ID]   prints a new key, to be appended to a file of keys; the id is the day unless it is given
public FILE          prints the file with every secret Ed25519 key as its public half, and without the others
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from kernel.errors import ConfigError
from kernel_seal.keys import read_keys, written
from kernel_seal.kinds import KEY_BYTES, Ed25519, Ed25519Public
from kernel_seal.ring import NAMES, keys_of


def generated(kind: str, id: str = "") -> str:
    """A new key as a line of text."""
    if kind not in NAMES:
        raise ConfigError(f"there is no kind of key {kind!r}: write {', '.join(NAMES)}")
    line = written(id or datetime.now(UTC).strftime("%Y-%m-%d"), kind, os.urandom(KEY_BYTES))
    read_keys(line, "the new key")  # refuses an id that no file may have
    return line


def public(name: str) -> list[str]:
    """The public halves of the Ed25519 keys in a file, as lines of text."""
    keys = keys_of(name)
    return [
        written(id, "ed25519-public", key.public)
        for id, (_, key) in keys.items()
        if isinstance(key, Ed25519 | Ed25519Public)
    ]


def main(words: Sequence[str]) -> int:
    """Print what was asked for; the exit status is 2 for what cannot be."""
    try:
        match list(words):
            case ["generate", kind, *rest] if len(rest) < 2:
                print(generated(kind, *rest))  # noqa: T201  # the one thing this program is for
            case ["public", name]:
                print("\n".join(public(name)))  # noqa: T201
            case _:
                sys.stderr.write(__doc__ or "")
                return 2
    except ConfigError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
