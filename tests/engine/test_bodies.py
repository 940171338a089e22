"""How arguments and results travel: packed, of several versions, and as models."""

from __future__ import annotations

import zlib
from datetime import date
from typing import Annotated, Any

import pydantic
import pytest
from engine.harness import Engine
from support import eventually

from kernel import ConfigError, Kernel, chord, signature
from kernel import envelope as wire
from kernel.envelope import decode
from kernel.errors import DecodeError, Rejected
from kernel.models import Models
from kernel.outcome import decode_entry

LARGE = "all work and no play " * 1000


class Item(pydantic.BaseModel):
    name: str
    price: Annotated[int, pydantic.Field(gt=0)] = 1


class Order(pydantic.BaseModel):
    id: int
    due: date
    items: list[Item]


ORDER = {"id": 7, "due": "2030-01-02", "items": [{"name": "tea", "price": 3}]}


# -- packed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["zlib", "gzip", "bz2", "lzma"])
def test_large_bodies_and_results_travel_packed(pooled: Engine, name: str) -> None:
    @pooled.task(compression=name)
    def double(text: str) -> str:
        return text * 2

    stored = pooled.app.ports.results
    sizes: list[int] = []
    send = pooled.transport.send
    pooled.transport.send = lambda batch: (sizes.extend(len(out.payload) for out in batch), send(batch))
    with pooled.run():
        result = double.delay(LARGE)
        assert pooled.get(result) == LARGE * 2
        assert pooled.get(double.delay("small")) == "smallsmall"
    record = stored.get([result.id])[0]
    assert sizes[0] < len(record) + 200 < 2000
    assert decode_entry(record).state == "SUCCESS"


def test_a_call_can_be_packed_by_itself(pooled: Engine) -> None:
    @pooled.task(bind=True)
    def work(self: Any, text: str) -> str:
        if self.request.retries == 0:
            self.retry(args=(text + "!",), compression="bz2", countdown=0.01)
        return text[-3:]

    with pooled.run(compress_above=100):
        assert pooled.get(work.apply_async((LARGE,), compression="zlib")) == "y !"


def test_a_bomb_ends_in_the_dead_letters(engines: Any) -> None:
    engine = engines(max_payload=10_000)

    @engine.task
    def work(text: str) -> None: ...

    def post(name: str, body: bytes) -> None:
        engine.post(engine.frame("work", body=body, extra={wire.ENCODING: name}))

    bomb = zlib.compress(b'[["' + b"x" * 200_000 + b'"],{}]')
    post("zlib", bomb)
    post("zlib", zlib.compress(b'[["fits"],{}]')[:-3])
    post("zlib", zlib.compress(b'[["fits"],{}]') + b"more")
    with engine.run():
        reasons = sorted(letter.reason for letter in engine.letters(3))
    assert [reason.partition(": ")[2] for reason in reasons] == [
        f"{len(bomb)} bytes of zlib become more than 160000: refused",
        "damaged zlib: it goes on after its end",
        "damaged zlib: it has no end",
    ]
    with pytest.raises(Rejected, match="more than the limit"):
        work.apply_async(("x" * 200_000,), compression="zlib")


def test_a_way_to_pack_that_is_unknown_here_may_be_known_elsewhere(pooled: Engine) -> None:
    pooled.task(name="work")(lambda: None)
    pooled.post(pooled.frame("work", body=b"?", extra={wire.ENCODING: "brotli"}))
    with pooled.run():
        eventually(lambda: pooled.size().delayed == 1, 5, "it goes on")
    pooled.app.close()


def test_a_packed_record_that_is_damaged_is_called_that() -> None:
    for value in (b"\xc1", b"\xc1zlib\0?", b"\xc1rot13\0?", b"\xc1" + b"x" * 100, b"\xc1zlib\0" + zlib.compress(b"?")):
        with pytest.raises(DecodeError):
            decode_entry(value)


# -- versions ----------------------------------------------------------------------------------------------


def test_what_an_earlier_release_sent_is_made_into_what_this_one_takes(pooled: Engine) -> None:
    def price(amount: int, *, currency: str, digits: int = 0) -> list[Any]:
        return [amount, currency, digits]

    def declare(app: Kernel) -> Any:
        task = app.task(name="price", version=3)(price)

        @task.upcast(from_version=1)
        def _(args: list[Any], kwargs: dict[str, Any]) -> Any:
            return args, {"currency": "EUR", **kwargs}

        @task.upcast(from_version=2)
        def _(args: list[Any], kwargs: dict[str, Any]) -> Any:
            return [args[0] * 100], {**kwargs, "digits": 2}

        return task

    host = pooled.host()
    declare(host)
    pooled.host = lambda **changes: host  # type: ignore[method-assign]
    old, middle, new = (Kernel("caller", transport=pooled.url) for _ in range(3))
    old.task(name="price")(lambda amount: amount)
    middle.task(name="price", version=2)(lambda amount, currency: amount)
    declare(new)
    with pooled.run():
        results = [
            old.tasks["price"].delay(5),
            middle.tasks["price"].delay(5, currency="USD"),
            new.tasks["price"].delay(5, currency="USD"),
        ]
        assert [pooled.get(result) for result in results] == [[500, "EUR", 2], [500, "USD", 2], [5, "USD", 0]]
    for app in (old, middle, new):
        app.close()


def test_arguments_that_no_step_leads_from_are_dead_letters(pooled: Engine) -> None:
    def work(args: int) -> None: ...

    host = pooled.host()
    task = host.task(name="work", version=3)(work)
    task.upcast(from_version=2)(lambda args, kwargs: 1 / 0)
    pooled.host = lambda **changes: host  # type: ignore[method-assign]
    pooled.post(pooled.frame("work"))
    pooled.post(pooled.frame("work", extra={wire.SCHEMA: 2}))
    with pooled.run():
        reasons = sorted(letter.reason.partition(": ")[2] for letter in pooled.letters(2))
    assert reasons == [
        "the step from version 2 failed: ZeroDivisionError: division by zero",
        "they are of version 1, and no step leads from there to version 3",
    ]


def test_a_newer_version_is_left_to_a_newer_worker(pooled: Engine) -> None:
    pooled.task(name="work", version=2)(lambda: None)
    pooled.post(pooled.frame("work", extra={wire.SCHEMA: 3}))
    with pooled.run(unknown_for=0.0):
        assert pooled.letter().reason == "no worker knew version 3 of work for 0 s"
    pooled.post(pooled.frame("work", extra={wire.SCHEMA: 3}))
    with pooled.run():
        eventually(lambda: pooled.size().delayed == 1, 5, "it goes on")


def test_a_retry_with_other_arguments_is_of_the_version_of_its_worker(pooled: Engine) -> None:
    def work(self: Any, x: int) -> Any:
        if self.request.retries == 0:
            self.retry(args=(x + 1,), countdown=0.01)
        return [x, self.request.version]

    host = pooled.host()
    host.task(name="work", version=2, bind=True)(work).upcast(1)(lambda args, kwargs: ([args[0] * 10], kwargs))
    pooled.host = lambda **changes: host  # type: ignore[method-assign]
    with pooled.run():
        assert pooled.get(pooled.app.send_task("work", (1,))) == [11, 2]


def test_steps_that_lead_nowhere_are_refused() -> None:
    task = Kernel().task(version=2)(lambda: None)
    for version in (0, 2, 3):
        with pytest.raises(ConfigError, match="is no version before 2"):
            task.upcast(version)(lambda args, kwargs: (args, kwargs))
    task.upcast(1)(lambda args, kwargs: (args, kwargs))
    with pytest.raises(ConfigError, match="a step from version 1 already"):
        task.upcast(1)(lambda args, kwargs: (args, kwargs))


# -- models ------------------------------------------------------------------------------------------------


def test_models_travel_as_plain_values(pooled: Engine) -> None:
    @pooled.task(pydantic=True)
    def ship(order: Order, *items: Item, note: str = "", **more: Item) -> list[Any]:
        assert isinstance(order, Order)
        assert all(isinstance(item, Item) for item in (*items, *more.values()))
        return [order, {"first": order.items[0]}, order.due.year, len(items), note]

    with pooled.run():
        order = Order.model_validate(ORDER)
        expected = [ORDER, {"first": ORDER["items"][0]}, 2030, 1, "n"]
        assert pooled.get(ship.delay(order, Item(name="x"), note="n", more={"name": "y"})) == expected
        assert pooled.get(ship.delay(ORDER, {"name": "x"}, note="n")) == expected


@pytest.mark.parametrize("strict", [False, True])
def test_arguments_that_do_not_fit_are_dead_letters_that_say_why(pooled: Engine, strict: bool) -> None:
    @pooled.task(pydantic=True, pydantic_strict=strict)
    def ship(order: Order, count: int) -> int:
        return count

    with pooled.run():
        bad = ship.delay({**ORDER, "items": [{"name": "tea", "price": 0}]}, "many")
        error = pooled.fails(bad)
        text = "order.items.0.price: Input should be greater than 0; count: Input should be a valid integer"
        assert error.message.startswith(text)
        assert text in pooled.letter().reason
        assert pooled.get(ship.delay(ORDER, 2)) == 2
        lax = ship.delay(ORDER, "2")
        assert (pooled.fails(lax).type == "kernel.errors.DecodeError") if strict else (pooled.get(lax) == 2)


def test_a_validator_can_ask_for_its_context(pooled: Engine) -> None:
    def scaled(value: int, info: pydantic.ValidationInfo) -> int:
        return value * info.context["scale"]

    @pooled.task(pydantic=True, pydantic_context={"scale": 10}, pydantic_dump_kwargs={"exclude": {"price"}})
    def scale(number: Annotated[int, pydantic.AfterValidator(scaled)], item: Item) -> list[Any]:
        return [number, item]

    scale.function.__annotations__ = {
        "number": Annotated[int, pydantic.AfterValidator(scaled)], "item": Item
    }  # fmt: skip
    with pooled.run():
        assert pooled.get(scale.delay(3, Item(name="x", price=9))) == [30, {"name": "x"}]


def test_what_pydantic_cannot_do_is_refused() -> None:
    def work(value: int) -> None: ...

    work.__annotations__["value"] = "Nowhere"
    with pytest.raises(ConfigError, match=r"pydantic cannot validate the arguments of .*Nowhere"):
        Models(work, {}, 0, frozenset())
    with pytest.raises(ConfigError, match="says nothing without pydantic=True"):
        Kernel().task(pydantic_strict=True)(lambda: None)


def test_frames_say_how_they_are_read() -> None:
    app = Kernel("frames", transport="memory://frames")
    task = app.task(version=4, compression="zlib", priority=2)(lambda text: None)
    _, out = app.sheet(task.name, task).message((LARGE,), {}, None)
    extra = decode(out.payload).extra
    assert (extra[wire.SCHEMA], extra[wire.ENCODING], out.priority) == (4, "zlib", 2)
    app.close()


# -- in workflows --------------------------------------------------------------------------------------------


def test_a_value_that_comes_from_a_workflow_is_validated_and_raised_with_the_rest(pooled: Engine) -> None:
    def total(items: list[Item], factor: int) -> int:
        return factor * sum(item.price for item in items)

    host = pooled.host()
    host.task(name="price")(lambda price: {"name": "x", "price": price})
    host.task(name="total", pydantic=True, version=2)(total)
    pooled.host = lambda **changes: host  # type: ignore[method-assign]
    for name in ("price", "total"):
        pooled.app.task(name=name, version=2 if name == "total" else 1)(lambda *args: None)
    with pooled.run():
        prices = [signature("price", (price,)) for price in (1, 2)]
        assert pooled.get(chord(prices, signature("total", (10,))).delay()) == 30
        pooled.empty()


def test_a_retry_with_other_arguments_is_not_given_the_value_again(pooled: Engine) -> None:
    @pooled.task(bind=True)
    def body(self: Any, values: list[int], more: int = 0) -> list[Any]:
        if self.request.retries == 0:
            self.retry(args=([*values, 3],), kwargs={"more": 1}, countdown=0.01)
        return [values, more]

    pooled.task(name="one")(lambda number: number)
    with pooled.run():
        members = [signature("one", (number,)) for number in (1, 2)]
        assert pooled.get(chord(members, signature("body")).delay()) == [[1, 2, 3], 1]
