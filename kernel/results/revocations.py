"""Which tasks are not to run any more: records beside their results, which workers look up while there are any.

Asking the store before each task would cost every task a call, for the sake of the few that are revoked. So workers ask
once in a while whether anything is revoked at all, and only while something is they look at what they receive. Telling
the workers instead was rejected: one that starts later, or is away at that moment, would never hear of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kernel import envelope as wire
from kernel.envelope import Envelope
from kernel.outcome import MOST, Entry, encode_entry
from kernel.ports import Record

#: The key of the record that is there while anything is revoked.
ANY = "revoked"
#: What a mark says: do not start it; and end it where it runs.
HOLD, END = b"hold", b"end"


def records_of(ids: Iterable[str], stamps: Mapping[str, Any], terminate: bool, now: float) -> list[Record]:
    """What is to be written to revoke tasks, with what they have started, and all that have one of these stamps."""
    what = END if terminate else HOLD
    known = list(ids)
    ended = encode_entry(Entry("REVOKED", at=now, reason="revoked"))
    keys = [_mark(id) for id in known] + [_stamp(name, value) for name, value in stamps.items()]
    return [
        *[Record(key, what, False, (0, 0, 0)) for key in (*keys, ANY)],
        # After the mark: who meets the record without it does not know what else is revoked.
        *[Record(id, ended, True, (0, MOST, MOST)) for id in known],
    ]


def marks_of(envelope: Envelope) -> list[str]:
    """The keys under which it would be said that this call is revoked."""
    extra = envelope.extra
    keys = [_mark(envelope.id)]
    if wire.ROOT in extra:
        keys.append(_mark(extra[wire.ROOT]))
    for name, value in extra.get(wire.STAMPS, {}).items():
        keys += [_stamp(name, each) for each in (value if isinstance(value, list) else [value])]
    return keys


def _mark(id: str) -> str:
    return f"{id}:revoked"


def _stamp(name: str, value: Any) -> str:
    return f"{name}={value}:stamped:revoked"
