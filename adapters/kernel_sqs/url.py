"""What an SQS URL says: `sqs://?region=eu-west-1`, or `sqs+http://host:port?region=...` for another endpoint.

Credentials are never in it: boto3 finds them in the environment, in a profile or in the role of the machine.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from kernel.errors import ConfigError

#: Largest message of a queue in bytes, its body and attributes together (Amazon SQS quotas, since August 2025).
LARGEST_MESSAGE = 1024 * 1024
#: Longest visibility timeout in seconds, all extensions of one receive together (the same quotas).
LONGEST_VISIBILITY = 43_200
#: Longest long poll in seconds (the same quotas).
LONGEST_WAIT = 20

_PREFIX = re.compile(r"[A-Za-z0-9_-]{0,60}")

KNOWN = (
    "known are region, profile, endpoint, lease=seconds, wait=seconds, timeout=seconds, prefix, fifo=yes|no, "
    "create=yes|no, deliveries=number, message_size=bytes, s3=bucket/prefix, s3_endpoint, and queue.<name>=<queue url> "
    "or queue.*=<queue url with {name}>"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """An account and region, and how to use its queues."""

    #: "": as boto3 finds it.
    region: str = ""
    profile: str = ""
    #: Where SQS is; "": as boto3 finds it.
    endpoint: str = ""
    #: Seconds for which a received message stays hidden.
    lease: int = 60
    #: Seconds of one long poll; `close` may take as long.
    wait: int = 3
    #: Seconds to wait for an answer of the service.
    timeout: float = 5.0
    #: Put before the name of every queue.
    prefix: str = ""
    fifo: bool = False
    #: Queues that are missing are made.
    create: bool = True
    #: Receives of one message after which the service moves it to the dead queue; the service takes 1 to 1000.
    deliveries: int = 1000
    #: Largest message in bytes that the queues take.
    message_size: int = LARGEST_MESSAGE
    #: Kernel's name of a queue: its URL. With one of these or a pattern, nothing is looked up or made.
    queues: dict[str, str] = field(default_factory=dict)
    #: URL of any other queue, with {name} in it; "": there is no other.
    pattern: str = ""
    #: Bucket, and the prefix of keys in it, for payloads above the limit; "": they are refused.
    bucket: str = ""
    folder: str = ""
    s3_endpoint: str = ""

    @property
    def predefined(self) -> bool:
        """The queues are given by their URLs."""
        return bool(self.queues or self.pattern)


def parse(url: str) -> Location:
    """Read an SQS URL; `ConfigError` names what is wrong with it."""
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise ConfigError(
            "an SQS URL has no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile with "
            "?profile=, or give the machine a role"
        )
    known: dict[str, Any] = {}
    if parts.scheme in ("sqs+http", "sqs+https") and parts.netloc:
        known["endpoint"] = f"{parts.scheme[4:]}://{parts.netloc}{parts.path}".rstrip("/")
    elif parts.scheme != "sqs" or parts.netloc or parts.path:
        raise ConfigError(f"{url}: write sqs://?region=<region>, or sqs+http://<host>:<port>?region=<region>")
    queues: dict[str, str] = {}
    for key, text in parse_qsl(parts.query, keep_blank_values=True):
        if key == "queue.*":
            known["pattern"] = _pattern(text)
        elif key.startswith("queue.") and key != "queue.":
            queues[key.removeprefix("queue.")] = _address(key, text)
        elif key == "s3":
            known["bucket"], known["folder"] = _folder(text)
        elif key in _READERS:
            known[key] = _READERS[key](key, text)
        else:
            raise ConfigError(f"unknown option {key!r} of an SQS URL; {KNOWN}")
    return _checked(Location(queues=queues, **known))


def _checked(location: Location) -> Location:
    longest = LONGEST_VISIBILITY - LONGEST_WAIT - 1
    for name, low, high in (
        ("lease", 1, longest),
        ("wait", 1, LONGEST_WAIT),
        ("deliveries", 1, 1000),
        ("message_size", 1024, LARGEST_MESSAGE),
    ):
        if not low <= getattr(location, name) <= high:
            raise ConfigError(f"{name} of an SQS URL is {low} to {high}, not {getattr(location, name)}")
    if not _PREFIX.fullmatch(location.prefix):
        raise ConfigError("prefix of an SQS URL has letters, digits, - and _ only")
    given = [*location.queues.values(), *filter(None, [location.pattern])]
    if any(url.endswith(".fifo") is not location.fifo for url in given):
        raise ConfigError("the URL of a FIFO queue ends with .fifo and belongs to fifo=yes, every other to fifo=no")
    return location


def _text(key: str, text: str) -> str:
    return text


def _address(key: str, text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.netloc or "@" in parts.netloc:
        raise ConfigError(f"{key} of an SQS URL is an http or https URL without credentials")
    return text.rstrip("/")


def _pattern(text: str) -> str:
    if "{name}" not in text:
        raise ConfigError("queue.* of an SQS URL is a queue URL with {name} in it")
    return _address("queue.*", text)


def _folder(text: str) -> tuple[str, str]:
    bucket, _, folder = text.partition("/")
    if not bucket:
        raise ConfigError("s3 of an SQS URL is bucket or bucket/prefix")
    return bucket, folder


def _whole(key: str, text: str) -> int:
    if text.isascii() and text.isdecimal():
        return int(text)
    raise ConfigError(f"{key} of an SQS URL is a whole number, not {text!r}")


def _seconds(key: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if 0 < value < math.inf:
        return value
    raise ConfigError(f"{key} of an SQS URL is a number of seconds above 0, not {text!r}")


def _choice(key: str, text: str) -> bool:
    if text in ("yes", "no"):
        return text == "yes"
    raise ConfigError(f"{key} of an SQS URL is yes or no, not {text!r}")


_READERS = {
    "region": _text,
    "profile": _text,
    "prefix": _text,
    "endpoint": _address,
    "s3_endpoint": _address,
    "lease": _whole,
    "wait": _whole,
    "deliveries": _whole,
    "message_size": _whole,
    "timeout": _seconds,
    "fifo": _choice,
    "create": _choice,
}
