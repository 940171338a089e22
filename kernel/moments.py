"""Moments in the life of an application that its own code waits for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


class Moment:
    """`@app.on_after_finalize.connect` calls a function, with the application, when the moment comes.

    For an application's own code, in Celery's words. A plugin, which is there before the application, has hooks of
    the same moments. What a function raises reaches whoever brought the moment about.
    """

    __slots__ = ("_again", "_functions", "_told")

    def __init__(self, again: bool = False) -> None:
        """`again`: it comes more than once."""
        self._again = again
        self._told = False
        self._functions: list[Callable[..., Any]] = []

    def connect(self, function: F) -> F:
        """Call `function(app)` then, after those that were connected earlier; it is kept."""
        self._functions.append(function)
        return function

    def tell(self, app: object) -> bool:
        """It has come; returns whether it came for the first time, or may come again."""
        if self._told and not self._again:
            return False
        self._told = True
        for function in self._functions:
            function(app)
        return True
