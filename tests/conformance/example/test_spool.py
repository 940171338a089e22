"""The conformance of the spool transport."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from kernel_conformance import TransportConformance
from kernel_spool import SpoolTransport

ROOT = Path(tempfile.gettempdir()) / "kernel-spool-conformance"


class TestSpool(TransportConformance):
    label = "spool"
    lease_for = 0.5
    quiet_for = 0.02

    def make(self, namespace: str) -> SpoolTransport:
        return SpoolTransport(ROOT / namespace, lease=self.lease_for)

    def cleanup(self, namespace: str) -> None:
        shutil.rmtree(ROOT / namespace, ignore_errors=True)
