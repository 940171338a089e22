"""What a memory URL may say.

    memory://name?mask=delay,priorities&lease=2&expiry=yes

`mask` takes away features, so that the kernel's emulation of each can be tried and tested; the other parameters
are the fields of `Limits`. One URL may serve all four ports: a parameter that concerns another port of this
package is that port's business, one that concerns none is a `ConfigError`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields
from difflib import get_close_matches
from math import inf
from typing import Any
from urllib.parse import unquote, urlsplit

from kernel.errors import ConfigError
from kernel.ports.query import Query

#: Features of the transport and of the result store that can be taken away.
TRANSPORT_MASKS = frozenset(
    (
        "lease",
        "delay",
        "priorities",
        "dedup",
        "ordered",
        "broadcast",
        "commit",
        "counts",
        "inspect",
        "peek",
        "lists",
        "wake",
    )
)
RESULT_MASKS = frozenset(("guarded", "wait"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much of each feature there is, where it is not masked."""

    #: Seconds for which a received message stays hidden.
    lease: float = 60.0
    #: Seconds for which renewals can hold a message in all; without a lease, for which a connection can.
    lease_total: float = inf
    #: Longest delay in seconds.
    delay: float = inf
    #: Number of priority levels, 1 to 10; a higher priority counts as the highest.
    priorities: int = 10
    #: Seconds for which an equal key is one message; keys are per queue.
    dedup: float = 300.0
    #: Expired messages are dropped. Off unless asked for, because the kernel records the expiry of a task.
    expiry: bool = False
    #: A release counts in `Delivery.redelivered`, as on services that cannot tell it from a loss.
    release_counts: bool = False
    #: Most messages, records, facts or entries in one call.
    max_batch: int = 1000
    #: Largest payload in bytes; 0: no limit.
    max_payload: int = 0
    #: Largest value of a record in bytes; 0: no limit.
    max_value: int = 0


@dataclass(frozen=True, slots=True)
class Options:
    """A parsed URL."""

    name: str
    mask: frozenset[str]
    limits: Limits


def parse(url: str) -> Options:
    """Read a memory URL; `ConfigError` names what is wrong with it."""
    parts = urlsplit(url)
    options = Query(url, parts.query)
    if parts.path.strip("/") or parts.fragment:
        raise options.wrong("a memory URL is memory://name?option=value, without a path")
    mask = frozenset(options.texts("mask"))
    limits = Limits(**{field.name: _value(options, field.name, field.default) for field in fields(Limits)})
    options.finish()
    check_mask(mask, TRANSPORT_MASKS | RESULT_MASKS)
    if not 1 <= limits.priorities <= 10 or limits.lease <= 0 or limits.max_batch < 1:
        raise options.wrong("priorities must be 1 to 10, lease and max_batch positive")
    if limits.lease_total < (0.0 if "lease" in mask else limits.lease):
        raise options.wrong("lease_total must not be below the lease")
    return Options(unquote(parts.netloc), mask, limits)


def check_mask(mask: Collection[str], known: frozenset[str]) -> None:
    """`ConfigError` when `mask` names something that is no feature: a misspelled mask would mask nothing."""
    for name in mask:
        if name not in known:
            raise ConfigError(f"cannot mask {name!r}{_hint(name, sorted(known))}")


def _value(options: Query, key: str, default: Any) -> Any:
    """The option of a field, read as the type of its default."""
    if isinstance(default, bool):
        return options.flag(key, default=default)
    if isinstance(default, int):
        return options.number(key, default)
    return options.seconds(key, default, least=0.0)


def _hint(name: str, known: Collection[str]) -> str:
    near = get_close_matches(name, known, 1)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"
