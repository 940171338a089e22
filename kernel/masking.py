"""Secrets of URLs, hidden wherever a URL is shown."""

from __future__ import annotations

import re
from typing import Any

_SECRET_QUERY = re.compile(r"([?&;][^=&;?]*(?:pass|pwd|secret|token|credential|sig|key(?==))[^=&;?]*=)[^&]*", re.I)

#: What the URL of a seal says about the place of its keys, and not about the keys.
_KEY_PLACES = ("file=", "env=")


def mask_url(url: str) -> str:
    """The URL with its password, and the values of secret query parameters, as `***`.

    Meant for any string at all, malformed ones first: a password with an unquoted slash or hash makes URL parsers
    see a path, so everything up to the last `@` counts as credentials. Rather too much is hidden than too little.
    """
    scheme, mark, rest = url.partition("://") if "://" in url else ("", "", url)
    credentials, at, place = rest.rpartition("@")
    user, colon, _ = credentials.partition(":")
    if colon:
        rest = f"{user}:***{at}{place}"
    return f"{scheme}{mark}" + _SECRET_QUERY.sub(r"\1***", rest)


def mask_seal(url: str) -> str:
    """The URL of a seal with everything as `***` but its scheme and where its keys are: the rest may be one."""
    scheme, mark, rest = url.partition("#")[0].partition("://")
    if not mark:
        return "***" if url else ""
    place, query, options = rest.partition("?")
    shown = [part if part.startswith(_KEY_PLACES) else "***" for part in options.split("&")] if query else []
    return f"{scheme}://{'***' if place else ''}{query}{'&'.join(shown)}"


def masked(value: Any, key: str = "") -> Any:
    """The value of a setting of this name, with the secrets of URLs in it as `***`."""
    if key == "seal":
        return mask_seal(value if isinstance(value, str) else "***")
    if isinstance(value, str):
        return mask_url(value)
    if isinstance(value, list | tuple | set):
        return tuple(masked(item) for item in value)
    if isinstance(value, dict):  # no setting is one, and a message says so of what somebody gave
        return {name: masked(item) for name, item in value.items()}
    return mask_url(repr(value)) if isinstance(value, bytes) else value
