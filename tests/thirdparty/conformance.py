"""The published suite on this package's adapters: `pytest conformance.py` where kernelq[conformance] is installed."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from kernel_conformance import SerializerConformance, TransportConformance
from kernel_thirdparty.serializer import ShoutSerializer
from kernel_thirdparty.transport import DirectoryTransport

ROOT = Path(tempfile.gettempdir()) / "kernel-thirdparty"


class TestDirectoryTransport(TransportConformance):
    def make(self, namespace: str) -> DirectoryTransport:
        return DirectoryTransport(ROOT / namespace, lease=self.lease_for)

    def cleanup(self, namespace: str) -> None:
        shutil.rmtree(ROOT / namespace, ignore_errors=True)


class TestShoutSerializer(SerializerConformance):
    def make(self) -> ShoutSerializer:
        return ShoutSerializer()
