"""What the exit status of a worker process or of its supervisor means, under the name that the command line uses.

The values stand with the worker, which ends with them and may not import the supervisor.
"""

from kernel.worker.seat import ExitCode

__all__ = ["ExitCode"]
