"""The ports: what kernel needs from the world, and nothing of how it is had.

An adapter imports this package, `kernel.errors` and its client library, and nothing else of kernel.
"""

from kernel.ports.coordination import Acquire, Claim, Coordination, CoordinationFeatures, Take, Tally
from kernel.ports.features import Features, StoreFeatures, Survives
from kernel.ports.outbox import Fill, Outbox, Row, Transaction, Waiting
from kernel.ports.pool import Job, Pool, PoolFeatures
from kernel.ports.results import Record, ResultStore, Waits
from kernel.ports.schedule import Parked, ScheduleFeatures, ScheduleStore
from kernel.ports.seal import Seal
from kernel.ports.serializer import Serializer
from kernel.ports.transport import (
    Broadcasts,
    Commits,
    Delivery,
    Extends,
    Inbox,
    Inspects,
    Lists,
    Outgoing,
    Peeks,
    QueueSize,
    Transport,
    Wakes,
)

__all__ = [
    "Acquire",
    "Broadcasts",
    "Claim",
    "Commits",
    "Coordination",
    "CoordinationFeatures",
    "Delivery",
    "Extends",
    "Features",
    "Fill",
    "Inbox",
    "Inspects",
    "Job",
    "Lists",
    "Outbox",
    "Outgoing",
    "Parked",
    "Peeks",
    "Pool",
    "PoolFeatures",
    "QueueSize",
    "Record",
    "ResultStore",
    "Row",
    "ScheduleFeatures",
    "ScheduleStore",
    "Seal",
    "Serializer",
    "StoreFeatures",
    "Survives",
    "Take",
    "Tally",
    "Transaction",
    "Transport",
    "Waiting",
    "Waits",
    "Wakes",
]
