"""What settings of Celery are called here, for the one line that somebody who moves over reads.

Looked up in errors only; docs/from-celery.md has all of them, with what replaces those that are not here.
"""

from __future__ import annotations

from collections.abc import Mapping

#: Celery's name, lower-case and without the prefix of old names -> ours, or what to do instead.
FAMILIAR: Mapping[str, str] = {
    "broker": "transport",
    "broker_url": "transport",
    "backend": "results",
    "result_backend": "results",
    "task_queues": "declared_queues",
    "task_routes": "routes",
    "task_annotations": "annotations",
    "task_create_missing_queues": "create_missing_queues",
    "task_default_queue": "queue",
    "task_default_priority": "priority",
    "task_inherit_parent_priority": "inherit_parent_priority",
    "task_serializer": "serializer",
    "result_serializer": "serializer",
    "accept_content": "accept",
    "task_ignore_result": "ignore_result",
    "task_acks_late": "acks_late",
    "task_track_started": "track_started",
    "task_time_limit": "time_limit",
    "task_soft_time_limit": "soft_time_limit",
    "worker_concurrency": "concurrency",
    "worker_pool": "pool",
    "worker_max_tasks_per_child": "max_tasks",
    "worker_max_memory_per_child": "max_memory",
    "worker_soft_shutdown_timeout": "grace",
    "visibility_timeout": "lease",
    "worker_prefetch_multiplier": "prefetch_max",
}
