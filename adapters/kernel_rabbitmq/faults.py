"""What an exception of pika means to the kernel."""

from __future__ import annotations

import re

from pika import exceptions

from kernel.errors import ConfigError, KernelError, PortError, Rejected, Sent, Unavailable

#: Reply codes of AMQP 0-9-1 (specification, section 1.8, and RabbitMQ's own use of them).
CONTENT_TOO_LARGE, ACCESS_REFUSED, NOT_FOUND, LOCKED, PRECONDITION_FAILED = 311, 403, 404, 405, 406
NOT_ALLOWED, NOT_IMPLEMENTED, INTERNAL_ERROR = 530, 540, 541
_FOR_GOOD = frozenset({CONTENT_TOO_LARGE, ACCESS_REFUSED, PRECONDITION_FAILED, NOT_ALLOWED, NOT_IMPLEMENTED})

_INEQUIVALENT = re.compile(r"inequivalent arg '([^']+)' for (?:queue|exchange) '(.*)' in vhost '.*?': (.*)", re.DOTALL)

_BY_BROKER = re.compile(r"ConnectionClosedByBroker: \((\d+)\)")


def code_of(error: BaseException) -> int:
    """The reply code, 0 where there is none."""
    return int(getattr(error, "reply_code", 0) or 0)


def text_of(error: BaseException) -> str:
    """What the broker said, without the name of a Python class around it."""
    return str(getattr(error, "reply_text", "") or error or type(error).__name__)


def inequivalent(error: BaseException) -> tuple[str, str] | None:
    """The name of the argument in which a declaration differs from what is there, and the broker's explanation."""
    found = _INEQUIVALENT.search(text_of(error)) if code_of(error) == PRECONDITION_FAILED else None
    return (found[1], found[3]) if found else None


def being_created(error: BaseException | None) -> bool:
    """Whether a quorum queue has its name already and its process not yet."""
    return error is not None and code_of(error) == INTERNAL_ERROR and "noproc" in text_of(error)


def translate(error: BaseException, at: str, sent: Sent = "no") -> PortError:
    """The port's error for a channel or connection that ended."""
    if isinstance(error, PortError):
        return error
    text = text_of(error)
    if isinstance(error, exceptions.ChannelClosedByBroker) and code_of(error) in _FOR_GOOD:
        if "delivery acknowledgement" in text and "timed out" in text:
            return Unavailable(f"{at}: a message was held longer than the broker's consumer_timeout: {text}", sent=sent)
        return Rejected(f"{at}: {text}", sent=sent)
    return Unavailable(f"{at}: {text}", sent=sent)


def translate_opening(error: BaseException, at: str, user: str, vhost: str) -> KernelError:
    """The error of a connection that could not be opened: a part of these is for the operator to mend."""
    if isinstance(error, KernelError):
        return error
    text = text_of(error)
    code = code_of(error) or _code_in(text)
    if code == ACCESS_REFUSED:
        return ConfigError(f"{at}: user {user!r} or its password is refused; check both, and `rabbitmqctl list_users`")
    if code == NOT_ALLOWED:
        return ConfigError(
            f"{at}: no virtual host {vhost!r} for the user {user!r}: check its name and "
            f"`rabbitmqctl list_permissions --vhost {vhost}`"
        )
    if isinstance(error, exceptions.IncompatibleProtocolError) and "StreamLostError" not in text:
        return ConfigError(f"{at}: this does not speak AMQP 0-9-1; check the port ({text})")
    return Unavailable(f"{at}: {text}")


def _code_in(text: str) -> int:
    """The reply code in the text of an error that pika derives from the state in which a handshake ended.

    Its guess (a wrong password while it authenticates, a wrong virtual host while it tunes) is not taken: a broker that
    is being stopped ends connections in any state. One that refuses says so with a code.
    """
    found = _BY_BROKER.search(text)
    return int(found[1]) if found else 0
