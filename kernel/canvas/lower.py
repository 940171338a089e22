"""From a workflow to what is stored and sent now."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

import msgspec

from kernel.canvas.advance import SEAL, Spot, flowing, full, joined, watched
from kernel.canvas.effects import Count, Keep, Kept, Post, Request, Requests, Send
from kernel.canvas.flow import Flow, Group, Signature
from kernel.canvas.frames import (
    Fan,
    Frame,
    Link,
    More,
    Parcel,
    Place,
    Rest,
    Scope,
    Step,
    Sub,
    decode_frame,
    derive,
    encode,
    join_key,
    member_id,
    numbered,
    raw,
    replacement_key,
    seal_key,
)
from kernel.canvas.lazy import Lazy
from kernel.canvas.names import COLLECT, DEADLINE
from kernel.errors import ConfigError
from kernel.layers import laid

#: What becomes of a signature with all its options, `countdown` and `eta` among them: encoded, and routed.
Pack = Callable[[Signature, Mapping[str, Any]], Parcel]

#: A stack of more bytes than this goes to the result store, in pages of about as many; a message keeps the first.
PAGE = 4096
#: Members of a first group that are made and sent at a time.
BATCH = 500
#: Seconds after which a join ends whose producer may die before it is sealed, where no deadline says so.
LONGEST = 86_400.0

#: Options of a composite that are about its start, and not about each task in it.
_START = frozenset({"countdown", "eta"})
#: Options that say something about one flow, and nothing about what is in it.
_OWN = frozenset({"task_id"})
#: Options that are mappings, and are merged.
_MERGED = ("headers", "stamps")


class Handle(msgspec.Struct, frozen=True):
    """What a caller may wait for: the result of one task, or those of a group; and the handle of what comes before."""

    id: str
    #: Members of a group, whose ids are `member_id(id, index)`; -1: one task.
    size: int = -1
    parent: Handle | None = None


def lower(
    flow: Flow,
    new_id: Callable[[], str],
    pack: Pack,
    *,
    deadline: float = 0.0,
    root: str = "",
    parent: str = "",
) -> Generator[Request, Any, Handle]:
    """Drive this to start a workflow; returns its handle. `deadline`: seconds, for joins that have none; 0.0: none.

    A group that comes first is sent while it is made, `BATCH` members at a time; when its members come from a generator
    and something waits for them, a seal closes it in the end. `ConfigError` for what cannot be, before anything is
    sent, except for a member that a generator makes.
    """
    base = _chosen(flow) or new_id()
    work = Lowering(new_id, pack, deadline)
    names = Names(base)
    frames = work.opened(flow, names)
    spot = Spot(base, [raw(frame) for frame in frames], Place(), root or base, parent, 0)
    if work.streamed is None:
        yield from work.keep()
        sends: list[Send] = []
        yield from flowing(spot, None, sends)
        yield Post(sends)
        size = -1
    else:
        size = yield from _streaming(work, spot)
    return _handle(base, names, size)


def replacement(
    flow: Flow, id: str, generation: int, new_id: Callable[[], str], pack: Pack, deadline: float = 0.0
) -> Requests:
    """Drive this before the record of a task says REPLACED. The first flow that is recorded for a task in a generation
    stands, and `advance` starts that one, so two runs of the task leave one set of children."""
    work = Lowering(new_id, pack, deadline)
    base = derive(id, f"replaced:{generation}")
    frames = work.whole(flow, base, {})
    work.kept.append(
        Kept(replacement_key(id), encode(Rest(base, [raw(frame) for frame in frames])), generation, first=True)
    )
    yield from work.keep()


class Names:
    """Numbers of the tasks under one base."""

    def __init__(self, base: str) -> None:
        self.base = base
        self._last = 0
        #: The number of the task that was named last.
        self.end = 0
        #: Number and size of each stage, for the handle; size -1: one task.
        self.trail: list[tuple[int, int]] = []

    def next(self, end: bool = False) -> int:
        """A number that is free; 0 for the end."""
        if end:
            return 0
        self._last += 1
        return self._last


class Lowering:
    """One workflow on its way from values to frames."""

    def __init__(self, new_id: Callable[[], str], pack: Pack, deadline: float, still: bool = False) -> None:
        """`still`: to look at, so nothing is paged, nothing streamed, and no generator consumed."""
        self._new_id = new_id
        self._pack = pack
        self._deadline = deadline
        self._still = still
        #: Pages that have to be in the store before the next message is sent.
        self.kept: list[Kept] = []
        #: The group that comes first, whose members are made while they are sent, and their options.
        self.streamed: Group | None = None
        self.options: Mapping[str, Any] = {}

    def keep(self) -> Requests:
        """Put what has to be there."""
        if self.kept:
            kept, self.kept = self.kept, []
            yield Keep(kept)

    def unit(self, flow: Flow, names: Names, options: Mapping[str, Any], end: bool) -> list[Frame]:
        """The frames of a flow whose callbacks wait for its start."""
        frames = self._inside(flow, names, options, end)
        if not flow.linked:
            return frames
        return [Sub(encode(self.paged(frames)), *self._links(flow, names))]

    def opened(self, flow: Flow, names: Names) -> list[Frame]:
        """The frames of the whole workflow, which begins here and now. Nobody waits for a group at its end."""
        if isinstance(flow, Signature):
            frames: list[Frame] = [self._step(flow, names, {}, end=True)]
            names.trail.append((0, -1))
        elif isinstance(flow, Group):
            frames = self._line((_bare(flow),), names, {}, True, flow.linked, top=True)
        else:
            frames = self._line(flow.inner, names, flow.options, True, flow.linked, top=True)
        first = 0 if self.streamed is None else 1  # looked into at once, so it is not put away
        scope = [Scope(*self._links(flow, names))] if flow.linked else []
        return [*frames[:first], *self.paged(frames[first:]), *scope]

    def _inside(self, flow: Flow, names: Names, options: Mapping[str, Any], end: bool) -> list[Frame]:
        """The frames of a flow without its callbacks; its value is that of one task."""
        if isinstance(flow, Signature):
            return [self._step(flow, names, options, end)]
        if isinstance(flow, Group):
            return self._line((_bare(flow),), names, options, end, True)
        return self._line(flow.inner, names, _merged(options, flow.options), end, True)

    def _line(
        self,
        stages: tuple[Flow, ...],
        names: Names,
        options: Mapping[str, Any],
        end: bool,
        value: bool,
        top: bool = False,
    ) -> list[Frame]:
        """Stages one after the other. `value`: a group at the end is waited for. `top`: this is the whole workflow."""
        frames: list[Frame] = []
        later = {name: given for name, given in options.items() if name not in _START}
        left = list(reversed(stages)) or [Signature(COLLECT)]
        while left:
            stage = self._listed(left.pop(), lazy=top and not frames)
            if isinstance(stage, Group) and not stage.linked and stage.members:
                if top and not frames and not self._still:
                    self.streamed, self.options = stage, _merged(options, stage.options)
                    stage = replace(stage, members=())
                fan = self._fan(stage, left, names, later if frames else options, end, value)
                trail = [(fan.n, len(fan.members)), *([] if fan.body is None else [(names.end, -1)])]
                frames.append(fan)
            else:
                frames += self.unit(_something(stage), names, later if frames else options, end and not left)
                trail = [(names.end, -1)]
            names.trail += trail if top else []
        return frames

    def _fan(
        self, group: Group, left: list[Flow], names: Names, options: Mapping[str, Any], end: bool, value: bool
    ) -> Fan:
        """A group, and what takes its results: the next of the stages that are left, where that is not a group too.

        The only one without members here is the one that is streamed.
        """
        waited = bool(left) or value
        n = names.next(end and not waited)
        merged = _merged(options, group.options)
        lazy = not group.members and self.streamed is not None and isinstance(self.streamed.members, Lazy)
        base = numbered(names.base, n)
        members = [encode(self.whole(each, member_id(base, at), merged)) for at, each in enumerate(group.members)]
        if not waited:
            return Fan(n, members, None)
        later = {name: given for name, given in options.items() if name not in _START}
        takes = bool(left) and (left[-1].linked or not isinstance(left[-1], Group))
        body = self._body(left.pop() if takes else None, names, later, end and not left)
        seconds = merged.get("deadline", self._deadline) or (LONGEST if lazy else 0.0)
        late = None
        if seconds:
            seconds += merged.get("countdown", 0.0)
            late = self._pack(Signature(DEADLINE, immutable=True), {"countdown": seconds})
        return Fan(n, members, encode(body), late)

    def _listed(self, stage: Flow, lazy: bool) -> Flow:
        """A group of a generator that cannot be consumed while it is sent, as one of a list."""
        if not isinstance(stage, Group) or not isinstance(stage.members, Lazy) or (lazy and not self._still):
            return stage
        if self._still:
            raise ConfigError("a group of a generator is used up by looking at it: give it a list")
        return replace(stage, members=tuple(stage.members))

    def _body(self, flow: Flow | None, names: Names, options: Mapping[str, Any], end: bool) -> list[Frame]:
        """What a join ends in: a step, and what is in the way of its callbacks."""
        if flow is None:
            return [self._step(Signature(COLLECT), names, options, end)]
        frames = self._inside(flow, names, options, end)
        if not isinstance(frames[0], Step):
            last = names.end
            frames = [self._step(Signature(COLLECT), names, options, False), *frames]
            names.end = last
        return [*self.paged(frames), *([Scope(*self._links(flow, names))] if flow.linked else [])]

    def whole(self, flow: Flow, base: str, options: Mapping[str, Any]) -> list[Frame]:
        """The stack of a flow with a base of its own."""
        return self.paged(self.unit(flow, Names(base), options, end=True))

    def _links(self, flow: Flow, names: Names) -> tuple[list[Link], list[Link]]:
        return self._linked(flow.callbacks, names), self._linked(flow.errbacks, names)

    def _linked(self, flows: Iterable[Flow], names: Names) -> list[Link]:
        links = []
        for flow in flows:
            n = names.next()
            links.append(Link(n, encode(self.whole(flow, numbered(names.base, n), {}))))
        return links

    def _step(self, signature: Signature, names: Names, options: Mapping[str, Any], end: bool) -> Step:
        n = names.end = names.next(end)
        merged = _merged(options, signature.options)
        chosen = merged.pop("task_id", None)
        if chosen is not None and chosen != numbered(names.base, n):
            raise ConfigError(f"{signature.task}: only the end of a workflow can have a task_id of your choice")
        merged.pop("deadline", None)
        return Step(n, self._pack(signature, merged))

    def paged(self, frames: list[Frame]) -> list[Frame]:
        """A stack of bounded size; what is beyond it is kept."""
        if self._still or (len(frames) == 1 and isinstance(frames[0], Step)):
            return frames  # the latter are by far the most members of groups
        pages: list[list[Frame]] = [[]]
        room = PAGE
        for frame in frames:
            size = len(encode(frame))
            if pages[-1] and size > room:
                pages.append([])
                room = PAGE
            pages[-1].append(frame)
            room -= size
        more: list[Frame] = []
        for at in range(len(pages) - 1, -1, -1):
            page = [*pages[at], *more]
            if at == 0 and (len(page) > 1 or not page or len(encode(page[0])) <= PAGE):
                return page
            key = f"{self._new_id()}:page"
            self.kept.append(Kept(key, encode(page), 0))
            more = [More(key)]
        return more


def _streaming(work: Lowering, spot: Spot) -> Generator[Request, Any, int]:
    """Make and send the members of the group that comes first; how many there were."""
    assert work.streamed is not None
    fan, frames, source = decode_frame(spot.frames[0]), spot.frames[1:], work.streamed.members
    assert isinstance(fan, Fan)
    size = -1 if isinstance(source, Lazy) else len(source)
    group = numbered(spot.base, fan.n)
    join = "" if fan.body is None else join_key(group, spot.generation)
    if join:
        work.kept.append(joined(spot, fan, size, frames))
        yield from work.keep()
        late = watched(spot, fan, size)
        if late:
            yield Post(late)
    members = enumerate(source)
    made = 0
    while batch := list(islice(members, BATCH)):
        made += len(batch)
        bases = [(index, member_id(group, index), flow) for index, flow in batch]
        stacks = [(index, base, [*map(raw, work.whole(flow, base, work.options))]) for index, base, flow in bases]
        yield from work.keep()
        sends: list[Send] = []
        for index, base, stack in stacks:
            yield from flowing(spot.at(base, stack, Place(group, join, index, size)), None, sends)
        yield Post(sends)
    if join and size < 0:
        yield Keep([Kept(seal_key(join), str(made).encode(), spot.generation)])
        count = yield Count(join, SEAL)
        if count > made:
            sends = []
            yield from full(join, made, spot.generation, sends)
            yield Post(sends)
    return made


def _handle(base: str, names: Names, streamed: int) -> Handle:
    handle: Handle | None = None
    for at, (n, size) in enumerate(names.trail):
        handle = Handle(numbered(base, n), streamed if at == 0 and streamed >= 0 else size, handle)
    assert handle is not None
    return handle


def _chosen(flow: Flow) -> str:
    """The id that the caller chose for the end of a workflow, "" where it chose none."""
    while "task_id" not in flow.options:
        if not flow.inner or flow.inner[-1] is flow or isinstance(flow, Group):
            return ""
        flow = flow.inner[-1]
    chosen: str = flow.options["task_id"]
    return chosen


def _merged(outer: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a part: its own, before those of what it is in. Two countdowns are one after the other."""
    merged = laid({name: value for name, value in outer.items() if name not in _OWN}, own)
    if "countdown" in outer and "countdown" in own:
        merged["countdown"] = outer["countdown"] + own["countdown"]
    for name in _MERGED:
        if name in outer and name in own:
            merged[name] = {**outer[name], **own[name]}
    return merged


def _bare(group: Group) -> Group:
    """A group without its callbacks."""
    return replace(group, callbacks=(), errbacks=())


def _something(stage: Flow) -> Flow:
    """The value of a group without members is known; a task that returns it is there to be waited for."""
    if isinstance(stage, Group) and not stage.members:
        marks = {"options": stage.options, "callbacks": stage.callbacks, "errbacks": stage.errbacks}
        return Signature(COLLECT, ([],), immutable=True, **marks)  # type: ignore[arg-type]
    return stage
