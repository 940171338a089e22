"""What an exception of redis-py means to the kernel."""

from __future__ import annotations

from redis import exceptions as redis

from kernel.errors import ConfigError, KernelError, PortError, Rejected, Sent, Unavailable

#: First word of an error of the server after which the same call may work later, and what to say of it. The words
#: are those of the Redis protocol; https://redis.io/docs/latest/develop/reference/protocol-spec (simple errors).
_LATER = {
    "LOADING": "it is still loading its data",
    "READONLY": "it is a read-only replica: a failover is under way, or the URL names the wrong server",
    "OOM": "its memory is full: raise maxmemory, or let workers drain the queues",
    "MISCONF": "it cannot write to its disk: free space there, or see its log",
    "CLUSTERDOWN": "the cluster is down",
    "TRYAGAIN": "the cluster is moving these keys",
    "MASTERDOWN": "it has lost its master",
    "NOREPLICAS": "it has too few replicas to accept writes",
    "BUSY": "it is busy with a script of somebody else",
    "MOVED": "the cluster has moved these keys",
    "ASK": "the cluster is moving these keys",
    "UNBLOCKED": "the call was ended by a change of roles",
}


def first_word(error: BaseException) -> str:
    """The code of a server's error. redis-py takes it off the message of those that it knows."""
    if isinstance(error, redis.BusyLoadingError):
        return "LOADING"
    if isinstance(error, redis.ReadOnlyError):
        return "READONLY"
    if isinstance(error, redis.OutOfMemoryError):
        return "OOM"
    return str(error).partition(" ")[0]


def translate(error: BaseException, where: str, sent: Sent = "unknown") -> PortError:
    """The port's error for one that a call raised; `sent` is what holds when the connection was lost."""
    if isinstance(error, PortError):
        return error
    word = first_word(error)
    if word in _LATER:
        return Unavailable(f"Redis at {where}: {_LATER[word]} ({error})")
    if isinstance(error, (redis.AuthenticationError, redis.AuthorizationError)) or word in ("NOAUTH", "WRONGPASS"):
        return Unavailable(f"Redis at {where} refuses the user or password: check the URL")
    if isinstance(error, redis.NoPermissionError) or word == "NOPERM":
        return Rejected(f"Redis at {where}: its user may not do this ({error}); see ACL SETUSER")
    if isinstance(error, (redis.ConnectionError, redis.TimeoutError, OSError)):
        return Unavailable(f"Redis at {where}: {error}", sent=sent)
    return Rejected(f"Redis at {where}: {error}")


def translate_opening(error: BaseException, where: str) -> KernelError:
    """The error of `open`: what an operator has to mend is a `ConfigError`."""
    if isinstance(error, KernelError):
        return error
    word = first_word(error)
    if isinstance(error, (redis.AuthenticationError, redis.AuthorizationError)) or word in ("NOAUTH", "WRONGPASS"):
        return ConfigError(f"Redis at {where} refuses the user or password: check those in the URL")
    if isinstance(error, redis.NoPermissionError) or word == "NOPERM":
        return ConfigError(f"Redis at {where}: its user may not do what kernel needs ({error}); see ACL SETUSER")
    translated = translate(error, where, "no")
    return ConfigError(str(translated)) if isinstance(translated, Rejected) else translated
