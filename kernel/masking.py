"""Secrets of URLs, hidden wherever a URL is shown."""

from __future__ import annotations

import re
from typing import Any

_SECRET_QUERY = re.compile(r"([?&;][^=&;?]*(?:pass|pwd|secret|token|credential|sig|key(?==))[^=&;?]*=)[^&]*", re.I)


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


def masked(value: Any) -> Any:
    """The value of a setting, with the secrets of URLs in it as `***`."""
    if isinstance(value, str):
        return mask_url(value)
    if isinstance(value, list | tuple):
        return tuple(masked(item) for item in value)
    return value
