"""Options over options: of a part over those of the whole, of a declaration over those of its class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def laid(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both, and what both say as `above` says it.

    A place is said by several options together: a queue above is not the exchange below, and an exchange above has not
    the routing key of the one below.
    """
    both = {**below, **above}
    if "exchange" in both and "exchange" not in above and "queue" in above:
        del both["exchange"]
    if "routing_key" in both and "routing_key" not in above and ("exchange" in above or "queue" in above):
        del both["routing_key"]
    return both
