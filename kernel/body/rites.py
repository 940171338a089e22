"""The hooks of a task's class, as its runs need them: those that are overridden, and no others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from kernel.arity import is_coroutine
from kernel.current import Running, running
from kernel.errors import MaxRetriesExceeded, Retry
from kernel.outcome import Again, ErrorInfo, Failed, Ok, Outcome
from kernel.task import HOOKS, Task

log = logging.getLogger("kernel.task")

Hook = Callable[..., Any]


class Rites:
    """Who is told of the runs of one task. `told` and its twin never raise: what has happened stays as it is."""

    __slots__ = ("_hooks",)

    def __init__(self, hooks: dict[str, Hook]) -> None:
        self._hooks = hooks

    @classmethod
    def of(cls, task: Task[..., Any, Any]) -> Rites | None:
        """Those of a task, None when its class overrides nothing."""
        hooks = {name: getattr(task, name) for name in HOOKS if getattr(type(task), name) is not getattr(Task, name)}
        return cls(hooks) if hooks else None

    def bridge(self, block_on: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        """Run asynchronous hooks through a loop elsewhere."""
        for name, hook in self._hooks.items():
            if is_coroutine(hook):
                self._hooks[name] = _bridged(hook, block_on)

    # -- before the body -----------------------------------------------------------------------------------

    def around(self, call: Callable[..., Any], coroutine: bool) -> Callable[..., Any]:
        """`call` with `before_start` in front of it; what that raises is what the task raises."""
        before = self._hooks.pop("before_start", None)
        if before is None:
            return call

        def started(*args: Any, **kwargs: Any) -> Any:
            before(_own_id(), list(args), kwargs)
            return call(*args, **kwargs)

        async def astarted(*args: Any, **kwargs: Any) -> Any:
            met = before(_own_id(), list(args), kwargs)
            if is_coroutine(before):
                await met
            return await call(*args, **kwargs)

        return astarted if coroutine else started

    # -- after it ------------------------------------------------------------------------------------------

    def told(self, job: Running, outcome: Outcome, value: Any, error: BaseException | None) -> None:
        """Tell how a run ended: the value of one that returned, the error of one that raised."""
        for hook, words in self._words(job, outcome, value, error):
            try:
                hook(*words)
            except BaseException:
                _failed(hook, job)

    async def atold(self, job: Running, outcome: Outcome, value: Any, error: BaseException | None) -> None:
        """The same for coroutines."""
        for hook, words in self._words(job, outcome, value, error):
            try:
                heard = hook(*words)
                if is_coroutine(hook):
                    await heard
            except BaseException:
                _failed(hook, job)

    def _words(
        self, job: Running, outcome: Outcome, value: Any, error: BaseException | None
    ) -> Iterator[tuple[Hook, tuple[Any, ...]]]:
        """The hooks to call, and with what."""
        hooks = self._hooks
        args, kwargs = job.arguments()
        call = (job.envelope.id, args, kwargs)
        match outcome:
            case Ok():
                name, state, result, info = "on_success", "SUCCESS", value, None
            case Failed(described):
                name, state, result = "on_failure", "FAILURE", _cause(error, described.message)
                info = ErrorInfo(result, described.traceback)
            case Again(_, described, hop=False):
                name, state, result = "on_retry", "RETRY", _cause(error, "")
                info = ErrorInfo(result, "" if described is None else described.traceback)
            case _:
                return
        if name in hooks:
            yield hooks[name], (result, *call) if info is None else (result, *call, info)
        if "after_return" in hooks and state != "RETRY":
            yield hooks["after_return"], (state, result, *call, info)


def _own_id() -> str:
    job = running.get()
    return "" if job is None else job.envelope.id


def _cause(error: BaseException | None, message: str) -> BaseException:
    """What went wrong: behind a request to retry, the error that led to it."""
    if isinstance(error, Retry):
        return error.cause or (MaxRetriesExceeded(message) if message else error)
    return error or MaxRetriesExceeded(message)


def _bridged(hook: Hook, block_on: Callable[[Coroutine[Any, Any, Any]], Any]) -> Hook:
    return lambda *words: block_on(hook(*words))


def _failed(hook: Hook, job: Running) -> None:
    log.exception(
        "%s of %s[%s] failed; the outcome stays", hook.__name__, job.envelope.task, job.envelope.id,
    )  # fmt: skip
