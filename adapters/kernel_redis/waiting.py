"""Waiting for a token of one of several queues, without polling."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

from redis.exceptions import RedisError

from kernel_redis import faults
from kernel_redis.bell import Bell
from kernel_redis.client import Client
from kernel_redis.keys import Keys
from kernel_redis.link import Link, readable

#: Seconds of grace for a server that answers late.
LATE = 0.05


class WaitingRoom:
    """Waits with one blocked BLPOP for each server that has some of the queues."""

    def __init__(self, client: Client, keys: Keys, bell: Bell) -> None:
        self._client = client
        self._keys = keys
        self._bell = bell

    def wait(self, queues: Sequence[str], timeout: float) -> None:
        """Return when a queue may have something, the bell rings, or `timeout` seconds are over. `Unavailable`."""
        try:
            with ExitStack() as loans:
                links = self._block(queues, timeout, loans)
                ready, _ = readable(links, self._bell.fileno(), timeout + LATE)
                self._unblock([link for link in links if link not in ready])
                for link in ready:
                    _answer(link)
        except (RedisError, OSError) as error:
            self._client.forget()
            raise faults.translate(error, self._client.location.shown, "no") from error

    def _block(self, queues: Sequence[str], timeout: float, loans: ExitStack) -> list[Link]:
        keys = [self._keys.wake(queue) for queue in queues]
        links: list[Link] = []
        # A cluster refuses to wait for keys of two slots at once: there each queue has a link of its own.
        for group in [keys] if self._client.spans else [[key] for key in keys]:
            link = loans.enter_context(self._client.lend(self._client.address(group[0])))
            link.id  # noqa: B018 - asked of a new link while nothing is under way: `_unblock` needs it
            link.send([("BLPOP", *group, f"{max(timeout, 0.001):.3f}")])
            links.append(link)
        return links

    def _unblock(self, links: Sequence[Link]) -> None:
        """End waits that are under way; a token that came all the same goes back to the others."""
        for link in links:
            with self._client.lend(link.address) as other:
                other.call("CLIENT", "UNBLOCK", link.id)
                answer = _answer(link)
                if answer is not None:
                    other.call("RPUSH", *answer)


def _answer(link: Link) -> list[bytes] | None:
    """The key and the token of an ended wait, None when it ended without."""
    answer: list[bytes] | RedisError | None = link.read()
    if isinstance(answer, RedisError):
        raise answer
    return answer
