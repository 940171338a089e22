"""What a settled task causes. Pure: the same record causes the same requests, however often it is asked.

Between two joins a workflow is one thread: exactly one task of it is current, and the record that stands for it decides
what comes next. A join is where threads meet. Its members are counted in a set, and *every* member that sees the set
full sends the body, under an id that all of them derive: a claim before the send would be lost with its owner. A
member that failed writes the failure as the body's record instead; the record that stands names one member, and that
one answers for all that follows, so whatever fails at the same time, each error callback is started once.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec

from kernel.canvas.effects import (
    Count,
    Decide,
    Failure,
    Get,
    Given,
    Inputs,
    Keep,
    Kept,
    Post,
    Requests,
    Send,
    Settled,
    Value,
    Verdict,
)
from kernel.canvas.frames import (
    Deliver,
    Fan,
    Frame,
    Join,
    Link,
    More,
    Place,
    Rest,
    Scope,
    Stack,
    Step,
    Sub,
    decode_frame,
    decode_frames,
    decode_join,
    decode_rest,
    decode_stack,
    derive,
    encode,
    join_key,
    member_id,
    numbered,
    raw,
    replacement_key,
    seal_key,
)
from kernel.errors import DecodeError, FlowLost
from kernel.outcome import Error

#: The name by which the producer of a lazy group is counted.
SEAL = "seal"
#: The state of a task that another flow runs in place of. Not final: its result is still to come.
REPLACED = "REPLACED"

LOST = Error("kernel.errors.FlowLost", "the rest of the workflow has expired from the result store")
LATE = Error("kernel.errors.DeadlineExceeded", "the results that a workflow waits for were not there by its deadline")


class Spot(msgspec.Struct, frozen=True):
    """A point in a workflow: what comes next, and what every message that is sent from here says of itself."""

    base: str
    frames: Stack
    place: Place
    root: str
    #: The task that sends.
    parent: str
    generation: int

    def at(self, base: str, frames: Stack, place: Place) -> Spot:
        """Another stack of the same workflow."""
        return Spot(base, frames, place, self.root, self.parent, self.generation)


def advance(task: Settled) -> Requests:
    """Drive this for every final record of a workflow's task, and for one that was replaced.

    `DecodeError` for damaged frames, `FlowLost` when a record that it needs has expired: the workflow cannot go on.
    """
    sends: list[Send] = []
    lost: Exception | None = None
    try:
        yield from _caused(task, sends)
    except (FlowLost, DecodeError) as error:
        lost = error
    if sends:  # also where the rest is lost
        yield Post(sends)
    if lost is not None:
        raise lost


def _caused(task: Settled, sends: list[Send]) -> Requests:
    if task.cause and task.cause != task.id:
        return  # whoever decided it answers for the rest
    rest = decode_rest(task.rest) if task.rest else Rest("")
    spot = Spot(rest.base, rest.frames, task.place, task.root, task.id, task.generation)
    if task.place.index < 0:
        yield from _broken(spot, Failure(task.id, task.task, LATE), sends)
    elif task.state == "SUCCESS":
        yield from flowing(spot, task.value, sends)
    elif task.state == REPLACED:
        instead = decode_rest((yield from _got(replacement_key(task.id))))
        # In a task that is itself in the place of another one the delivery is to that one only: a task that replaces
        # itself a thousand times has the stack of one that does so once.
        known = rest.frames[:1] and isinstance(decode_frame(rest.frames[0]), Deliver)
        end = [] if known else [raw(Deliver(task.id, rest.base))]
        yield from flowing(spot.at(instead.base, [*instead.frames, *end, *rest.frames], task.place), None, sends)
    else:
        error = task.error or Error(task.state, f"{task.task} ended as {task.state}")
        yield from _failing(spot, Failure(task.id, task.task, error), sends)


def _got(key: str) -> Any:
    value = yield Get(key)
    if value is None:
        raise FlowLost(f"the record {key} of a workflow is gone from the result store: it cannot go on")
    return value


# -- success -----------------------------------------------------------------------------------------------


def flowing(spot: Spot, given: Given, sends: list[Send]) -> Requests:
    """Go on from here with a value, as far as it goes without waiting for a task. `sends` takes the messages."""
    todo: deque[tuple[Spot, Given]] = deque([(spot, given)])
    joins: list[Kept] = []
    while todo:
        spot, given = todo.popleft()
        frames = deque(spot.frames)
        while frames:
            frame = decode_frame(frames.popleft())
            if isinstance(frame, Step):
                sends.append(_send(spot, frame, given, list(frames)))
                break
            if isinstance(frame, Fan):
                if frame.body is not None:
                    joins.append(joined(spot, frame, len(frame.members), list(frames)))
                    sends += watched(spot, frame, len(frame.members))
                todo.extend((member, given) for member in _members(spot, frame))
                break
            if isinstance(frame, Sub):
                frames.appendleft(raw(Scope(frame.callbacks, frame.errbacks)))
                frames.extendleft(reversed(decode_stack(frame.flow)))
            elif isinstance(frame, Scope):
                todo.extend(_linked(spot, frame.callbacks, given))
            elif isinstance(frame, Deliver):
                value = given if isinstance(given, Value) else None
                mine = yield Decide([Verdict(frame.id, spot.parent, spot.generation, None, value)])
                if not mine[0]:
                    break
                spot = spot.at(frame.base, [], spot.place)
            else:
                page = yield Get(frame.key)
                if page is None:
                    lost = Failure(spot.parent, "", LOST)
                    yield from _failing(spot.at(spot.base, [raw(frame), *frames], spot.place), lost, sends)
                    break
                frames.extendleft(reversed(decode_stack(page)))
        else:
            if spot.place.join:
                yield from _counted(spot, sends)
    if joins:  # before the first member of any is sent, by whoever drives this
        yield Keep(joins)


def _send(spot: Spot, step: Step, given: Given, frames: Stack) -> Send:
    rest = encode(Rest(spot.base, frames)) if frames else b""
    taken = None if step.call.rare.immutable else given
    id = numbered(spot.base, step.n)
    return Send(id, step.call, taken, spot.root, spot.parent, spot.generation, spot.place, rest)


def _linked(spot: Spot, links: list[Link], given: Given) -> list[tuple[Spot, Given]]:
    """Callbacks: flows of their own, whose end is nobody's business."""
    return [(spot.at(numbered(spot.base, link.n), decode_stack(link.flow), Place()), given) for link in links]


def joined(spot: Spot, fan: Fan, size: int, frames: Stack) -> Kept:
    """The record of a join: what `advance` needs when it is full or fails. `size` -1: the seal says so."""
    group = numbered(spot.base, fan.n)
    rest = Rest(spot.base, [*decode_stack(fan.body or b"\x90"), *frames])
    join = Join(rest, spot.place, group, size, spot.root, spot.parent, spot.generation)
    return Kept(join_key(group, spot.generation), encode(join), spot.generation, join=True)


def watched(spot: Spot, fan: Fan, size: int) -> list[Send]:
    """The message that ends a join when it is late, where there is a deadline: to the join, a failed member."""
    if fan.watch is None:
        return []
    group = numbered(spot.base, fan.n)
    place = Place(group, join_key(group, spot.generation), -1, size)
    id = derive(group, f"deadline:{spot.generation}")
    return [Send(id, fan.watch, None, spot.root, spot.parent, spot.generation, place, b"")]


def _members(spot: Spot, fan: Fan) -> list[Spot]:
    group, size = numbered(spot.base, fan.n), len(fan.members)
    join = "" if fan.body is None else join_key(group, spot.generation)
    return [
        spot.at(member_id(group, index), decode_stack(stack), Place(group, join, index, size))
        for index, stack in enumerate(fan.members)
    ]


def _counted(spot: Spot, sends: list[Send]) -> Requests:
    """A member of a join has its result."""
    place = spot.place
    if spot.generation:
        yield from _lifted(spot)
    count = yield Count(place.join, str(place.index))
    size = place.size
    if size < 0:
        seal = yield Get(seal_key(place.join))
        if seal is None:
            return
        size = int(seal)
        count -= 1  # the seal itself, which is counted after its record is there
    if count >= size:
        yield from full(place.join, size, spot.generation, sends)


def _lifted(spot: Spot) -> Requests:
    """A member that was deliberately sent again lifts the join to its generation, so that whoever completes it sends a
    body that stands against the failure on record."""
    join = decode_join((yield from _got(spot.place.join)))
    if join.generation < spot.generation:
        lifted = msgspec.structs.replace(join, generation=spot.generation)
        yield Keep([Kept(spot.place.join, encode(lifted), spot.generation)])


def full(key: str, size: int, generation: int, sends: list[Send]) -> Requests:
    """All members have their results: start the body. It is told where they are, not what they are: the message stays
    small, whatever they return."""
    join = decode_join((yield from _got(key)))
    generation = max(generation, join.generation)
    spot = Spot(join.rest.base, join.rest.frames, join.place, join.root, join.parent, generation)
    yield from flowing(spot, Inputs(join.group, size), sends)


# -- failure -----------------------------------------------------------------------------------------------


def _failing(spot: Spot, failure: Failure, sends: list[Send]) -> Requests:
    """Give everything that will not run the failure as its result, and start the error callbacks of what had begun."""
    frames = deque(spot.frames)
    verdicts: list[Verdict] = []
    while frames:
        frame = decode_frame(frames.popleft())
        if isinstance(frame, Scope):
            for callback, given in _linked(spot, frame.errbacks, failure):
                yield from flowing(callback, given, sends)
        elif isinstance(frame, Deliver):
            mine = yield Decide([Verdict(frame.id, failure.id, spot.generation, failure.error)])
            if not mine[0]:
                return
            spot = spot.at(frame.base, [], spot.place)
        else:
            never = yield from _never(spot.base, frame)
            verdicts += [Verdict(id, failure.id, spot.generation, failure.error) for id in never]
    if verdicts:
        yield Decide(verdicts)
    if spot.place.join:
        yield from _broken(spot, failure, sends)


def _never(base: str, frame: Frame) -> Any:
    """The ids of all tasks in a frame that has not begun."""
    ids: list[str] = []
    todo: list[tuple[str, list[Frame]]] = [(base, [frame])]
    while todo:
        base, frames = todo.pop()
        for one in frames:
            if isinstance(one, Step):
                ids.append(numbered(base, one.n))
            elif isinstance(one, Sub):
                todo.append((base, decode_frames(one.flow)))
            elif isinstance(one, More):
                page = yield Get(one.key)
                if page is None:  # what was there is not known, but its end is
                    ids.append(base)
                else:
                    todo.append((base, decode_frames(page)))
            elif isinstance(one, Fan):
                group = numbered(base, one.n)
                todo += [(member_id(group, index), decode_frames(stack)) for index, stack in enumerate(one.members)]
                todo.append((base, decode_frames(one.body or b"\x90")))
    return ids


def _broken(spot: Spot, failure: Failure, sends: list[Send]) -> Requests:
    """A join fails with the first of its members: the failure becomes its body's result."""
    join = decode_join((yield from _got(spot.place.join)))
    frames = join.rest.frames
    while frames and isinstance(first := decode_frame(frames[0]), More):
        frames = [*decode_stack((yield from _got(first.key))), *frames[1:]]
    if not frames or not isinstance(first, Step):
        return
    generation = max(spot.generation, join.generation)
    body = numbered(join.rest.base, first.n)
    mine = yield Decide([Verdict(body, failure.id, generation, failure.error)])
    if mine[0]:
        after = Spot(join.rest.base, frames[1:], join.place, join.root, spot.parent, generation)
        yield from _failing(after, failure, sends)
