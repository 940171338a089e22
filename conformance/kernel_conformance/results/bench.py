"""The bench of the result store tests, and what a store may claim."""

from __future__ import annotations

from typing import Any, Protocol, cast

import pytest

from kernel.errors import Unsupported
from kernel.ports import Record, ResultStore, StoreFeatures, Waits
from kernel_conformance.bench import Bench
from kernel_conformance.clause import Ability


class FullStore(ResultStore, Waits, Protocol):
    """A store with the optional methods, so that tests can name it."""


class StoreBench(Bench[FullStore]):
    """Result stores of one namespace."""

    @property
    def f(self) -> StoreFeatures:
        """The claims of the adapter."""
        return cast(StoreFeatures, self.features)

    def put(self, value: bytes, *rank: int, key: str = "k", final: bool = True, ttl: float = 600.0) -> bytes | None:
        """Write one record by the first adapter."""
        generation, attempt, fence = (*rank, 0, 0, 0)[:3]
        return self.first.put([Record(key, value, final, (generation, attempt, fence))], ttl)[0]

    def get(self, key: str = "k") -> bytes | None:
        """Read one key by the first adapter."""
        return self.first.get([key])[0]


def _wait_absent(bench: StoreBench) -> None:
    if getattr(bench.first, "wait", None) is not None:  # a class whose features vary may have it: then it refuses
        with pytest.raises(Unsupported):
            bench.first.wait(["k"], 0.0)


def _kept(bench: StoreBench) -> None:
    bench.put(b"x", ttl=0.1)
    bench.pass_time(0.3)
    assert bench.get() in (b"x", None)


def _one_megabyte(bench: StoreBench) -> None:
    value = bytes(range(256)) * 4096
    assert bench.put(value) is None
    assert bench.get() == value, "a store without a limit of its own must carry 1 MiB"


def _in_sequence(bench: StoreBench) -> None:
    second: Any = bench.open()
    assert bench.put(b"first") is None
    assert second.put([Record("k", b"second", True, (0, 0, 0))], 600.0) == [b"first"]


WAIT: Ability[StoreBench] = Ability("wait", lambda f: f.wait, _wait_absent)
TTL: Ability[StoreBench] = Ability("ttl", lambda f: f.ttl, _kept)
MAX_VALUE: Ability[StoreBench] = Ability("max_value", lambda f: f.max_value > 0, _one_megabyte)
#: A store that does not claim the atomic step is still held to the rules where nobody races.
GUARDED: Ability[StoreBench] = Ability("guarded", lambda f: f.guarded, _in_sequence)
