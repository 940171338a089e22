"""The board: numbers and texts in memory that processes share."""

import os
import subprocess
import sys
import threading
import timeit
from collections.abc import Iterator

import pytest

from kernel.supervisor.board import JOB_BYTES, NOTE_BYTES, RECORD, Board
from kernel.worker.seat import Away, State


@pytest.fixture
def board() -> Iterator[Board]:
    board = Board.create(3)
    yield board
    board.close()


def test_every_field_is_read_back_by_another_holder_of_the_file(board: Board) -> None:
    seat = board.seat(1)
    seat.pid = 4711
    seat.state = State.DRAINING
    seat.beat_at, seat.busy_since, seat.kill_at = 1.5, 2.5, 3.5
    seat.settled, seat.in_hand, seat.rss = 2**40, 7, 2**33
    seat.away = Away.TRANSPORT | Away.RESULTS
    seat.job = "mail.send[a]"
    seat.note = "no such queue"
    other = Board.attach(os.dup(board.fd))
    status = other.read(1)
    other.close()
    assert (status.seat, status.pid, status.state) == (1, 4711, State.DRAINING)
    assert (status.beat_at, status.busy_since, status.kill_at) == (1.5, 2.5, 3.5)
    assert (status.settled, status.in_hand, status.rss) == (2**40, 7, 2**33)
    assert status.away == Away.TRANSPORT | Away.RESULTS
    assert (status.job, status.note) == ("mail.send[a]", "no such queue")
    assert (seat.pid, seat.state, seat.beat_at, seat.job, seat.note) == (
        4711, State.DRAINING, 1.5, "mail.send[a]", "no such queue",
    )  # fmt: skip


def test_neighbours_do_not_touch_each_other(board: Board) -> None:
    board.seat(1).job = "x" * 5000
    board.seat(1).note = "y" * 5000
    for number in (0, 2):
        assert board.read(number).job == ""
        assert board.read(number).note == ""
        assert board.read(number).pid == 0
    assert len(board.read(1).job) == JOB_BYTES
    assert len(board.read(1).note) == NOTE_BYTES


def test_a_text_is_cut_between_characters(board: Board) -> None:
    seat = board.seat(0)
    seat.job = "a" + "\N{SNOWMAN}" * 40
    assert board.read(0).job == "a" + "\N{SNOWMAN}" * 31
    seat.job = "ok"
    assert board.read(0).job == "ok"
    seat.job = "\udcff"
    assert board.read(0).job == "?"


def test_reset_frees_a_seat(board: Board) -> None:
    seat = board.seat(2)
    seat.pid, seat.job, seat.kill_at = 1, "x", 2.0
    board.reset(2)
    status = board.read(2)
    assert (status.pid, status.job, status.kill_at, status.state) == (0, "", 0.0, State.STARTING)


def test_a_record_full_of_rubbish_is_still_read(board: Board) -> None:
    board.seat(0)._bytes[:RECORD] = b"\xff" * RECORD
    assert board.read(0).state is State.STOPPED
    board.seat(0)._bytes[:RECORD] = b"\x7f" * RECORD
    assert len(board.read(0).job) == JOB_BYTES


def test_a_reader_never_sees_half_a_job(board: Board) -> None:
    seat = board.seat(0)
    seat.job = "a" * 90
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            for letter in "abcdefgh":
                seat.job = letter * (80 + ord(letter) % 10)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        jobs = {board.read(0).job for _ in range(20_000)}
    finally:
        stop.set()
        writer.join()
    assert all(len(set(job)) == 1 and len(job) == 80 + ord(job[0]) % 10 for job in jobs)


def test_another_process_writes_and_we_read(board: Board) -> None:
    code = "import sys; from kernel.supervisor.board import Board; Board.attach(int(sys.argv[1])).seat(2).settled = 42"
    subprocess.run([sys.executable, "-c", code, str(board.fd)], pass_fds=[board.fd], check=True)
    assert board.read(2).settled == 42


def test_setting_a_field_costs_well_under_a_microsecond(board: Board) -> None:
    seat = board.seat(0)

    def write() -> None:
        seat.beat_at = 1.0

    best = min(timeit.repeat(write, number=10_000, repeat=5)) / 10_000
    assert best < 1e-6


def test_close_is_idempotent_and_frees_the_descriptor() -> None:
    board = Board.create(1)
    fd = board.fd
    board.close()
    board.close()
    with pytest.raises(OSError):
        os.fstat(fd)
