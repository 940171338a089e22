"""What reads bytes of strangers, each as a function that must do nothing but return or fail in its one declared way.

Bounds, which hold for every target: of memory, `MEMORY` bytes and `FACTOR` for each byte that is read; of time, what
`budget` says. The suite checks them with Hypothesis for a moment, `make fuzz` for as long as you like.
"""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import click
import msgspec
from kernel_seal import Ring
from kernel_seal.kinds import KINDS

from kernel.cli.call import JsonOf
from kernel.cli.frames import described, letter_described
from kernel.cli.output import as_json
from kernel.clock import FakeClock
from kernel.dead import read_letter
from kernel.envelope import (
    Carrier,
    Dead,
    Envelope,
    decode,
    decode_carrier,
    decode_dead,
    decode_sealed,
    encode,
    encode_carrier,
    encode_dead,
    encode_sealed,
)
from kernel.errors import DecodeError, EncodeError, SealError
from kernel.outcome import Entry, Error, decode_entry, encode_entry
from kernel.sealing.sealing import QUEUE, Sealing
from kernel.serializers import tags
from kernel.serializers.json_ import JsonSerializer

#: Bytes that a target may take for any input at all, and more for each byte of it: an empty map is one byte on the wire
#: and 64 in Python, in a list it takes 8 more, and the tools make copies.
MEMORY, FACTOR = 4_000_000, 400
#: Seconds of this thread that a target may take for any input, and for each byte of it.
SECONDS, PER_BYTE = 1.0, 5e-6

Target = Callable[[bytes], object]

_ring = Ring("hmac", {kind: (kind, KINDS[kind](bytes(range(32)))) for kind in ("hmac", "ed25519", "aes")}, "fuzz")
_sealing = Sealing(_ring, "refuse", FakeClock())
_json = JsonSerializer()
_context = click.Context(click.Command("call"))


def envelope(data: bytes) -> object:
    """A live frame: what was read can be written, and is the same when it is read again."""
    try:
        read = decode(data)
    except DecodeError:
        return None
    written = encode(read)
    assert encode(decode(written)) == written
    return read


def frames(data: bytes) -> object:
    """Carriers, dead and sealed frames."""
    carrier, dead = decode_carrier(data), decode_dead(data)
    if carrier is not None:
        assert decode_carrier(encode_carrier(carrier)) == carrier
    if dead is not None:
        assert encode_dead(decode_dead(encode_dead(dead)) or dead) == encode_dead(dead)
    try:
        sealed = decode_sealed(data)
    except SealError:
        return None
    if sealed is not None:
        assert decode_sealed(encode_sealed(sealed)) == sealed
    return sealed


def letter(data: bytes) -> object:
    """A dead letter and any message, as the tools show them."""
    read = read_letter(data, "mail")
    for row in (letter_described(read), described(data, "mail"), described(data, "mail.dead")):
        json.dumps({key: as_json(value) for key, value in row.items()}, default=str)
    return read


def sealed(data: bytes) -> object:
    """Something sealed. No bytes open that were not sealed with one of the keys."""
    for key in _ring.keys:
        try:
            _ring.open(key, data, b"context")
        except SealError:
            pass
        else:
            raise AssertionError("forged")
    try:
        return _sealing.open(data, QUEUE, "mail")
    except SealError:
        return None


def record(data: bytes) -> object:
    """A record of the result store."""
    try:
        read = decode_entry(data)
    except DecodeError:
        return None
    assert encode_entry(decode_entry(encode_entry(read))) == encode_entry(read)
    return read


def json_body(data: bytes) -> object:
    """Arguments and results: what was read can be written, or is refused, and is the same when it is read again."""
    try:
        read = _json.loads(data)
    except DecodeError:
        return None
    try:
        written = _json.dumps(read)
    except EncodeError:
        return None
    assert _json.dumps(_json.loads(written)) == written
    return read


def tagged(data: bytes) -> object:
    """Any tree of what JSON has, as MessagePack, with tags in it: more of them are well-formed than as text."""
    try:
        tree = msgspec.json.decode(msgspec.json.encode(msgspec.msgpack.decode(data)))
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError, OverflowError):
        return None
    try:
        return tags.untag(tree)
    except (DecodeError, RecursionError):  # the serializer turns the second into the first
        return None


def command_line(data: bytes) -> object:
    """`kernel call --args`: what a shell can pass, surrogates included."""
    text = data.replace(b"\0", b"").decode("utf-8", "surrogateescape")
    found: list[Any] = []
    told: list[str] = []
    for kind in (JsonOf(list, "array"), JsonOf(dict, "object")):
        try:
            found.append(kind.convert(text, None, _context))
        except click.UsageError as error:
            told.append(error.format_message())
    assert max(map(len, told), default=0) < 1000
    for value in found:
        try:
            _json.dumps([value, {}])
        except EncodeError:
            pass
    return found


TARGETS: Mapping[str, Target] = MappingProxyType(
    {
        "envelope": envelope,
        "frames": frames,
        "letter": letter,
        "sealed": sealed,
        "record": record,
        "json": json_body,
        "tags": tagged,
        "cli": command_line,
    }
)

_live = encode(Envelope("id", "task", b"[[1],{}]", "json", 1, 2, 3.0, {1: 4.0, 3: 5, 18: {"a": [1, None, {"b": b""}]}}))
#: Well-formed inputs to begin with.
SEEDS: Mapping[str, tuple[bytes, ...]] = MappingProxyType(
    {
        "envelope": (_live, encode(Envelope("a", "b", b"", "json"))),
        "frames": (
            encode_carrier(Carrier(1.0, 2, _live)),
            encode_dead(Dead(_live, "mail", "failed", "reason", "error", 1, 2.0, 3.0, 4, {5: [6]})),
            _sealing.seal(_live, QUEUE, "mail"),
        ),
        "letter": (
            _live,
            encode_dead(Dead(_live, "mail", "failed", "reason", "error", 1, 2.0, 3.0, 4, {5: [6]})),
            encode_dead(Dead(b"\xff", "", "unprocessable", "reason")),
            _sealing.seal(_live, QUEUE, "mail"),
        ),
        "sealed": (_sealing.seal(_live, QUEUE, "post"), _ring.seal(_live, b"other")),
        "record": (
            encode_entry(Entry("SUCCESS", "json", b"1", None, 1.0)),
            encode_entry(
                Entry("FAILURE", "", b"", Error("ValueError", "no", "trace"), 1.0, 2, "failed", "why", "node")
            ),
        ),
        "json": tuple(
            text.encode()
            for text in (
                '[[1,-2.5,"x",null,true],{"a":{}}]',
                '{"$tuple":[{"$set":[1]},{"$frozenset":["a"]},{"$dict":{"$x":1}}]}',
                '{"$map":[[{"$tuple":[1]},2]]}',
                '{"$decimal":"1.10"}',
                '{"$bytes":"aGk="}',
                '{"$uuid":"12345678-1234-5678-1234-567812345678"}',
                '{"$datetime":["2024-02-29T12:00:00","Europe/Berlin",1]}',
                '{"$time":"12:00:00+01:00"}',
                '{"$date":"2024-02-29"}',
                '{"$timedelta":[1,2,3]}',
            )
        ),
        "tags": tuple(
            msgspec.msgpack.encode(tree)
            for tree in (
                {"$map": [[{"$tuple": [1]}, 2]]},
                {"$timedelta": [1, 2, 3]},
                {"$decimal": "1e5"},
                {"$set": [1, "a", None]},
                {"$datetime": ["2024-02-29T12:00:00", None, 1]},
            )
        ),
        "cli": (b"[1, 2]", b'{"to": "me"}', b'["\\ud800", NaN, 1e999]', b"[[[[]]]]"),
    }
)

#: Inputs that are small on the wire and could be large, deep or slow behind it.
BOMBS: Mapping[str, bytes] = MappingProxyType(
    {
        "an array of 2**32 items": _live[:-1] + b"\xdd\xff\xff\xff\xff",
        "arrays of 65,000 in each other": b"\x01\x98" + b"\xdc\xff\xff" * 1000,
        "bytes of 4 GiB": b"\xe0\x94\xa1k\x00\x00\xc6\xff\xff\xff\xff",
        "arrays 200,000 deep": b"\x01\x98\xa1a\xa1t\xc4\x00\xa4json\x00\x00\x00\x81\x7f" + b"\x91" * 200_000 + b"\xc0",
        "a dead frame 200,000 deep": b"\xd0\x9a" + b"\x91" * 200_000,
        "brackets 200,000 deep": b"[" * 200_000 + b"]" * 200_000,
        "objects 200,000 deep": b'{"a":' * 200_000,
        "tuples 20,000 deep": b'{"$tuple":[' * 20_000 + b"]}" * 20_000,
        "an integer of a million digits": b"[" + b"9" * 1_000_000 + b"]",
        "a decimal of a million digits": b'{"$decimal":"' + b"9" * 1_000_000 + b'"}',
        "an exponent of a million digits": b"[1e" + b"9" * 1_000_000 + b"]",
        "a set of items with one hash": b'{"$set":['
        + b",".join(b"%d" % (i * (2**61 - 1)) for i in range(20_000))
        + b"]}",
        "keys with one hash": b'{"$map":[' + b",".join(b"[%d,0]" % (i * (2**61 - 1)) for i in range(20_000)) + b"]}",
        "the same name 20,000 times": b"{" + b",".join([b'"a":1'] * 20_000) + b"}",
        "a time zone that climbs": b'{"$datetime":["2024-02-29T12:00:00","' + b"../" * 10_000 + b'etc/passwd",0]}',
        "surrogates": b'["\\ud800\\udfff\\ud800", "\xed\xa0\x80"]',
    }
)


def bounded(target: Target, data: bytes) -> None:
    """Call a target and fail where it takes more than it may. Other threads must not allocate meanwhile."""
    began_at = time.thread_time()
    tracemalloc.start()
    try:
        target(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= MEMORY + FACTOR * len(data), f"{peak} bytes for {len(data)}"
    taken = time.thread_time() - began_at
    assert taken <= SECONDS + PER_BYTE * len(data), f"{taken:.2f} s for {len(data)} bytes"
