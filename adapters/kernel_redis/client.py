"""Runs commands where their keys are, many in one round trip, and says what went wrong in the words of the ports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from kernel.errors import ConfigError, PortError, Unavailable
from kernel_redis import faults
from kernel_redis.faults import FAULTS, Refused
from kernel_redis.link import Link, Parts, connector
from kernel_redis.links import Links
from kernel_redis.nodes import Fixed, nodes_of
from kernel_redis.scripts import Script, in_full
from kernel_redis.server import Server, examined
from kernel_redis.url import Address, Location

_RIGHTS = Script("rights")

#: The key that says which server is meant, and the command.
Command = tuple[str, Parts]


class Client:
    """One Redis, whether it is a server, a Sentinel's master or a cluster. Any thread."""

    def __init__(self, location: Location) -> None:
        self.location = location
        connect = connector(location)
        sentinels = connector(
            replace(location, username=location.sentinel_user, password=location.sentinel_password, database=0)
        )
        self.connect = connect
        self._nodes = nodes_of(location, connect, sentinels)
        self._fixed = self._nodes.of("") if isinstance(self._nodes, Fixed) else None
        self._links = Links(connect)
        self._closed = False

    @property
    def spans(self) -> bool:
        """Whether one command may touch keys of any slot: true of everything but a cluster."""
        return self._nodes.spans

    def open(self) -> Server:
        """Connect and look at the server. `ConfigError` for what can never work, `Unavailable` when it is away."""
        self.check()
        if self.location.unreadable:  # redis-py would not say which
            raise ConfigError(f"Redis at {self.location.shown}: {self.location.unreadable} cannot be read")
        try:
            with self.lend(self.address("")) as link:
                server = examined(link, self.location)
            key = f"{self.location.prefix}:rights"
            denied = self.one(key, *_RIGHTS.command((key,)))
        except (*FAULTS, PortError, ConfigError) as error:
            raise faults.translate_opening(error, self.location.shown) from error
        if denied:
            names = ", ".join(name.decode() for name in denied)
            raise ConfigError(f"Redis at {self.location.shown}: its user may not do this ({names}); see ACL SETUSER")
        return server

    def close(self) -> None:
        """Let go of every connection. Idempotent."""
        self._closed = True
        self._links.close()

    def check(self) -> None:
        """`Unavailable` once it is closed."""
        if self._closed:
            raise Unavailable(f"Redis at {self.location.shown}: closed")

    def one(self, key: str, *parts: Any) -> Any:
        """Run one command; its answer, or its error raised."""
        answer = self.many([(key, parts)])[0]
        if isinstance(answer, PortError):
            raise answer
        return answer

    def many(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands in one round trip (on a cluster: one for each node); per command its answer or a `PortError`."""
        self.check()
        answers = self._round(commands)
        if not any(isinstance(answer, Exception) for answer in answers):
            return answers
        again = {at: fresh for at, answer in enumerate(answers) if (fresh := self._again(commands[at], answer))}
        if again:
            for at, answer in zip(again, self._round(list(again.values())), strict=True):
                answers[at] = answer
        return [self._told(answer) if isinstance(answer, Exception) else answer for answer in answers]

    def address(self, key: str) -> Address:
        """The server of a key. `FAULTS`, or `Unavailable`."""
        return self._fixed or self._nodes.of(key)

    def lend(self, address: Address) -> Loan:
        """`with client.lend(address) as link:` a connection of this thread."""
        return Loan(self._links, address)

    def forget(self) -> None:
        """What is known of the nodes is old, and so are the idle connections."""
        self._nodes.forget()
        self._links.drop_idle()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _round(self, commands: Sequence[Command]) -> list[Any]:
        """Errors are a `Refused`, or of the ports."""
        if self._fixed is not None:
            return self._exchange(self._fixed, [parts for _, parts in commands])
        answers: list[Any] = [None] * len(commands)
        by_node: dict[Address, list[int]] = {}
        for at, (key, _) in enumerate(commands):
            try:
                by_node.setdefault(self._nodes.of(key), []).append(at)
            except (*FAULTS, PortError) as error:
                answers[at] = error
        for address, indexes in by_node.items():
            found = self._exchange(address, [commands[at][1] for at in indexes])
            for at, answer in zip(indexes, found, strict=True):
                answers[at] = answer
        return answers

    def _exchange(self, address: Address, commands: list[Parts]) -> list[Any]:
        sent = False
        answers: list[Any] = []
        try:
            with Loan(self._links, address) as link:
                sent = True
                link.send(commands)
                for _ in commands:
                    answers.append(link.read())
                return answers
        except PortError as error:
            failure: Exception = error
        except FAULTS as error:
            self.forget()
            failure = faults.translate(error, self.location.shown, "unknown" if sent else "no")
        # What was answered before the connection was lost has been done.
        return answers + [failure] * (len(commands) - len(answers))

    def _again(self, command: Command, answer: Any) -> Command | None:
        """A command that the server refused without having done anything, in the form that it will take."""
        if isinstance(answer, Refused) and answer.word == "NOSCRIPT":
            return command[0], in_full(command[1])
        if isinstance(answer, Refused) and not self.spans and answer.word == "MOVED":
            self._nodes.forget()
            return command
        return None

    def _told(self, error: Exception) -> PortError:
        if isinstance(error, Refused) and error.word == "READONLY":
            self.forget()
        return faults.translate(error, self.location.shown, "no")


class Loan:
    """A link that is given back when the block ends well, and closed when it does not."""

    __slots__ = ("_address", "_link", "_links")

    def __init__(self, links: Links, address: Address) -> None:
        self._links = links
        self._address = address
        self._link: Link | None = None

    def __enter__(self) -> Link:
        link = self._link = self._links.take(self._address)
        return link

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        link, self._link = self._link, None
        assert link is not None
        if kind is None:
            self._links.give(link)
        else:
            link.close()


def checked(answer: Any) -> Any:
    """An answer, or the error that stands in its place raised."""
    if isinstance(answer, PortError):
        raise answer
    return answer
