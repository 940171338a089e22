"""Unique calls, at the caller: a claim in the name of the call before it is sent.

The claim is made for a short time and becomes one for its whole time when the message is stored: a caller that dies in
between blocks its key for as long as a send may last, not for a day. It is only renewed then, because the task may have
run by that time, and ended it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from kernel.errors import PortError, Unavailable, Unsupported
from kernel.limits.terms import Unique
from kernel.native import monotonic
from kernel.ports import Claim, Coordination
from kernel.sending.errand import Errands, Overdue
from kernel.steady import persist

T = TypeVar("T")

#: Seconds, beyond the deadline of a send, for which a call is claimed that may not have been stored.
UNDERWAY = 10.0
#: Tries to take the place of another call, while more of them do the same.
TRIES = 10


class Claims:
    """Asks the coordination service within the deadline of a send, whatever the service does."""

    def __init__(self, find: Callable[[], Coordination | None], errands: Errands, timeout: float) -> None:
        """`find` opens the ports. `timeout` is that of a send, in seconds."""
        self._find = find
        self._errands = errands
        self.timeout = timeout

    def make(self, key: str, task_id: str, unique: Unique, deadline: float) -> str:
        """Claim a key for a call that is about to be sent; the id of the call that has it, which may be another one."""
        claim = Claim(key, task_id, self.timeout + UNDERWAY)
        for _ in range(TRIES):
            owner = self._ask(lambda service: service.claim([claim])[0], deadline)
            if owner == task_id or unique.on_conflict != "replace":
                return owner
            if not self._displace(claim, owner, unique, deadline):
                return owner
        raise Unavailable(f"nothing was sent: {TRIES} other calls of {key!r} were made meanwhile", sent="no")

    def _displace(self, claim: Claim, owner: str, unique: Unique, deadline: float) -> bool:
        """Take the place of another call; False when that has started and its period is not over."""
        instead = Claim(f"replaced:{owner}", claim.owner, unique.lives_for)

        def displace(service: Coordination) -> bool:
            waits = service.claim([instead])[0] != owner
            if not waits and not isinstance(unique.scope, str):
                return False
            service.drop([(claim.key, owner)])
            return True

        return self._ask(displace, deadline)

    def confirm(self, key: str, task_id: str, ttl: float) -> None:
        """The message is stored: the claim stands for its whole time. What fails here has no other effect than that
        the key is free earlier."""
        claim = Claim(key, task_id, ttl, renew=True)
        self._after(lambda service: service.claim([claim]))

    def end(self, key: str, task_id: str) -> None:
        """The message was not stored."""
        self._after(lambda service: service.drop([(key, task_id)]))

    def _after(self, call: Callable[[Coordination], object]) -> None:
        try:
            self._ask(call, monotonic() + self.timeout)
        except PortError:
            pass  # the short claim ends by itself

    def _ask(self, call: Callable[[Coordination], T], deadline: float) -> T:
        left = deadline - monotonic()
        try:
            return self._errands.run(lambda: persist(lambda: call(self._service()), left), left)
        except (Overdue, Unavailable) as error:
            reason = str(error) or "no answer of the coordination service yet"
            raise Unavailable(f"nothing was sent; given up after {self.timeout:g} s: {reason}", sent="no") from None

    def _service(self) -> Coordination:
        service = self._find()
        if service is None:
            raise Unsupported(
                "unique and debounced tasks need a coordination service: set coordination= to a Redis or an SQLite file"
            )
        return service
