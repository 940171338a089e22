"""Processes are not a pool: a supervisor that runs N identical worker processes, and what they share."""

from kernel.supervisor.board import Board, Seat, SeatStatus
from kernel.supervisor.spec import SupervisorSpec
from kernel.supervisor.supervisor import Supervisor
from kernel.worker.seat import ExitCode, State

__all__ = ["Board", "ExitCode", "Seat", "SeatStatus", "State", "Supervisor", "SupervisorSpec"]
