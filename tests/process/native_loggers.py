"""Three native threads that log at the same moments in a process patched for the pool in `argv[1]`."""

import logging
import os
import sys
import warnings

warnings.simplefilter("ignore")
from kernel.worker.process import patch  # noqa: E402

patch(sys.argv[1])
from kernel.native import Thread  # noqa: E402

logger = logging.getLogger("of.the.test")
handler = logging.StreamHandler(open(os.devnull, "w"))  # noqa: SIM115
logger.addHandler(handler)
logger.propagate = False


def work() -> None:
    for number in range(500):
        logger._cache.clear()  # type: ignore[attr-defined]  # as before the first record of each level
        logger.warning("%d", number)


sys.setswitchinterval(1e-6)
threads = [Thread(work, f"thread {number}") for number in range(3)]
for thread in threads:
    thread.start()
print([thread.join(20.0) for thread in threads], flush=True)
os._exit(0)
