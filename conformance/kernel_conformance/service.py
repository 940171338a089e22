"""Power over the service behind an adapter, so that the suite can prove what survives its end."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


class ServiceControl(Protocol):
    """Given by the author as `service`; every call returns when its effect is complete.

    The clauses that need it are reported as *not proven* without it, never as passed.
    """

    def start(self) -> None:
        """Start a stopped service and wait until it answers. No error when it runs."""

    def stop(self) -> None:
        """Stop it in the orderly way. No error when it does not run."""

    def kill(self) -> None:
        """End it without any chance to save something (SIGKILL)."""

    def restart(self) -> None:
        """Stop and start."""


@runtime_checkable
class Freezes(Protocol):
    """A control that can do this too: connections stay, and nothing answers."""

    def pause(self) -> None:
        """Freeze it."""

    def resume(self) -> None:
        """End a pause."""
