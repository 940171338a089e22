"""Waiting for a token of one of several queues, without polling."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from kernel_redis import faults
from kernel_redis.bell import Bell
from kernel_redis.client import Client, Command
from kernel_redis.keys import Keys
from kernel_redis.link import Link, Parts, checked, readable

#: Seconds of grace for a server that answers late.
LATE = 0.05


class WaitingRoom:
    """Waits with a blocked BZPOPMIN, and has the claims that follow it run by the server itself as soon as it ends.

    The server takes the next command of a connection when the blocked one has its answer, so claims that are sent
    right behind it cost no round trip of their own. On a cluster there are several connections, whose claims together
    would take too much: there they follow when the wait is over.
    """

    def __init__(self, client: Client, keys: Keys, bell: Bell) -> None:
        self._client = client
        self._keys = keys
        self._bell = bell

    def wait(self, queues: Sequence[str], timeout: float, claims: Sequence[Command]) -> list[Any]:
        """The answers of `claims` (or a `PortError` each), made when a queue may have something, the bell rings, or
        `timeout` seconds are over. `Unavailable`."""
        behind = list(claims) if self._client.spans else []
        answers: list[Any] = []
        try:
            with ExitStack() as loans:
                links = self._block(queues, timeout, [parts for _, parts in behind], loans)
                ready, _ = readable(links, self._bell.fileno(), timeout + LATE)
                self._unblock([link for link in links if link not in ready])
                for link in ready:
                    _token(link)
                answers = [links[0].read() for _ in behind]
        except faults.FAULTS as error:
            self._client.forget()
            raise faults.translate(error, self._client.location.shown, "no") from error
        # What the server refused was not done: the client knows why, and what helps.
        failed = [at for at in range(len(claims)) if not behind or isinstance(answers[at], faults.Refused)]
        again = dict(zip(failed, self._client.many([claims[at] for at in failed]) if failed else [], strict=True))
        return [again[at] if at in again else answers[at] for at in range(len(claims))]

    def _block(self, queues: Sequence[str], timeout: float, behind: Sequence[Parts], loans: ExitStack) -> list[Link]:
        keys = [self._keys.wake(queue) for queue in queues]
        links: list[Link] = []
        # A cluster refuses to wait for keys of two slots at once: there each queue has a link of its own.
        for group in [keys] if self._client.spans else [[key] for key in keys]:
            link = loans.enter_context(self._client.lend(self._client.address(group[0])))
            link.id  # noqa: B018 - asked of a new link while nothing is under way: `_unblock` needs it
            link.send([("BZPOPMIN", *group, f"{max(timeout, 0.001):.3f}"), *behind])
            links.append(link)
        return links

    def _unblock(self, links: Sequence[Link]) -> None:
        """End waits that are under way; a token that came all the same goes back to the others."""
        for link in links:
            with self._client.lend(link.address) as other:
                other.call("CLIENT", "UNBLOCK", link.id)
                token = _token(link)
                if token is not None:
                    other.send([("ZADD", token[0], 0, token[1])])
                    other.read()  # one that is refused (a full memory) costs a receiver a second, not this call


def _token(link: Link) -> list[bytes] | None:
    """The key and the token of an ended wait, None when it ended without."""
    answer: list[bytes] | None = checked(link.read())
    return answer
