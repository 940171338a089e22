"""Time zones by their names."""

from __future__ import annotations

from datetime import tzinfo
from typing import Any


def zone(name: str) -> tzinfo | None:
    """The zone of this name, None for "". ValueError, with what to do, where the machine does not know it."""
    if not name:
        return None
    import zoneinfo  # 4 ms, for those who set a zone

    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        hint = "" if zoneinfo.available_timezones() else "; this machine knows none: pip install tzdata"
        raise ValueError(f"{name!r} is no time zone, such as Europe/Berlin or UTC{hint}") from None


def parse_zone(value: Any) -> str:
    """The name, checked; ValueError for anything else."""
    if not isinstance(value, str):
        raise ValueError(f"a time zone is a name such as Europe/Berlin, not {value!r:.60}")
    zone(value)
    return value
