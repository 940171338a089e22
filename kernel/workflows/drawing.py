"""A workflow, or one that runs, as a picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from kernel.canvas.draw import dot, mermaid, picture
from kernel.canvas.flow import Flow
from kernel.results.groups import GroupResult
from kernel.results.result import AsyncResult

_FORMS: dict[str, Callable[..., str]] = {"mermaid": mermaid, "dot": dot}


def draw(
    flow: Flow,
    result: AsyncResult[Any] | GroupResult[Any] | None = None,
    form: Literal["mermaid", "dot"] = "mermaid",
) -> str:
    """The text of a picture, for Mermaid (https://mermaid.js.org), which many pages can show, or for Graphviz.

    With what `flow.delay()` returned, each task has the colour of the state that it has now; all states are read at
    once. Of a group of many members only the first dozen are drawn. `ConfigError` for a group of a generator, which
    would be used up by looking at it.
    """
    if result is None:
        return _FORMS[form](flow)
    ids = [node.id for node in picture(flow, result.id).nodes if node.id]
    states = {id: entry.state for id, entry in zip(ids, result.source.entries(ids), strict=True) if entry is not None}
    return _FORMS[form](flow, result.id, lambda id: states.get(id, ""))
