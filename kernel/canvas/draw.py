"""A workflow as a picture, in the languages of Mermaid (https://mermaid.js.org) and of Graphviz's DOT.

What is drawn are the frames that would be sent, so a picture has what a worker sees, and each node its id: with the
handle of a running workflow and a way to ask for states, the same picture shows how far it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any

import msgspec

from kernel.canvas.flow import Flow, Signature
from kernel.canvas.frames import Fan, Frame, Link, Parcel, Scope, Step, Sub, decode_frames, member_id, numbered
from kernel.canvas.lower import Lowering, Names

#: Members of one group that are drawn; a picture of more shows nothing.
MOST = 12
#: A label is cut here, in characters.
WIDTH = 60

#: Colours by state.
COLOURS = {
    "SUCCESS": "#c8e6c9",
    "FAILURE": "#ffcdd2",
    "STARTED": "#fff9c4",
    "RETRY": "#ffe0b2",
    "REVOKED": "#e0e0e0",
    "EXPIRED": "#e0e0e0",
    "REPLACED": "#bbdefb",
}


class Node(msgspec.Struct):
    """A task, or what stands for many."""

    name: str
    label: str
    id: str
    state: str = ""


class Edge(msgspec.Struct):
    """What follows what. `kind` is "" for the value, "ok" or "error" for callbacks."""

    source: str
    target: str
    kind: str


class Picture(msgspec.Struct):
    """Nodes, edges, and for each group the nodes of its members."""

    nodes: list[Node] = []
    edges: list[Edge] = []
    groups: list[list[str]] = []


def picture(flow: Flow, id: str = "", state: Callable[[str], str] | None = None) -> Picture:
    """What there is to draw. `id` is that of the handle of the running workflow, `state` says that of a task by its id.

    `ConfigError` for a group of a generator, which would be used up by looking at it.
    """
    work = Lowering(map(str, count()).__next__, _labelled, 0.0, still=True)
    artist = _Artist(state)
    artist.stack(id, work.opened(flow, Names(id)), [], "")
    return artist.picture


def mermaid(flow: Flow, id: str = "", state: Callable[[str], str] | None = None) -> str:
    """A flowchart of Mermaid."""
    drawn = picture(flow, id, state)
    lines = ["flowchart LR"]
    lines += [f'    {node.name}["{_escaped(node.label, "#quot;")}"]' for node in drawn.nodes]
    for at, names in enumerate(drawn.groups):
        lines += [f"    subgraph g{at} [group]", *(f"        {name}" for name in names), "    end"]
    for edge in drawn.edges:
        arrow = f"-. {edge.kind} .->" if edge.kind else "-->"
        lines.append(f"    {edge.source} {arrow} {edge.target}")
    coloured = [node for node in drawn.nodes if node.state in COLOURS]
    return "\n".join([*lines, *(f"    style {node.name} fill:{COLOURS[node.state]}" for node in coloured)]) + "\n"


def dot(flow: Flow, id: str = "", state: Callable[[str], str] | None = None) -> str:
    """A digraph of DOT."""
    drawn = picture(flow, id, state)
    lines = ["digraph workflow {", "    rankdir=LR", '    node [shape=box, style="rounded,filled", fillcolor=white]']
    for node in drawn.nodes:
        colour = f', fillcolor="{COLOURS[node.state]}"' if node.state in COLOURS else ""
        lines.append(f'    {node.name} [label="{_escaped(node.label, chr(92) + chr(34))}"{colour}]')
    for at, names in enumerate(drawn.groups):
        lines.append(f'    subgraph cluster_{at} {{ label="group"; {"; ".join(names)} }}')
    for edge in drawn.edges:
        style = f' [style=dashed, label="{edge.kind}"]' if edge.kind else ""
        lines.append(f"    {edge.source} -> {edge.target}{style}")
    return "\n".join([*lines, "}"]) + "\n"


def _labelled(signature: Signature, options: Mapping[str, Any]) -> Parcel:
    """In place of a call, what to write on it."""
    text = repr(Signature(signature.task, signature.args, signature.kwargs))
    return Parcel(text if len(text) <= WIDTH else f"{text[: WIDTH - 1]}…", b"", "", "")


def _escaped(label: str, quote: str) -> str:
    if quote.startswith("\\"):
        label = label.replace("\\", "\\\\")
    return label.replace('"', quote).replace("\n", " ")


class _Artist:
    """Walks over frames."""

    def __init__(self, state: Callable[[str], str] | None) -> None:
        self.picture = Picture()
        self._state = state
        self._boxed: set[str] = set()
        self._names: Iterator[str] = (f"n{number}" for number in count())

    def stack(self, base: str, frames: list[Frame], sources: list[str], kind: str) -> list[str]:
        """Draw what follows `sources`; the nodes whose values go on from its end."""
        for frame in frames:
            if isinstance(frame, Step):
                sources = [self._node(frame.call.task, numbered(base, frame.n), sources, kind)]
            elif isinstance(frame, Fan):
                sources = self._fan(base, frame, sources, kind)
            elif isinstance(frame, Sub):
                sources = self.stack(base, decode_frames(frame.flow), sources, kind)
                self._links(base, frame, sources)
            elif isinstance(frame, Scope):
                self._links(base, frame, sources)
            kind = ""
        return sources

    def _fan(self, base: str, fan: Fan, sources: list[str], kind: str) -> list[str]:
        group, first = numbered(base, fan.n), len(self.picture.nodes)
        ends: list[str] = []
        for index, stack in enumerate(fan.members[:MOST]):
            ends += self.stack(member_id(group, index), decode_frames(stack), sources, kind)
        if len(fan.members) > MOST:
            ends.append(self._node(f"… and {len(fan.members) - MOST} more", "", sources, kind))
        # Those of an inner group are in that one: in both languages a node is in one box.
        inside = [node.name for node in self.picture.nodes[first:] if node.name not in self._boxed]
        self._boxed.update(inside)
        if inside:
            self.picture.groups.append(inside)
        return ends if fan.body is None else self.stack(base, decode_frames(fan.body), ends, "")

    def _links(self, base: str, links: Sub | Scope, sources: list[str]) -> None:
        for kind, callbacks in (("ok", links.callbacks), ("error", links.errbacks)):
            for link in callbacks:
                self._link(base, link, sources, kind)

    def _link(self, base: str, link: Link, sources: list[str], kind: str) -> None:
        self.stack(numbered(base, link.n), decode_frames(link.flow), sources, kind)

    def _node(self, label: str, id: str, sources: list[str], kind: str) -> str:
        name = next(self._names)
        state = self._state(id) if self._state is not None and id else ""
        self.picture.nodes.append(Node(name, label, id, state))
        self.picture.edges += [Edge(source, name, kind) for source in sources]
        return name
