"""The board: what each worker process does, in memory that the supervisor and its processes share.

A mapped file without a name, created by the supervisor and inherited by descriptor: nothing is left behind even when
all of them are killed. One record per seat, written by the one process that sits there, read by anybody.

There is no lock. A number is one aligned store of eight bytes, which is never seen half done; a text is guarded by a
counter that is odd while it is being written, and a reader that meets such a moment reads again.

    offset 0    ten numbers of eight bytes, see the constants below
    offset 80   counter of the job text, its length, 96 bytes of UTF-8
    offset 192  length of the note, up to 824 bytes of UTF-8
"""

from __future__ import annotations

import mmap
import os
import tempfile
from dataclasses import dataclass

from kernel.worker.seat import Away, State

RECORD = 1024
JOB_BYTES = 96
NOTE_BYTES = 824

_WORDS = RECORD // 8
_PID, _STATE, _BEAT, _BUSY, _KILL, _SETTLED, _IN_HAND, _RSS, _INTRODUCED, _AWAY = range(10)
_JOB_TURN, _JOB_LENGTH, _JOB = 10, 11, 12 * 8
_NOTE_LENGTH, _NOTE = 24, 25 * 8
#: A writer is inside of the text for well under a microsecond; a reader that fails this often met a dead one.
_READS = 8
#: The record of a process that scribbled over its memory must not take the supervisor along.
_STATES = {state.value: state for state in State}
_ALL_AWAY = sum(Away)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeatStatus:
    """One record as it was read; times are monotonic seconds, comparable between the processes of one machine."""

    seat: int
    #: 0 until a process has taken the seat.
    pid: int
    state: State
    #: When the process last said that it makes progress.
    beat_at: float
    #: Since when it works without a pause; 0.0: idle.
    busy_since: float
    #: When the supervisor must kill it; 0.0: never.
    kill_at: float
    #: Tasks finished.
    settled: int
    #: Deliveries held, running or not.
    in_hand: int
    #: Resident memory in bytes as the process last measured it.
    rss: int
    #: Services that did not answer it when it asked last.
    away: Away
    #: What runs, shortened to 96 bytes.
    job: str
    #: One line about its end, for people.
    note: str


class Board:
    """Records for `seats` processes. The supervisor calls `create`, a process `attach`; `close` is idempotent."""

    def __init__(self, fd: int, seats: int) -> None:
        self.fd = fd
        self.seats = seats
        self._map = mmap.mmap(fd, seats * RECORD)
        self._bytes = memoryview(self._map)
        self._ints = self._bytes.cast("q")
        self._floats = self._bytes.cast("d")

    @classmethod
    def create(cls, seats: int) -> Board:
        """A new board, all seats free."""
        fd = anonymous_file("kernel-board")
        os.ftruncate(fd, seats * RECORD)
        return cls(fd, seats)

    @classmethod
    def attach(cls, fd: int) -> Board:
        """The board behind an inherited descriptor, which belongs to it from now on."""
        return cls(fd, os.fstat(fd).st_size // RECORD)

    def seat(self, number: int) -> Seat:
        """The writing end of one record; for one process at a time."""
        return Seat(number, self._bytes, self._ints, self._floats)

    def reset(self, number: int) -> None:
        """Free a seat whose process is gone; that it was introduced stays."""
        introduced = self._ints[number * _WORDS + _INTRODUCED]
        self._bytes[number * RECORD : (number + 1) * RECORD] = bytes(RECORD)
        self._ints[number * _WORDS + _INTRODUCED] = introduced

    def read(self, number: int) -> SeatStatus:
        """What stands in one record now."""
        at = number * _WORDS
        ints, floats = self._ints, self._floats
        return SeatStatus(
            seat=number,
            pid=ints[at + _PID],
            state=_STATES.get(ints[at + _STATE], State.STOPPED),
            beat_at=floats[at + _BEAT],
            busy_since=floats[at + _BUSY],
            kill_at=floats[at + _KILL],
            settled=ints[at + _SETTLED],
            in_hand=ints[at + _IN_HAND],
            rss=ints[at + _RSS],
            away=Away(ints[at + _AWAY] & _ALL_AWAY),
            job=self._job(number),
            note=self._text(number * RECORD + _NOTE, min(ints[at + _NOTE_LENGTH], NOTE_BYTES)),
        )

    def _job(self, number: int) -> str:
        at = number * _WORDS
        text = ""
        for _ in range(_READS):
            turn = self._ints[at + _JOB_TURN]
            text = self._text(number * RECORD + _JOB, min(self._ints[at + _JOB_LENGTH], JOB_BYTES))
            if turn % 2 == 0 and turn == self._ints[at + _JOB_TURN]:
                break
        return text

    def _text(self, start: int, length: int) -> str:
        return str(self._bytes[start : start + length], "utf-8", "replace")

    def close(self) -> None:
        """Let go of the memory and of the descriptor; seats of this object must not be used any more."""
        if self.fd < 0:
            return
        for view in (self._ints, self._floats, self._bytes):
            view.release()
        self._map.close()
        os.close(self.fd)
        self.fd = -1


class _Whole:
    """An attribute of `Seat`: a whole number at one word of its record."""

    __slots__ = ("_word",)

    def __init__(self, word: int) -> None:
        self._word = word

    def __get__(self, seat: Seat, owner: type[Seat]) -> int:
        return seat._ints[seat._at + self._word]

    def __set__(self, seat: Seat, value: int) -> None:
        seat._ints[seat._at + self._word] = value


class _Seconds:
    """An attribute of `Seat`: monotonic seconds at one word of its record."""

    __slots__ = ("_word",)

    def __init__(self, word: int) -> None:
        self._word = word

    def __get__(self, seat: Seat, owner: type[Seat]) -> float:
        return seat._floats[seat._at + self._word]

    def __set__(self, seat: Seat, value: float) -> None:
        seat._floats[seat._at + self._word] = value


class Seat:
    """One record, written by the process that sits there; what the worker knows as `kernel.worker.seat.Seat`.

    Every attribute is one store into shared memory and may be set by any thread of that process; `job` and `note` by
    one thread at a time.
    """

    __slots__ = ("_at", "_bytes", "_floats", "_ints", "number")

    #: The process that sits here; 0: none yet.
    pid = _Whole(_PID)
    #: One of `State`; the worker sets READY, DRAINING and STOPPED.
    state = _Whole(_STATE)
    #: When the worker last made progress; to be set at least every few seconds, also while it is idle.
    beat_at = _Seconds(_BEAT)
    #: Since when it works without a pause; 0.0: idle.
    busy_since = _Seconds(_BUSY)
    #: When the supervisor must kill this process; 0.0: never. A time in the past kills at the next look.
    kill_at = _Seconds(_KILL)
    #: Tasks finished so far.
    settled = _Whole(_SETTLED)
    #: Deliveries held, running or not.
    in_hand = _Whole(_IN_HAND)
    #: Resident memory in bytes.
    rss = _Whole(_RSS)
    #: 1 once a process that sat here has said what kind of worker this is, which its successors need not repeat.
    introduced = _Whole(_INTRODUCED)
    #: One of `Away`.
    away = _Whole(_AWAY)

    def __init__(self, number: int, shared: memoryview[int], ints: memoryview[int], floats: memoryview[float]) -> None:
        self.number = number
        self._bytes = shared
        self._ints = ints
        self._floats = floats
        self._at = number * _WORDS

    @property
    def job(self) -> str:
        """What runs, "" for nothing; what is longer than 96 bytes of UTF-8 is cut."""
        start = self.number * RECORD + _JOB
        return str(self._bytes[start : start + self._ints[self._at + _JOB_LENGTH]], "utf-8")

    @job.setter
    def job(self, text: str) -> None:
        data = _cut(text, JOB_BYTES)
        ints, at, start = self._ints, self._at, self.number * RECORD + _JOB
        turn = ints[at + _JOB_TURN] | 1
        ints[at + _JOB_TURN] = turn
        ints[at + _JOB_LENGTH] = len(data)
        self._bytes[start : start + len(data)] = data
        ints[at + _JOB_TURN] = turn + 1

    @property
    def note(self) -> str:
        """One line for people about why this process ends, such as the mistake in its configuration."""
        start = self.number * RECORD + _NOTE
        return str(self._bytes[start : start + self._ints[self._at + _NOTE_LENGTH]], "utf-8")

    @note.setter
    def note(self, text: str) -> None:
        # Read after the death of the writer only, so it needs no counter: the length comes last.
        data = _cut(text, NOTE_BYTES)
        start = self.number * RECORD + _NOTE
        self._bytes[start : start + len(data)] = data
        self._ints[self._at + _NOTE_LENGTH] = len(data)


def _cut(text: str, limit: int) -> bytes:
    data = text.encode("utf-8", "replace")
    return data if len(data) <= limit else data[:limit].decode("utf-8", "ignore").encode()


def anonymous_file(label: str) -> int:
    """Descriptor of an empty file without a name; the label is for people who look at descriptors.

    In memory where the system can do that: pages of a file on a disk are written back by the system now and then, and
    whoever sets a number in that moment would wait for the disk.
    """
    if hasattr(os, "memfd_create"):
        return os.memfd_create(label)
    fd, path = tempfile.mkstemp(prefix=label)
    os.unlink(path)
    return fd
