"""What can go wrong with a Redis, and what it means to the kernel."""

from __future__ import annotations

import re
import ssl

from redis import exceptions as redis

from kernel.errors import ConfigError, KernelError, PortError, Rejected, Sent, Unavailable


class Lost(Exception):
    """The connection, or what it said, is of no use any more."""


#: How Redis 6.2 puts an error that a command in a script met; later versions pass that on as it is.
_WRAPPED = re.compile(r"ERR Error running script .*?: -([A-Z]+) ", re.DOTALL)


class Refused(Exception):
    """An error that the server answered; it did nothing."""

    @property
    def word(self) -> str:
        """Its code: the first word, as in the Redis protocol (simple errors), also of an error inside of a script."""
        text = str(self)
        if "executing the script can't" in text or "ACL failure in script" in text:
            return "NOPERM"  # which 7.0 leaves out, and later ones and Valkey
        wrapped = _WRAPPED.match(text)
        return wrapped[1] if wrapped else text.partition(" ")[0]


#: What the calls of this package may raise.
FAULTS = (Lost, Refused, redis.RedisError, OSError)

#: Code of an error after which the same call may work later, and what to say of it.
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
#: Codes of a login that failed. Later: the password may be changed at both ends while a worker runs.
_LOGIN = ("NOAUTH", "WRONGPASS")


def is_lost(error: BaseException) -> bool:
    """Whether the connection is gone, rather than a call refused."""
    return not isinstance(error, (Refused, redis.ResponseError))


def translate(error: BaseException, where: str, sent: Sent) -> PortError:
    """The port's error for one that a call raised; `sent` is what holds when the connection was lost."""
    if isinstance(error, PortError):
        return error
    word = _word(error)
    if word in _LATER:
        return Unavailable(f"Redis at {where}: {_LATER[word]} ({error})")
    if word in _LOGIN:
        return Unavailable(f"Redis at {where} refuses the user or password: check those in the URL")
    if word == "NOPERM":
        return Rejected(f"Redis at {where}: its user may not do this ({error}); see ACL SETUSER")
    untrusted = _untrusted(error)
    if untrusted is not None:
        return Unavailable(
            f"Redis at {where}: its certificate ({untrusted.verify_message}) is not trusted: name the authority with "
            f"cafile=, and the host as the certificate does"
        )
    if is_lost(error):
        return Unavailable(f"Redis at {where}: {error}", sent=sent)
    return Rejected(f"Redis at {where}: {error}")


def translate_opening(error: BaseException, where: str) -> KernelError:
    """The error of `open`: what an operator has to mend is a `ConfigError`."""
    if isinstance(error, KernelError) and not isinstance(error, Rejected):
        return error
    translated = translate(error, where, "no")
    mend = isinstance(translated, Rejected) or _word(error) in _LOGIN or _untrusted(error) is not None
    return ConfigError(str(translated)) if mend else translated


def _untrusted(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    """The refusal of a certificate, from which redis-py makes an error of its own."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error


def _word(error: BaseException) -> str:
    """The code of an error. In a handshake redis-py puts classes in place of codes."""
    if isinstance(error, Refused):
        return error.word
    if isinstance(error, redis.BusyLoadingError):
        return "LOADING"
    if isinstance(error, (redis.AuthenticationError, redis.AuthorizationError)):
        return "WRONGPASS"
    if isinstance(error, redis.NoPermissionError):
        return "NOPERM"
    return str(error).partition(" ")[0]
