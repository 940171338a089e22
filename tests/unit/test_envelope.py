"""The wire: vectors of docs/wire.md both ways, total parsing, ids."""

from __future__ import annotations

import json
import os
import random
import re
import struct
import time
from math import inf, nan
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel import envelope as wire
from kernel import ids
from kernel.envelope import Carrier, Dead, Envelope, decode, decode_carrier, decode_dead, encode, encode_carrier
from kernel.errors import DecodeError, EncodeError, NewerVersion
from kernel.ids import new_id, new_ids

WIRE = (Path(__file__).parents[2] / "docs" / "wire.md").read_text(encoding="utf-8")
CODECS = {
    "live": (Envelope, encode, decode),
    "carrier": (Carrier, encode_carrier, decode_carrier),
    "dead": (Dead, wire.encode_dead, decode_dead),
}


def block(name: str) -> list[dict[str, Any]]:
    found = re.search(rf"^```json {name}\n(.*?)^```$", WIRE, re.DOTALL | re.MULTILINE)
    assert found, f"docs/wire.md has no block {name}"
    rows: list[dict[str, Any]] = json.loads(found[1])
    return rows


def value_of(noted: Any) -> Any:
    """A value as the page notes it: `{"hex": ...}` for bytes."""
    if isinstance(noted, dict):
        return bytes.fromhex(noted["hex"]) if set(noted) == {"hex"} else {k: value_of(v) for k, v in noted.items()}
    return [value_of(item) for item in noted] if isinstance(noted, list) else noted


def frame_of(kind: str, noted: dict[str, Any]) -> Any:
    values = value_of(noted)
    if "extra" in values:
        values["extra"] = {int(number): value for number, value in values["extra"].items()}
    return CODECS[kind][0](**values)


VECTORS = block("vectors")
named = pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])

# -- vectors -----------------------------------------------------------------------------------------------


@named
def test_a_writer_produces_the_bytes_of_the_page(vector: dict[str, Any]) -> None:
    written = CODECS[vector["kind"]][1](frame_of(vector["kind"], vector["frame"]))  # type: ignore[operator]
    assert written.hex() == vector["hex"]


@named
def test_a_reader_understands_the_bytes_of_the_page(vector: dict[str, Any]) -> None:
    read = CODECS[vector["kind"]][2](bytes.fromhex(vector["hex"]))  # type: ignore[operator]
    assert read == frame_of(vector["kind"], vector["frame"])


REFUSED = block("refused")


@pytest.mark.parametrize("vector", REFUSED, ids=[vector["name"] for vector in REFUSED])
def test_what_the_page_refuses_is_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(bytes.fromhex(vector["hex"]))
    assert (type(caught.value) is NewerVersion) == (vector["as"] == "newer")


def test_the_page_numbers_the_fields_as_the_code_does() -> None:
    noted = {name: int(number) for number, name in re.findall(r"^\| (\d+) \| `([A-Z_]+)` \|", WIRE, re.MULTILINE)}
    other = {"LIVE", "NEWEST_LIVE", "CARRIER", "DEAD", "SEALED", "MOST", "MOST_LIMITS", "NESTING"}
    coded = {name: value for name, value in vars(wire).items() if name.isupper() and type(value) is int}
    assert noted == {name: value for name, value in coded.items() if name not in other}
    assert sorted(noted.values()) == list(range(1, len(noted) + 1))


def test_a_vector_covers_every_optional_field() -> None:
    covered = {int(number) for vector in VECTORS for number in vector["frame"].get("extra", {})}
    assert covered >= set(range(1, 36))


# -- round trips -------------------------------------------------------------------------------------------

moments = st.floats(0, wire.LATEST)
counts = st.integers(0, wire.MOST)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
extras = st.dictionaries(st.integers(36, 2**31), values, max_size=4)
names = st.text(min_size=1)
envelopes = st.builds(Envelope, names, names, st.binary(), st.text(), counts, counts, moments, extras)
carriers = st.builds(Carrier, moments, counts, st.binary())
kinds = st.sampled_from(["failed", "unprocessable"])
deads = st.builds(
    Dead, st.binary(), st.text(), kinds, st.text(), st.text(), counts, moments, moments, st.integers(0, 9), extras
)


@given(envelopes)
def test_a_live_frame_comes_back_equal(envelope: Envelope) -> None:
    assert decode(encode(envelope)) == envelope


@given(carriers)
def test_a_carrier_comes_back_equal(carrier: Carrier) -> None:
    assert decode_carrier(encode_carrier(carrier)) == carrier


@given(deads)
def test_a_dead_letter_comes_back_equal(dead: Dead) -> None:
    assert decode_dead(wire.encode_dead(dead)) == dead


@given(envelopes)
def test_fields_of_a_later_release_survive_a_retry_and_the_dead_letters(envelope: Envelope) -> None:
    retried = decode(encode(envelope.but(attempt=1, extra={**envelope.extra, wire.ETA: 5.0})))
    assert retried.extra == {**envelope.extra, wire.ETA: 5.0}
    dead = decode_dead(wire.encode_dead(Dead(encode(retried), "q", "failed", "no")))
    assert dead is not None
    assert decode(dead.payload) == retried


def test_but_leaves_the_original_alone() -> None:
    first = Envelope("a", "t", b"", "json", extra={wire.PRIORITY: 3})
    second = first.but(attempt=1)
    assert (first.attempt, second.attempt, second.extra) == (0, 1, {wire.PRIORITY: 3})


def test_default_extras_are_not_shared() -> None:
    Envelope("a", "t", b"", "json").extra[wire.HOP] = 1
    assert Envelope("b", "t", b"", "json").extra == {}


def test_a_plain_call_is_small() -> None:
    call = Envelope(ids.new_id(), "shop.add", b"[[1,2],{}]", "json", sent_at=1.7e9)
    assert 64 <= len(encode(call)) <= 80


@pytest.mark.parametrize("value", [object(), 2**64, "\ud800"], ids=["object", "integer", "surrogate"])
def test_a_value_without_wire_form_is_an_encode_error(value: object) -> None:
    with pytest.raises(EncodeError):
        encode(Envelope("a", "t", b"", "json", extra={wire.HEADERS: {"mine": value}}))


def test_a_value_that_contains_itself_is_an_encode_error() -> None:
    knot: list[object] = []
    knot.append(knot)
    with pytest.raises(EncodeError):
        encode(Envelope("a", "t", b"", "json", extra={wire.HEADERS: {"mine": knot}}))


# -- total parsing -----------------------------------------------------------------------------------------


def read_everything(data: bytes) -> None:
    """Read `data` as every kind of frame: a frame that can be written again, a refusal, or a failing test."""
    try:
        envelope = decode(data)
    except DecodeError:
        pass
    else:
        assert 0 <= envelope.sent_at <= wire.LATEST
        again = encode(envelope.but(attempt=envelope.attempt + 1))
        assert 0x80 <= again[1] <= 0x9F
    carrier = decode_carrier(data)
    if carrier is not None:
        encode_carrier(carrier)
    dead = decode_dead(data)
    if dead is not None:
        wire.encode_dead(dead)


first_bytes = st.sampled_from([b"", b"\x01", b"\x02", b"\xc0", b"\xd0"])


@given(first_bytes, st.binary(max_size=200))
def test_random_bytes_are_a_frame_or_refused(first: bytes, rest: bytes) -> None:
    read_everything(first + rest)


frames = envelopes.map(encode) | carriers.map(encode_carrier) | deads.map(wire.encode_dead)


@given(frames, st.data())
def test_truncated_frames_are_refused(frame: bytes, data: st.DataObject) -> None:
    cut = frame[: data.draw(st.integers(0, len(frame) - 1))]
    with pytest.raises(DecodeError):
        decode(cut)
    assert decode_carrier(cut) is None
    assert decode_dead(cut) is None


@given(frames, st.data())
def test_frames_with_flipped_bits_are_a_frame_or_refused(frame: bytes, data: st.DataObject) -> None:
    damaged = bytearray(frame)
    for _ in range(data.draw(st.integers(1, 4))):
        bit = data.draw(st.integers(0, 8 * len(frame) - 1))
        damaged[bit // 8] ^= 1 << bit % 8
    read_everything(bytes(damaged))


#: MessagePack values of every sort, also those that claim to be huge, as the one optional field of a frame.
HOSTILE = {
    "a list of 2**32 - 1": b"\xdd\xff\xff\xff\xff",
    "a map of 2**32 - 1": b"\xdf\xff\xff\xff\xff",
    "bytes of 4 GiB": b"\xc6\xff\xff\xff\xff",
    "a list in a list in a list": b"\xdd\x00\x0f\xff\xff" * 100_000,
    "100,000 levels": b"\x91" * 100_000 + b"\x01",
    "a map as key": b"\x81\x80\x01",
    "a timestamp beyond all": b"\xc7\x0c\xff" + b"\x00" * 4 + b"\x7f" * 8,
    "not UTF-8": b"\xa1\xff",
    "the unused byte": b"\xc1",
}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("field", [b"\x01", b"\x7f"], ids=["known", "unknown"])
def test_a_hostile_value_is_damage(value: bytes, field: bytes) -> None:
    frame = encode(Envelope("a", "t", b"", "json"))[:-1] + b"\x81" + field + value
    with pytest.raises(DecodeError):
        decode(frame)


def nested(levels: int, of: str) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value] if of == "list" else {"k": value}
    return value


@pytest.mark.parametrize("of", ["list", "map"])
def test_values_nest_as_deep_as_the_page_says_and_no_deeper(of: str) -> None:
    deepest = Envelope("a", "t", b"", "json", extra={100: nested(wire.NESTING, of)})
    assert decode(encode(deepest)) == deepest
    deeper = nested(wire.NESTING + 1, of)
    with pytest.raises(DecodeError, match="nests deeper"):
        decode(encode(deepest.but(extra={100: deeper})))
    assert decode_dead(wire.encode_dead(Dead(b"", "q", "failed", "", extra={100: deeper}))) is None


WRONG: list[tuple[int, object]] = [
    *[(number, "x") for number in (1, 2, 3, 5, 10, 14, 15, 18, 19, 22, 23, 24, 26, 28, 29, 30, 31, 32)],
    *[(number, 1) for number in (4, 6, 7, 8, 9, 11, 16, 17, 20, 21, 25, 27)],
    *[(number, bad) for number in (wire.ETA, wire.HARD_LIMIT, wire.RESULT_TTL) for bad in (nan, inf, -1.0, True, None)],
    *[(wire.PRIORITY, -1), (wire.PRIORITY, 10), (wire.HOP, -1), (wire.HOP, 2**31), (wire.MAX_RETRIES, -2)],
    *[(wire.UNIQUE, bad) for bad in (["k"], ["", 1, True, 1], ["k", 3, True, 1], ["k", 1, 1, 1], ["k", 1, True, 0])],
    *[(wire.LIMITS, [bad]) for bad in (1, "k", ["k"], ["", 1], ["k", 0], ["k", 1.5], ["k", 1, 1], ["k", 1, 0, 1])],
    *[(wire.LIMITS, [bad]) for bad in (["k", 0, 1, 1], ["k", 1, 1, 0.5], ["k", 1, 1, nan], ["k", 1, 1, 1, "now"])],
    *[(wire.LIMITS, [["k", 1]] * 33), (wire.LIMITS, [["k", 1, 1, 1, 1, 1]])],
    *[(wire.RESULT, 3), (wire.LIMITS, [1]), (wire.ACK_EARLY, 1), (wire.MAX_DELIVERIES, 2.0)],
]


@pytest.mark.parametrize(("number", "value"), WRONG)
def test_a_known_field_of_another_type_is_damage(number: int, value: object) -> None:
    with pytest.raises(DecodeError, match=f"optional field {number} "):
        decode(encode(Envelope("a", "t", b"", "json", extra={number: value})))


@pytest.mark.parametrize("changes", [{"deliveries": -1}, {"last_at": nan}, {"priority": 10}, {"kind": "odd"}])
def test_a_dead_letter_out_of_bounds_is_none(changes: dict[str, Any]) -> None:
    assert decode_dead(wire.encode_dead(Dead(b"", "q", "failed", "no"))) is not None
    fields = {**msgspec.structs.asdict(Dead(b"", "q", "failed", "no")), **changes}
    assert decode_dead(wire.encode_dead(Dead(**fields))) is None


@pytest.mark.parametrize("carrier", [Carrier(nan, 0, b""), Carrier(0.0, -1, b"")], ids=["time", "hops"])
def test_a_carrier_out_of_bounds_is_none(carrier: Carrier) -> None:
    assert decode_carrier(encode_carrier(carrier)) is None


def test_each_kind_is_only_itself() -> None:
    live, carried, dead = encode(Envelope("a", "t", b"", "json")), b"\xc0\x93\x00\x00\xc4\x00", b"\xd0"
    assert decode_carrier(live) is None
    assert decode_dead(live) is None
    assert decode_carrier(carried) == Carrier(0.0, 0, b"")
    for other in (carried, dead):
        with pytest.raises(DecodeError) as caught:
            decode(other)
        assert type(caught.value) is DecodeError


def test_a_refusal_does_not_repeat_a_large_value() -> None:
    with pytest.raises(DecodeError) as caught:
        decode(encode(Envelope("a", "t", b"", "json", extra={wire.ETA: "x" * 100_000})))
    assert len(str(caught.value)) < 200


def test_a_reader_takes_whole_numbers_as_times() -> None:
    frame = encode(Envelope("a", "t", b"", "json", sent_at=0.0))
    assert decode(frame.replace(b"\xcb" + struct.pack(">d", 0.0), b"\x07")).sent_at == 7.0


# -- ids and names -----------------------------------------------------------------------------------------


def test_ids_are_32_hexadecimal_digits_and_never_equal() -> None:
    made = {new_id() for _ in range(10_000)} | set(new_ids(10_000))
    assert len(made) == 20_000
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in made)


def test_ids_begin_with_the_time_in_milliseconds() -> None:
    before, made, after = time.time(), [new_id(), *new_ids(2)], time.time()
    assert all(before - 0.002 <= int(one[:12], 16) / 1000 <= after + 0.002 for one in made)


def test_seeding_the_global_generator_does_not_repeat_ids() -> None:
    state = random.getstate()
    try:
        random.seed(0)
        first = new_id()
        random.seed(0)
        assert random_part(new_id()) != random_part(first)
    finally:
        random.setstate(state)


def random_part(one: str) -> str:
    return one[12:]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_children_of_a_fork_make_ids_of_their_own() -> None:
    made = [*(random_part(id_of_a_child()) for _ in range(3)), random_part(new_id())]
    assert len(set(made)) == 4


def id_of_a_child() -> str:
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(writer, new_id().encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, encoding="ascii") as pipe:
        made = pipe.read()
    os.waitpid(child, 0)
    assert len(made) == 32
    return made


def test_dead_letters_have_a_queue_beside_their_own() -> None:
    assert wire.dead_queue("mail") == "mail.dead"
