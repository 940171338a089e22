"""Every target for a moment: random bytes, well-formed ones that were damaged, and some that were made to hurt."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from fuzz.targets import BOMBS, SEEDS, TARGETS, bounded
from hypothesis import given, settings
from hypothesis import strategies as st


@st.composite
def damaged(draw: Any, seed: bytes) -> bytes:
    """A seed with a few bytes changed, left out, put in or doubled."""
    data = bytearray(seed)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(0, 8)))
        data[at:end] = draw(st.one_of(st.binary(max_size=6), st.just(bytes(data[at:end]) * 2)))
    return bytes(data)


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.data())
def test_random_and_damaged_bytes(name: str, data: st.DataObject) -> None:
    seed = data.draw(st.sampled_from(SEEDS[name]))
    TARGETS[name](data.draw(st.one_of(damaged(seed), st.binary(max_size=64), st.just(seed[:1] + b"\x98"))))


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("bomb", BOMBS)
def test_what_is_small_on_the_wire_stays_within_its_bounds(name: str, bomb: str) -> None:
    bounded(TARGETS[name], BOMBS[bomb])


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=20)
@given(size=st.integers(1, 10_000), unit=st.sampled_from([b"\x90", b"\x80", b"\xc0", b"[],", b"{},", b'"a",', b"1,"]))
def test_memory_grows_with_the_bytes_that_are_read(name: str, size: int, unit: bytes) -> None:
    count = size // len(unit)
    head = b"\x01\x98\xa1a\xa1t\xc4\x00\xa4json\x00\x00\x00\x81\x7f"
    bounded(TARGETS[name], head + b"\xdd" + count.to_bytes(4) + unit * count)
    bounded(TARGETS[name], b"[" + unit * count + b"1]")


#: Random pickles in a process whose memory is limited: a pickle may ask for any amount, and is for those who trust each
#: other; what counts is that garbage ends as `DecodeError`, whatever the interpreter makes of it.
PICKLES = """
import pickle, random, resource
from kernel.errors import DecodeError
from kernel.serializers.pickle_ import PickleSerializer
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
chance, loads = random.Random(7), PickleSerializer().loads
values = [1, "a", {2: b"c"}], (None, 1.5, {3}), "x" * 300
seeds = [pickle.dumps(value, protocol) for value in values for protocol in range(6)]
for _ in range(20_000):
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.randrange(4)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    try:
        loads(bytes(data[: chance.randrange(len(data) + 1)]))
    except DecodeError:
        pass
full = b"\\xff" * 7 + b"\\x7f"
for bomb in (b"Nr" + full[4:] + b".", b"\\x80\\x05\\x8e" + full + b".", b"(" * 1_000_000, b"\\x95" + full):
    try:
        loads(bomb)
    except DecodeError:
        pass
print("survived")
"""


def test_damaged_pickles_end_in_one_way() -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", PICKLES], capture_output=True, text=True, timeout=55)
    assert done.stdout == "survived\n", done.stderr
