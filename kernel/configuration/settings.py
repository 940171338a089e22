"""What can be set: frozen values, one class per concern. `kernel.configuration.config` says where they come from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from kernel.configuration.annotations import Annotation
from kernel.masking import masked
from kernel.routing import Broadcast, Queue, Rule


class Ports(msgspec.Struct, frozen=True):
    """Which adapters are used, as URLs.

    "" stands for the transport's own URL where its scheme offers that port too, else for none; "none" for none.
    """

    #: URL of the transport, which carries the messages.
    transport: str = "sqlite:///kernel.db"
    #: URL of the result store.
    results: str = ""
    #: URL of the coordination service: unique tasks, joins, limits.
    coordination: str = ""
    #: URL of the schedule store: long delays, parked messages, periodic entries.
    schedules: str = ""
    #: URL of the keys that seal messages and results; "" for none.
    seal: str = ""
    #: Messages without a seal: refuse; accept; or send, which accepts them and seals nothing yet.
    unsealed: str = "refuse"
    #: Seconds for which a copy of a sealed message may come again; 0.0: no limit.
    replay_window: float = 0.0

    def __repr__(self) -> str:
        return f"Ports({', '.join(f'{name}={masked(getattr(self, name), name)!r}' for name in self.__struct_fields__)})"


class Tasks(msgspec.Struct, frozen=True):
    """What holds for every task that does not say otherwise itself."""

    #: Queue that a task is sent to.
    queue: str = "default"
    #: Name of the serializer for arguments and results.
    serializer: str = "json"
    #: Names of the serializers that are decoded; safe ones always are, an unsafe one such as pickle must be named.
    accept: tuple[str, ...] = ("json",)
    #: Keep no results.
    ignore_result: bool = False
    #: Seconds for which a result is kept; 0.0: for ever.
    result_expires: float = 86400.0
    #: Seconds for which the records of a workflow are kept, from the last write of each; 0.0: for ever.
    workflow_expires: float = 86400.0
    #: Seconds after which a workflow that waits for a group fails; 0.0: no limit.
    workflow_deadline: float = 0.0
    #: Seconds for which it is known that a task is revoked: longer than it may wait before it would run.
    revokes_expire: float = 604800.0
    #: Retries after the first run; -1: no limit.
    max_retries: int = 3
    #: Seconds before the first retry.
    default_retry_delay: float = 3.0
    #: Factor by which the delay grows with each retry, 1.0 or more.
    retry_backoff: float = 2.0
    #: Longest delay before a retry, in seconds.
    retry_backoff_max: float = 600.0
    #: Spread retries at random, so that failures of one moment do not come back in one moment.
    retry_jitter: bool = True
    #: Seconds after which `SoftTimeLimitExceeded` is raised inside of a task; 0.0: no limit.
    soft_time_limit: float = 0.0
    #: Seconds after which a task is stopped from outside; 0.0: no limit.
    time_limit: float = 0.0
    #: Seconds after its sending from which a task is not started any more; 0.0: never expires.
    expires: float = 0.0
    #: 0 to 9, 9 the most urgent.
    priority: int = 0
    #: Acknowledge after the run; False: just before its start, so that a crash loses the task.
    acks_late: bool = True
    #: Recorded starts before a message that ends its worker goes to the dead letters.
    max_deliveries: int = 3
    #: Largest message that is sent, in bytes.
    max_payload: int = 4 * 1024 * 1024
    #: Seconds for which a send is tried before its error reaches the caller.
    send_timeout: float = 5.0
    #: Have the transport drop the second copy of a send whose answer was lost, where it can by itself.
    send_once: bool = False
    #: File, or URL of an outbox, that takes what the transport does not answer for in that time; "" for none.
    outbox: str = ""
    #: Make messages and results smaller: zlib, gzip, bz2, lzma or zstd; "": not.
    compression: str = ""
    #: Those of more than so many bytes.
    compress_above: int = 4096
    #: Run every call inside of its caller, and send nothing; for tests. See `kernel.eager`.
    always_eager: bool = False
    #: Raise in the caller what a task raises that runs there; False: it is in the result.
    eager_propagates: bool = False
    #: Refuse to wait for the result of another task inside of a task.
    disable_sync_subtasks: bool = True
    #: Record the start of every task in the result store.
    track_started: bool = False


class Routing(msgspec.Struct, frozen=True):
    """Where calls go that do not say it themselves; see `kernel.routing`."""

    #: Patterns of task names and their routes: a mapping, or a list of pairs and functions; the first match counts.
    routes: tuple[Rule, ...] = ()
    #: The queues that there are, as names, mappings, `Queue`s and `Broadcast`s.
    declared_queues: tuple[Queue | Broadcast, ...] = ()
    #: Send to, and receive from, queues that are not declared; False: refuse it, with the name that was meant.
    create_missing_queues: bool = True
    #: A call from inside of a task has that task's priority, unless it names one.
    inherit_parent_priority: bool = False


class Application(msgspec.Struct, frozen=True):
    """What belongs to an application beside its own module."""

    #: Modules that each worker loads before it starts, for the tasks in them.
    imports: tuple[str, ...] = ()
    #: More of them: code names these and a file `imports`, and neither replaces the other's.
    include: tuple[str, ...] = ()
    #: Options of tasks by name or pattern, stronger than those at the task: {"mail.*": {"priority": 9}}.
    annotations: tuple[Annotation, ...] = ()
    #: IANA name of the zone in which datetimes without one are read; "": they are refused.
    timezone: str = ""


class Worker(msgspec.Struct, frozen=True):
    """How one worker works."""

    #: Queues it receives from, in order of preference.
    queues: tuple[str, ...] = ("default",)
    #: Queues that it does not receive from, although they are among those.
    exclude_queues: tuple[str, ...] = ()
    #: An earlier queue always comes first; False: fair turns.
    strict: bool = False
    #: Name of the pool.
    pool: str = "solo"
    #: Tasks at a time in each process; 0: as the pool sees fit.
    concurrency: int = 0
    #: Worker processes.
    processes: int = 1
    #: Seconds for which a received message is hidden between renewals.
    lease: float = 60.0
    #: Seconds that running tasks have to end in when the worker stops.
    grace: float = 30.0
    #: Seconds of work that are fetched ahead.
    prefetch_for: float = 0.05
    #: Most messages that are fetched ahead.
    prefetch_max: int = 1000
    #: Tasks after which a process is replaced; 0: no limit.
    max_tasks: int = 0
    #: Memory in MiB above which a process is replaced; 0.0: no limit.
    max_memory: float = 0.0
    #: Seconds for which a message of an unknown task or version is sent on before it goes to the dead letters.
    unknown_for: float = 600.0
    #: Import the application once and fork the processes from there.
    preload: bool = False
    #: File whose modification time shows that the worker makes progress; "" for none.
    liveness_file: str = ""
    #: File that is there, and touched, while the worker takes in work; "" for none.
    readiness_file: str = ""
    #: TCP port that answers HTTP requests for /live and /ready; 0 for none.
    health_port: int = 0
    #: Address at which it does; 0.0.0.0 for all of the machine.
    health_host: str = "127.0.0.1"
    #: Seconds between two looks at the worker's own health.
    health_interval: float = 1.0


class Logging(msgspec.Struct, frozen=True):
    """What the command line sets up; a program that embeds kernel sets up its own."""

    #: debug, info, warning, error or critical.
    log_level: str = "info"
    #: File to write to; "" for standard error.
    log_file: str = ""
    #: text or json.
    log_format: str = "text"


def defaults(concern: type[msgspec.Struct]) -> dict[str, Any]:
    """Key and default of every setting of one concern."""
    return dict(zip(concern.__struct_fields__, concern.__struct_defaults__, strict=True))


CONCERNS: Mapping[str, type[msgspec.Struct]] = {
    "ports": Ports,
    "application": Application,
    "tasks": Tasks,
    "routing": Routing,
    "worker": Worker,
    "logging": Logging,
}
HOMES: Mapping[str, str] = {key: name for name, concern in CONCERNS.items() for key in concern.__struct_fields__}
DEFAULTS: Mapping[str, Any] = {key: value for part in CONCERNS.values() for key, value in defaults(part).items()}
