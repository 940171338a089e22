"""Dedup keys for transports that have none: a claim before the send, confirmed after it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final, Protocol

from kernel.emulate.passthrough import Passthrough
from kernel.errors import PartialSend, PortError, Unavailable
from kernel.ids import new_id
from kernel.ports import Claim, CoordinationFeatures, Delivery, Outgoing, Transport

#: Seconds for which an equal key is one message.
WINDOW: Final = 300.0
#: Seconds for which a send may be under way. A sender that dies meanwhile blocks its key for no longer.
UNDERWAY: Final = 10.0
#: Owner of a key whose message is stored.
STORED: Final = "stored"


class Claims(Protocol):
    """What a coordination service is needed for here. Nothing of it is asked before there is a key."""

    @property
    def features(self) -> CoordinationFeatures:
        """How many claims it takes at once."""

    def claim(self, items: Sequence[Claim]) -> list[str]:
        """As of `Coordination`."""

    def drop(self, items: Sequence[tuple[str, str]]) -> None:
        """As of `Coordination`."""


class Unique(Passthrough):
    """Drops a message whose key was stored within the window, as a transport with native dedup does.

    The claim is made for a short time by this very call and becomes one for the window only when the message is
    stored. One step for the whole window was rejected: a sender that dies between claim and send, or whose send
    fails, would have its own second try dropped as a duplicate, and the message were lost. So a crash at any point
    can repeat a message and never loses one. A key that another call is sending right now is `Unavailable`: whether
    its message gets stored is not known yet.
    """

    def __init__(self, inner: Transport, coordination: Claims) -> None:
        own = inner.features
        super().__init__(inner, replace(own, dedup=WINDOW, borrowed=own.borrowed | {"dedup"}))
        self._coordination = coordination

    def send(self, batch: Sequence[Outgoing]) -> None:
        """Store all messages whose key is new."""
        if not [out for out in batch if out.dedup_key]:
            return self._inner.send(batch)
        keys = _Keys(self._coordination, batch)
        errors = keys.busy()
        wanted = [index for index in range(len(batch)) if keys.mine(index) and keys.first(index)]
        try:
            if wanted:
                self._inner.send([batch[index] for index in wanted])
        except PartialSend as partial:
            failed = {wanted[position]: error for position, error in partial.errors.items()}
            keys.free(failed)
            errors.update(failed)
        except BaseException:
            keys.free(wanted)
            raise
        keys.confirm([index for index in wanted if index not in errors])
        if len(errors) == len(batch) and not wanted:
            raise Unavailable("all of these messages are being sent by another call")
        if errors:
            raise PartialSend(errors)
        return None

    def commit(self, batch: Sequence[tuple[Delivery, Sequence[Outgoing]]]) -> list[Delivery]:
        """As the inner transport, without the sends whose key was stored; `Unavailable` while one is under way."""
        outs = [out for _, sends in batch for out in sends]
        if not [out for out in outs if out.dedup_key]:
            return super().commit(batch)
        keys = _Keys(self._coordination, outs)
        everything = list(range(len(outs)))
        for error in keys.busy().values():
            keys.free(everything)
            raise error
        indexes = iter(everything)
        spans = [[next(indexes) for _ in sends] for _, sends in batch]
        # Equal keys of two deliveries are both sent: the lease of the one whose message is kept may be the lost one.
        kept = [[outs[index] for index in span if keys.mine(index)] for span in spans]
        try:
            lost = super().commit([(delivery, sends) for (delivery, _), sends in zip(batch, kept, strict=True)])
        except BaseException:
            keys.free(everything)
            raise
        gone = {id(delivery) for delivery in lost}
        stored = [id(delivery) not in gone for delivery, _ in batch]
        keys.free([index for span, is_stored in zip(spans, stored, strict=True) if not is_stored for index in span])
        keys.confirm([index for span, is_stored in zip(spans, stored, strict=True) if is_stored for index in span])
        return lost


class _Keys:
    """The claims of one call, by index into its batch."""

    def __init__(self, coordination: Claims, batch: Sequence[Outgoing]) -> None:
        self._coordination = coordination
        self._owner = new_id()
        #: First index of each key; an equal key later in the same batch is a duplicate.
        self._first: dict[str, int] = {}
        self._keys = [f"dedup:{out.queue}:{out.dedup_key}" if out.dedup_key else "" for out in batch]
        for index, key in enumerate(self._keys):
            if key:
                self._first.setdefault(key, index)
        self._owners: dict[str, str] = {}
        for keys in self._chunks(list(self._first)):
            owners = coordination.claim([Claim(key, self._owner, UNDERWAY) for key in keys])
            self._owners.update(zip(keys, owners, strict=True))

    def mine(self, index: int) -> bool:
        """Whether the message is this call's to send: it has no key, or one that nobody else stored or sends."""
        key = self._keys[index]
        return not key or self._owners[key] == self._owner

    def first(self, index: int) -> bool:
        """Whether no message before this one in the batch has its key."""
        key = self._keys[index]
        return not key or self._first[key] == index

    def busy(self) -> dict[int, PortError]:
        """The messages whose key another call is sending right now."""
        return {
            index: Unavailable(f"a message with the key {key!r} is being sent by another call")
            for index, key in enumerate(self._keys)
            if key and self._owners[key] not in (self._owner, STORED)
        }

    def free(self, indexes: Iterable[int]) -> None:
        """End the claims of messages that may not have been stored."""
        self._after([self._keys[index] for index in indexes if self._keys[index] and self.mine(index)], stored=False)

    def confirm(self, indexes: Iterable[int]) -> None:
        """Keep the claims of stored messages for the window."""
        self._after([self._keys[index] for index in indexes if self._keys[index] and self.mine(index)], stored=True)

    def _after(self, keys: list[str], stored: bool) -> None:
        """Second step of the claims. A failure is not the caller's: the messages are where they are, the claims end
        by themselves, and until the next send of the same key nobody needs them."""
        try:
            for some in self._chunks(keys):
                self._coordination.drop([(key, self._owner) for key in some])
                if stored:
                    self._coordination.claim([Claim(key, STORED, WINDOW) for key in some])
        except PortError:
            pass

    def _chunks(self, keys: list[str]) -> Iterator[list[str]]:
        most = self._coordination.features.max_batch
        return (keys[start : start + most] for start in range(0, len(keys), most))
