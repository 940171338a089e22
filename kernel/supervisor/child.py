"""Entry of every process that a supervisor starts: `python -m kernel.supervisor.child <handover>`."""

from __future__ import annotations

import sys

from kernel.supervisor.process import Run, live
from kernel.supervisor.spec import Handover
from kernel.supervisor.template import Prepare, serve


def main(run: Run, prepare: Prepare = lambda options: None) -> int:
    """Be what the handover, the last argument, says: a worker process or a template; returns the exit status.

    A template calls `prepare` with the worker's options before it imports the application.
    """
    handover = Handover.load(sys.argv[-1])
    if handover.line < 0:
        return live(handover, run)
    served = serve(handover, prepare)
    return served if isinstance(served, int) else live(served, run)


if __name__ == "__main__":
    # Here and not above: other programs that call `main` with a worker of their own need not load ours.
    from kernel.worker.process import prepare, run_worker

    raise SystemExit(main(run_worker, prepare))
