"""Processes are not a pool: a supervisor that runs N identical worker processes, and what they share."""

from kernel.supervisor.board import Board, Seat, SeatStatus, State
from kernel.supervisor.exit_codes import ExitCode
from kernel.supervisor.spec import SupervisorSpec
from kernel.supervisor.supervisor import Supervisor

__all__ = ["Board", "ExitCode", "Seat", "SeatStatus", "State", "Supervisor", "SupervisorSpec"]
