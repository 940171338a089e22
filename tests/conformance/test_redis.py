"""Redis, alone and as a cluster: real servers of the session's own, killed and restarted, with `appendfsync always`."""

from __future__ import annotations

from functools import cache

from kernel_conformance import (
    CoordinationConformance,
    ResultStoreConformance,
    ScheduleStoreConformance,
    TransportConformance,
)
from kernel_redis import RedisCoordination, RedisResults, RedisSchedules, RedisTransport
from services.redis import DURABLE, redis_server, shared_cluster
from services.server import Server

#: Seconds. Short, because nothing but waiting ends a lease or a delay here; long enough for a busy machine.
LEASE = 0.5


@cache
def durable() -> tuple[Server, str]:
    """A server that loses nothing when it is killed."""
    return redis_server(*DURABLE)


class Service:
    """Control of that server, started by whoever needs it first."""

    def __getattr__(self, name: str) -> object:
        return getattr(durable()[0], name)


def url(namespace: str) -> str:
    """The URL of a namespace."""
    return f"{durable()[1]}?prefix={namespace}&lease={LEASE}"


class TestTransport(TransportConformance):
    label = "redis"
    lease_for = LEASE
    quiet_for = 0.02
    service = Service()  # type: ignore[assignment]

    def make(self, namespace: str) -> RedisTransport:
        return RedisTransport.from_url(url(namespace))


class TestResults(ResultStoreConformance):
    label = "redis"
    service = Service()  # type: ignore[assignment]

    def make(self, namespace: str) -> RedisResults:
        return RedisResults.from_url(url(namespace))


class TestCoordination(CoordinationConformance):
    label = "redis"
    lease_for = LEASE
    service = Service()  # type: ignore[assignment]

    def make(self, namespace: str) -> RedisCoordination:
        return RedisCoordination.from_url(url(namespace))


class TestSchedules(ScheduleStoreConformance):
    label = "redis"
    lease_for = LEASE
    service = Service()  # type: ignore[assignment]

    def make(self, namespace: str) -> RedisSchedules:
        return RedisSchedules.from_url(url(namespace))


# -- the same on a cluster -----------------------------------------------------------------------------------


class ClusterService:
    """Control of all of its nodes at once, started by whoever needs it first."""

    def __getattr__(self, name: str) -> object:
        return getattr(shared_cluster(), name)


def cluster_url(namespace: str) -> str:
    """The URL of a namespace."""
    return f"{shared_cluster().url}?prefix={namespace}&lease={LEASE}"


class TestClusterTransport(TransportConformance):
    label = "redis-cluster"
    lease_for = LEASE
    quiet_for = 0.02
    service = ClusterService()  # type: ignore[assignment]

    def make(self, namespace: str) -> RedisTransport:
        return RedisTransport.from_url(cluster_url(namespace))


class TestClusterResults(ResultStoreConformance):
    label = "redis-cluster"
    service = ClusterService()  # type: ignore[assignment]

    def make(self, namespace: str) -> RedisResults:
        return RedisResults.from_url(cluster_url(namespace))


class TestClusterCoordination(CoordinationConformance):
    label = "redis-cluster"
    lease_for = LEASE
    service = ClusterService()  # type: ignore[assignment]

    def make(self, namespace: str) -> RedisCoordination:
        return RedisCoordination.from_url(cluster_url(namespace))


class TestClusterSchedules(ScheduleStoreConformance):
    label = "redis-cluster"
    lease_for = LEASE
    service = ClusterService()  # type: ignore[assignment]

    def make(self, namespace: str) -> RedisSchedules:
        return RedisSchedules.from_url(cluster_url(namespace))
