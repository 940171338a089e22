"""What a report of a fault should come with."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from kernel import discovery
from kernel.configuration.config import Config
from kernel.hooks import Hooks


def bugreport(name: str, config: Config, hooks: Hooks) -> str:
    """Versions, plugins, and the settings that somebody set, as plain text; secrets in URLs are masked."""
    rows = list(_rows(name, config, hooks))
    width = max(len(title) for title, _ in rows)
    return "\n".join(f"{title:<{width}}  {text}".rstrip() for title, text in rows)


def _rows(name: str, config: Config, hooks: Hooks) -> Iterator[tuple[str, Any]]:
    yield "application", name
    yield "python", f"{'.'.join(map(str, sys.version_info[:3]))} on {sys.platform}"
    packages = {each.distribution: each.version for each in discovery.installed()}
    for package, version in sorted(packages.items()):
        yield "installed", f"{package} {version}"
    for title, plugin in hooks.manager.list_name_plugin():
        # Who was given without a name is called by its id, which tells nobody anything.
        yield "plugin", type(plugin).__qualname__ if title == str(id(plugin)) else title
    for setting in config.describe():
        if setting.source != "default":
            yield "setting", f"{setting.key} = {setting.value!r} ({setting.source})"
