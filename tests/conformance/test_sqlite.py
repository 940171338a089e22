"""The embedded adapter: one file per namespace, real time."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from kernel_conformance import (
    CoordinationConformance,
    ResultStoreConformance,
    ScheduleStoreConformance,
    TransportConformance,
)
from kernel_sqlite import SqliteCoordination, SqliteResults, SqliteSchedules, SqliteTransport

#: Seconds. Short, because nothing but waiting ends a lease or a delay here; long enough for a busy machine.
LEASE = 0.5


def folder(namespace: str) -> Path:
    """Where a namespace lives."""
    return Path(tempfile.gettempdir()) / f"kernel-conformance-{namespace}"


def url(namespace: str) -> str:
    """The URL of a namespace."""
    folder(namespace).mkdir(exist_ok=True)
    return f"sqlite:///{folder(namespace)}/kernel.db?lease={LEASE}"


def remove(namespace: str) -> None:
    """Delete what a namespace left."""
    shutil.rmtree(folder(namespace), ignore_errors=True)


class TestTransport(TransportConformance):
    label = "sqlite"
    lease_for = LEASE
    quiet_for = 0.02

    def make(self, namespace: str) -> SqliteTransport:
        return SqliteTransport.from_url(url(namespace))

    def cleanup(self, namespace: str) -> None:
        remove(namespace)


class TestResults(ResultStoreConformance):
    label = "sqlite"

    def make(self, namespace: str) -> SqliteResults:
        return SqliteResults.from_url(url(namespace))

    def cleanup(self, namespace: str) -> None:
        remove(namespace)


class TestCoordination(CoordinationConformance):
    label = "sqlite"
    lease_for = LEASE

    def make(self, namespace: str) -> SqliteCoordination:
        return SqliteCoordination.from_url(url(namespace))

    def cleanup(self, namespace: str) -> None:
        remove(namespace)


class TestSchedules(ScheduleStoreConformance):
    label = "sqlite"
    lease_for = LEASE

    def make(self, namespace: str) -> SqliteSchedules:
        return SqliteSchedules.from_url(url(namespace))

    def cleanup(self, namespace: str) -> None:
        remove(namespace)
