"""What an outbox promises, on each database."""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path

import pytest
from kernel_sql import SqlOutbox

from kernel.errors import ConfigError, Rejected, Unavailable
from kernel.ports import Outgoing, Row
from kernel.sending.outbox import rows_of

OUT = Outgoing("mail", b"\x00\xff'\"%s:name", 9, 1.5, 2.5, "once", "in order")


def rows(count: int) -> list[Row]:
    return rows_of([Outgoing("q", b"%d" % number) for number in range(count)], 7.0)


def ids(found: list[Row]) -> list[str]:
    return [row.id for row in found]


def test_a_row_comes_back_as_it_was(outbox: SqlOutbox) -> None:
    written = rows_of([OUT], 7.0)
    outbox.add(written)
    assert outbox.claim("a", 10, 30.0) == written


def test_rows_come_in_the_order_of_their_ids_and_in_batches(outbox: SqlOutbox) -> None:
    written = rows(25)
    outbox.add(written[10:])
    outbox.add(written[:10])
    found = [ids(outbox.claim(owner, 10, 30.0)) for owner in "abcd"]
    assert found == [ids(written[:10]), ids(written[10:20]), ids(written[20:]), []]


def test_a_row_that_is_there_is_left_as_it_is(outbox: SqlOutbox) -> None:
    written = rows(3)
    outbox.add(written[:2])
    outbox.claim("a", 10, 30.0)
    outbox.add(written)
    assert ids(outbox.claim("b", 10, 30.0)) == ids(written[2:])


def test_a_claim_runs_out_and_its_owner_settles_nothing_any_more(outbox: SqlOutbox) -> None:
    outbox.add(rows(2))
    found = ids(outbox.claim("slow", 10, 0.05))
    threading.Event().wait(0.06)
    assert ids(outbox.claim("b", 10, 30.0)) == found
    outbox.drop("slow", found)
    outbox.refuse("slow", [(found[0], "no")])
    outbox.release("slow")
    assert outbox.claim("c", 10, 30.0) == []
    assert (outbox.fill().waiting, outbox.fill().refused) == (2, 0)
    outbox.drop("b", found)
    assert outbox.fill().waiting == 0


def test_what_is_released_is_free_at_once(outbox: SqlOutbox) -> None:
    outbox.add(rows(3))
    found = ids(outbox.claim("a", 10, 30.0))
    outbox.drop("a", found[:1])
    outbox.release("a")
    assert ids(outbox.claim("b", 10, 30.0)) == found[1:]


def test_a_refused_row_is_shown_and_stays_until_somebody_says_so(outbox: SqlOutbox) -> None:
    outbox.add(rows(3))
    found = ids(outbox.claim("a", 10, 30.0))
    outbox.refuse("a", [(found[0], "too large"), (found[1], "")])
    outbox.release("a")
    assert ids(outbox.claim("b", 10, 30.0)) == found[2:]
    assert [(row.id, row.reason) for row in outbox.waiting(True, 10)] == [(found[0], "too large"), (found[1], "?")]
    assert [row.id for row in outbox.waiting(False, 10)] == found[2:]
    fill = outbox.fill()
    assert (fill.waiting, fill.refused, fill.oldest_at) == (1, 2, 7.0)
    assert (outbox.retry(found[:1]), outbox.retry(found[2:])) == (1, 0)
    assert ids(outbox.claim("c", 10, 30.0)) == found[:1]
    assert (outbox.purge([]), outbox.fill().refused) == (1, 0)


def test_two_who_claim_at_once_are_never_given_the_same(url: str, outbox: SqlOutbox) -> None:
    outbox.add(rows(300))
    taken: list[str] = []
    start = threading.Barrier(4, timeout=20)

    def work(number: int) -> None:
        mine = SqlOutbox.from_url(url)
        start.wait()
        turn = 0
        while found := mine.claim(f"{number}.{turn}", 7, 30.0):
            taken.extend(ids(found))
            turn += 1
        mine.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(set(taken)) <= 300
    taken += ids(outbox.claim("rest", 300, 30.0))  # PostgreSQL passes by what somebody has just locked
    assert len(set(taken)) == 300


def test_a_table_that_was_never_made_is_an_error_with_a_remedy(url: str) -> None:
    if url.startswith("sqlite"):
        with sqlite3.connect(url[10:]) as connection:
            connection.execute("CREATE TABLE orders (id)")
        connection.close()
    outbox = SqlOutbox.from_url(url)
    with pytest.raises(ConfigError, match="no table kernel_outbox: `kernel outbox ddl` prints"):
        outbox.open()
    outbox.close()


def test_making_the_tables_twice_is_no_error(url: str, outbox: SqlOutbox) -> None:
    outbox.create()
    assert outbox.fill().waiting == 0


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite://", "a file"),
        ("sqlite:///:memory:", "a file"),
        ("sqlite:///x.db?size=3", "known are max=MiB"),
        ("sqlite:///x.db?max=many", "max is a number"),
        ("oracle://x", "an outbox is on one of sqlite, postgresql"),
    ],
)
def test_an_url_that_is_none_is_refused(url: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        SqlOutbox.from_url(url)


def test_a_server_that_is_away_is_unavailable_and_its_password_stays_a_secret(free_port: int) -> None:
    outbox = SqlOutbox.from_url(f"postgresql+psycopg://me:hush@127.0.0.1:{free_port}/x")
    with pytest.raises(Unavailable) as caught:
        outbox.open()
    assert "hush" not in str(caught.value)


# -- files ---------------------------------------------------------------------------------------------------


def test_a_file_that_is_new_is_made(tmp_path: Path) -> None:
    outbox = SqlOutbox.from_url(f"sqlite:///{tmp_path}/new.db")
    outbox.open()
    assert outbox.fill().waiting == 0


def test_a_file_that_cannot_be_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("This is no database at all." * 100)
    for path, said in (("nowhere/x.db", "check the directory"), ("text.db", "not an SQLite file")):
        with pytest.raises(ConfigError, match=said):
            SqlOutbox.from_url(f"sqlite:///{tmp_path}/{path}").open()


def test_a_full_file_refuses_and_has_room_again_when_it_was_emptied(tmp_path: Path) -> None:
    outbox = SqlOutbox.from_url(f"sqlite:///{tmp_path}/small.db?max=0.5")
    outbox.open()
    big = [Outgoing("q", bytes(20_000))]

    def fill_up() -> None:
        for _ in range(100):
            outbox.add(rows_of(big, 0.0))

    with pytest.raises(Rejected, match="is full: run `kernel relay`"):
        fill_up()
    assert (tmp_path / "small.db").stat().st_size <= 0.5 * 1024 * 1024
    kept = outbox.fill().waiting
    assert kept > 10
    outbox.drop("a", ids(outbox.claim("a", 1000, 30.0)))
    outbox.add(rows_of(big * (kept // 2), 0.0))


def test_a_writer_who_holds_the_file_is_waited_for_up_to_a_limit(tmp_path: Path) -> None:
    outbox = SqlOutbox.from_url(f"sqlite:///{tmp_path}/x.db?timeout=0.2")
    outbox.open()
    with sqlite3.connect(tmp_path / "x.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        with pytest.raises(Unavailable, match=r"somebody else has been writing for 0\.2 s") as caught:
            outbox.add(rows(1))
        assert (caught.value.sent, time.monotonic() - began < 5) == ("no", True)
    other.close()
