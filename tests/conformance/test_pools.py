"""The pools that ship with kernel. Jobs of the green pools sleep by the library's own sleep, so nothing is patched."""

from __future__ import annotations

import warnings

import pytest
from kernel_conformance import PoolConformance

from kernel.pools.asyncio_ import AsyncioPool
from kernel.pools.green import GreenPool, eventlet_pool, gevent_pool
from kernel.pools.solo import SoloPool
from kernel.pools.threads import ThreadPool

gevent = pytest.importorskip("gevent")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # eventlet announces its own end at import
    eventlet = pytest.importorskip("eventlet")


class TestSolo(PoolConformance):
    label = "solo"

    def make(self, slots: int) -> SoloPool:
        return SoloPool(min(slots, 1))


class TestThreads(PoolConformance):
    label = "threads"

    def make(self, slots: int) -> ThreadPool:
        return ThreadPool(slots)


class TestAsyncio(PoolConformance):
    label = "asyncio"

    def make(self, slots: int) -> AsyncioPool:
        return AsyncioPool(slots)


class TestGevent(PoolConformance):
    label = "gevent"
    sleep = staticmethod(gevent.sleep)

    def make(self, slots: int) -> GreenPool:
        return gevent_pool(slots)


class TestEventlet(PoolConformance):
    label = "eventlet"
    sleep = staticmethod(eventlet.sleep)

    def make(self, slots: int) -> GreenPool:
        return eventlet_pool(slots)
