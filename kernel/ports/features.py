"""What an adapter can do, as data.

The kernel reads these values at run time to choose between the native way and an emulation, the conformance
suite attacks every one of them from both sides, and the comparison table in the docs prints them. There is no
second list anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal

#: How far durability reaches. "process": as long as the process that holds it lives, and no longer; "service": a kill
#: of every process, the service included; "power": a loss of power as well.
Survives = Literal["process", "service", "power"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """Abilities of a transport; final once `open` has returned. Quantities, not booleans, where a limit exists."""

    #: Seconds for which a received message stays hidden; None: until the connection that received it ends. Where
    #: it is a choice, the adapter's URL takes it as `lease=<seconds>`.
    lease: float | None
    #: Seconds for which renewals can hold a message in all.
    lease_total: float = inf
    #: What "durable when `send` returns" means.
    survives: Survives
    #: Longest native delay in seconds: inf, 900.0, or 0.0 for none.
    delay: float = 0.0
    #: Number of native priority levels, 0 for none. Kernel priorities run from 0 to 9, 9 the most urgent; one above the
    #: highest level counts as the highest.
    priorities: int = 0
    #: Most messages in one call of `send`, `receive`, `ack`, `release`, `extend` or `commit`. Of a larger batch
    #: everything is done, or it is `Rejected` and nothing is.
    max_batch: int = 1000
    #: Largest payload in bytes; 0: no limit of its own.
    max_payload: int = 0
    #: An expired message (`Outgoing.expires_at`) is never delivered.
    expiry: bool = False
    #: Seconds for which an equal `Outgoing.dedup_key` is stored once only in its queue; 0.0 for none.
    dedup: float = 0.0
    #: Messages of one `Outgoing.order_key` are delivered in order and one at a time.
    ordered: bool = False
    #: There are exchanges (`Outgoing.exchange`), made and bound to queues by whoever runs the service. Without, the
    #: attribute is ignored: the kernel refuses such a call before it is sent.
    exchanges: bool = False
    #: `publish` and `listen` exist.
    broadcast: bool = False
    #: `commit` exists: sends and acks happen together or not at all.
    commit: bool = False
    #: `Delivery.redelivered` counts earlier deliveries exactly, so that it can serve as a fence. Without it the value
    #: is a flag: 0 for the first delivery, 1 for a later one, -1 where not even that is known.
    counts: bool = False
    #: A release counts as a delivery in `redelivered` although nothing ran.
    release_counts: bool = False
    #: Seconds after which a `send` has ended at the latest once the transport is open, whatever the service and the
    #: network do (a look-up of names aside); inf: not known. Where a sender has less time than that, or nothing is
    #: known, the kernel makes the call on a thread of its own, which on a fast service costs more than the call.
    answers_within: float = inf
    #: Of "delay" and "dedup", what the kernel emulates with the help of another service: nobody knows how long that
    #: takes to answer, so `answers_within` is not of sends that use it. No adapter sets this.
    borrowed: frozenset[str] = frozenset()
    #: `sizes` and `purge` exist.
    inspect: bool = False
    #: `peek` exists: a message can be seen without being taken.
    peek: bool = False
    #: `queues` exists: the service can name its queues.
    lists: bool = False
    #: `wake` exists: a blocked `receive` can be ended from another thread.
    wake: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFeatures:
    """Abilities of a result store; final once `open` has returned."""

    #: What a stored record outlives.
    survives: Survives
    #: Largest value in bytes; 0: no limit of its own.
    max_value: int = 0
    #: Records vanish by themselves after their time to live.
    ttl: bool = True
    #: The comparison of ranks and the write are one atomic step.
    guarded: bool = False
    #: `wait` and `rouse` exist: a reader is told of a final record without polling.
    wait: bool = False
    #: Most records in one call.
    max_batch: int = 1000
