"""Names of keys. All keys of a queue share one hash tag, so that a cluster keeps them on one node."""

from __future__ import annotations

from binascii import crc32

#: Results are spread over so many hash tags: on a cluster a batch becomes at most so many commands, not one per key.
BUCKETS = 128


def escaped(name: str) -> str:
    """A name without braces, which would end the hash tag; reversible."""
    if "{" in name or "}" in name or "%" in name:
        return name.replace("%", "%25").replace("{", "%7B").replace("}", "%7D")
    return name


class Keys:
    """The keys below one prefix."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        #: The set of all queue names.
        self.queues = f"{prefix}:queues"
        self._bases: dict[str, str] = {}

    def queue(self, name: str) -> str:
        """What all keys of a queue begin with."""
        base = self._bases.get(name)
        if base is None:
            base = self._bases[name] = f"{self.prefix}:q:{{{escaped(name)}}}"
        return base

    def ready(self, name: str, priority: int) -> str:
        """The list of the ready messages of one priority."""
        return f"{self.queue(name)}:{priority}"

    def wake(self, name: str) -> str:
        """The set on which receivers of a queue wait for a token."""
        return f"{self.queue(name)}:wake"

    def result(self, key: str) -> str:
        """A record; also the channel that tells of its final value."""
        return f"{self.prefix}:r:{{{crc32(key.encode('utf-8', 'surrogatepass')) % BUCKETS:x}}}:{key}"

    def fact(self, kind: str, key: str) -> str:
        """A claim, set, bucket or semaphore of the Coordination port."""
        return f"{self.prefix}:{kind}:{{{escaped(key)}}}"

    def space(self, name: str) -> str:
        """What all keys of a space of the ScheduleStore port begin with."""
        return f"{self.prefix}:s:{{{escaped(name)}}}"

    def channel(self, name: str) -> str:
        """A broadcast channel."""
        return f"{self.prefix}:b:{name}"
