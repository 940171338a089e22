"""What an SQS URL says: `sqs://?region=eu-west-1`, or `sqs+http://host:port?region=...` for another endpoint.

Credentials are never in it: boto3 finds them in the environment, in a profile or in the role of the machine.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from kernel.errors import ConfigError
from kernel.ports.query import Query

#: Largest message of a queue in bytes, its body and attributes together (Amazon SQS quotas, since August 2025).
LARGEST_MESSAGE = 1024 * 1024
#: Longest visibility timeout in seconds, all extensions of one receive together (the same quotas).
LONGEST_VISIBILITY = 43_200
#: Longest long poll in seconds (the same quotas).
LONGEST_WAIT = 20

_PREFIX = re.compile(r"[A-Za-z0-9_-]{0,60}")


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
    shown = f"{parts.scheme}://{parts.netloc}{parts.path}"
    options = Query(shown, parts.query)
    if parts.scheme in ("sqs+http", "sqs+https") and parts.netloc:
        endpoint = f"{parts.scheme[4:]}://{parts.netloc}{parts.path}".rstrip("/")
    elif parts.scheme == "sqs" and not parts.netloc and not parts.path:
        endpoint = _address(options, "endpoint", options.text("endpoint"))
    else:
        raise options.wrong("write sqs://?region=<region>, or sqs+http://<host>:<port>?region=<region>")
    queues = options.group("queue", "queue.<name>=<queue url>, queue.*=<queue url with {name}>")
    pattern = queues.pop("*", "")
    if pattern and "{name}" not in pattern:
        raise options.wrong("queue.* is a queue URL with {name} in it")
    bucket, _, folder = options.text("s3").partition("/")
    if folder and not bucket:
        raise options.wrong("s3 is bucket or bucket/prefix")
    location = Location(
        region=options.text("region"),
        profile=options.text("profile"),
        endpoint=endpoint,
        lease=options.number("lease", 60, 1, LONGEST_VISIBILITY - LONGEST_WAIT - 1),
        wait=options.number("wait", 3, 1, LONGEST_WAIT),
        timeout=options.seconds("timeout", 5.0),
        prefix=options.text("prefix"),
        fifo=options.flag("fifo", default=False),
        create=options.flag("create", default=True),
        deliveries=options.number("deliveries", 1000, 1, 1000),
        message_size=options.number("message_size", LARGEST_MESSAGE, 1024, LARGEST_MESSAGE),
        queues={name: _address(options, f"queue.{name}", text) for name, text in queues.items()},
        pattern=_address(options, "queue.*", pattern),
        bucket=bucket,
        folder=folder,
        s3_endpoint=_address(options, "s3_endpoint", options.text("s3_endpoint")),
    )
    options.finish()
    if not _PREFIX.fullmatch(location.prefix):
        raise options.wrong("prefix has letters, digits, - and _ only")
    given = [*location.queues.values(), *filter(None, [location.pattern])]
    if any(queue.endswith(".fifo") is not location.fifo for queue in given):
        raise options.wrong("the URL of a FIFO queue ends with .fifo and belongs to fifo=yes, every other to fifo=no")
    return location


def _address(options: Query, key: str, text: str) -> str:
    """An http or https URL, or "" for none."""
    parts = urlsplit(text)
    if text and (parts.scheme not in ("http", "https") or not parts.netloc or "@" in parts.netloc):
        raise options.wrong(f"{key} is an http or https URL without credentials")
    return text.rstrip("/")
