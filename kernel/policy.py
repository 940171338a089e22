"""When a failed task runs again, and when it stops. Pure: no clock, no threads, no I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from kernel.configuration.settings import Tasks
from kernel.envelope import MAX_RETRIES, Envelope
from kernel.errors import Retry


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How often and how late a task is retried.

    The delay before retry n (from 0) is `delay * backoff ** n`, at most `max_delay`. With `jitter` it is drawn
    evenly between 0 and that, which spreads a herd best: the "full jitter" of
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/.
    """

    #: Retries after the first run; None: no limit.
    max_retries: int | None = 3
    #: Seconds before the first retry.
    delay: float = 3.0
    #: Factor from one delay to the next; 1.0 keeps it constant.
    backoff: float = 2.0
    #: Longest delay in seconds.
    max_delay: float = 600.0
    jitter: bool = True
    #: Exceptions that are retried without being asked for.
    autoretry_for: tuple[type[BaseException], ...] = ()
    #: Of those, exceptions that are not.
    dont_autoretry_for: tuple[type[BaseException], ...] = ()

    def wait_for(self, attempt: int, chance: Callable[[], float]) -> float:
        """Seconds between the end of run `attempt` and the next; `chance` draws from [0, 1)."""
        try:
            wait = min(self.delay * self.backoff**attempt, self.max_delay)
        except OverflowError:  # larger than any float, and so than any limit
            wait = self.max_delay if self.delay else 0.0
        return wait * chance() if self.jitter else wait

    def automatic(self, error: BaseException) -> bool:
        """Whether this error is retried without the task asking for it."""
        return isinstance(error, self.autoretry_for) and not isinstance(error, self.dont_autoretry_for)


def retry_policy(options: Mapping[str, Any], defaults: Tasks) -> RetryPolicy:
    """The retry policy of a task: its own options, and the configuration for what they leave out."""
    backoff = options.get("retry_backoff", defaults.retry_backoff)
    unlimited = None if defaults.max_retries < 0 else defaults.max_retries
    return RetryPolicy(
        max_retries=options.get("max_retries", unlimited),
        delay=options.get("default_retry_delay", defaults.default_retry_delay),
        backoff=2.0 if backoff is True else 1.0 if backoff is False else backoff,
        max_delay=options.get("retry_backoff_max", defaults.retry_backoff_max),
        jitter=options.get("retry_jitter", defaults.retry_jitter),
        autoretry_for=options.get("autoretry_for", ()),
        dont_autoretry_for=options.get("dont_autoretry_for", ()),
    )


def allowed_retries(policy: RetryPolicy, envelope: Envelope, asked: Retry | None) -> int | None:
    """How many retries a call has: the run's own word, else the call's, else the task's. None: no limit."""
    if asked is not None and asked.max_retries is not False:
        return asked.max_retries
    override: int | None = envelope.extra.get(MAX_RETRIES)
    if override is not None:
        return None if override < 0 else override
    return policy.max_retries


def prefetch(mean_runtime: float, window: float, most: int) -> int:
    """How many unstarted tasks fit in `window` seconds of one slot at `mean_runtime` seconds each; at least 1.

    `mean_runtime` 0.0 means unknown: the first contact with a task buffers one.
    """
    if mean_runtime <= 0.0:
        return 1
    return max(1, min(most, int(window / mean_runtime)))
