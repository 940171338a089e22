"""The options of an adapter's URL: what stands behind its question mark, read by name and checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from difflib import get_close_matches
from typing import TypeVar
from urllib.parse import parse_qsl

from kernel.errors import ConfigError
from kernel.masking import mask_url

T = TypeVar("T")

YES_OR_NO: Mapping[str, bool] = {"yes": True, "no": False}


class Query:
    """Options that an adapter reads one by one; `finish` refuses those that it did not read.

    Each read takes the value that holds where the URL does not say one. All raise `ConfigError`, which names the URL
    as `shown`, the option and what it may be. The value is shown only where it cannot be a secret: a number, a choice.
    """

    def __init__(self, shown: str, text: str) -> None:
        """`shown`: the URL as messages may name it; passwords that are in it all the same become `***`. `text`: what
        stands behind the mark."""
        self._shown = mask_url(shown)
        self._values: dict[str, str] = {}
        #: What was read, as messages name it: `lease=seconds`.
        self._known: dict[str, str] = {}
        for key, value in parse_qsl(text, keep_blank_values=True):
            if key in self._values:
                raise self.wrong(f"{key}= is there twice")
            self._values[key] = value

    def wrong(self, what: str) -> ConfigError:
        """The error of a URL with which something is wrong."""
        return ConfigError(f"{self._shown}: {what}")

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def _read(self, key: str, form: str) -> str | None:
        self._known[key] = form
        return self._values.get(key)

    def text(self, key: str, default: str = "") -> str:
        """Any text but an empty one."""
        text = self._read(key, f"{key}=text")
        if text == "":
            raise self.wrong(f"{key}= is empty: give it a value or leave it out")
        return default if text is None else text

    def texts(self, key: str) -> tuple[str, ...]:
        """Texts with commas between them."""
        text = self._read(key, f"{key}=text,text")
        return tuple(filter(None, (text or "").split(",")))

    def choice(self, key: str, default: T, choices: Mapping[str, T]) -> T:
        """One of some words, and what it stands for."""
        text = self._read(key, f"{key}={'|'.join(choices)}")
        if text is None:
            return default
        if text not in choices:
            raise self.wrong(f"{key} is {' or '.join(choices)}, not {text!r}")
        return choices[text]

    def flag(self, key: str, default: bool) -> bool:
        """Yes or no."""
        return self.choice(key, default, YES_OR_NO)

    def seconds(self, key: str, default: float, least: float = 0.001, most: float = math.inf) -> float:
        """A duration. `inf` is one only where the default is infinite."""
        text = self._read(key, f"{key}=seconds")
        if text is None:
            return default
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if least <= value <= most and (value < math.inf or default == math.inf):
            return value
        raise self.wrong(f"{key} is a number of seconds{_bounds(least, most)}, not {text!r}")

    def number(self, key: str, default: int, least: int = 0, most: float = math.inf) -> int:
        """A whole number."""
        text = self._read(key, f"{key}=number")
        if text is None:
            return default
        # Not int(text) alone: it takes underscores, blanks and digits of other scripts.
        value = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else -1
        if least <= value <= most:
            return value
        raise self.wrong(f"{key} is a whole number{_bounds(least, most)}, not {text!r}")

    def group(self, prefix: str, form: str) -> dict[str, str]:
        """All options `prefix.name=...`, by name; `form` says in messages what they look like."""
        start = f"{prefix}."
        found = {key: value for key, value in self._values.items() if key.startswith(start) and key != start}
        self._known.update(dict.fromkeys(found, ""))
        self._known[start] = form
        return {key[len(start) :]: value for key, value in found.items()}

    def finish(self) -> None:
        """Refuse what was not read."""
        for key in self._values.keys() - self._known.keys():
            near = get_close_matches(key, self._known, 1)
            forms = ", ".join(filter(None, self._known.values()))
            raise self.wrong(
                f"unknown option {key!r}{f', did you mean {near[0]!r}?' if near else ''}; known are {forms}"
            )


def _bounds(least: float, most: float) -> str:
    return f" from {least:g} to {most:g}" if most < math.inf else f" of at least {least:g}"
