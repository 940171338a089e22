"""Testing applications: without a service, by the worker's own code, in virtual time.

`with of(app) as sandbox:` puts an application in test mode. The fixtures of `kernel.fixtures` do it for pytest.
"""

from kernel.testing.calls import Enqueued
from kernel.testing.clock import VirtualClock
from kernel.testing.sandbox import Sandbox, current, of

__all__ = ["Enqueued", "Sandbox", "VirtualClock", "current", "of"]
