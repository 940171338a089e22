"""From a name that a person wrote to a module, or to what is in it.

This module and `kernel.discovery` are the only places where a string becomes an object: here for what people write
(`kernel.loading`: after `--app`), there for what installed packages declare as entry points.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from types import ModuleType
from typing import Any

from kernel.errors import ConfigError

#: Lines of the traceback that are shown when a module fails while it is imported.
TRACEBACK_LINES = 4
#: Files whose frames say nothing about the module that fails.
_MACHINERY = frozenset(
    {__file__, importlib.__file__, "<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>"}
)


class NotThere(ConfigError):
    """There is no such module; one that is there and fails is another matter."""


def module(name: str) -> ModuleType:
    """The module of this name, imported with the working directory first on `sys.path`, as with `python -m`.

    `ConfigError`, with what to do about it, when there is none or it fails while it is imported.
    """
    if not all(part.isidentifier() for part in name.split(".")):
        raise ConfigError(
            f"{name!r} is not the name of a module: write shop.tasks, or shop.tasks:app for what is in it"
        )
    _first_on_path(os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name != missing and not name.startswith(f"{missing}."):
            raise _failed(name, error) from error
        raise NotThere(_not_found(name, missing)) from None
    except (Exception, SystemExit) as error:
        raise _failed(name, error) from error


def find(path: str) -> Any:
    """What "module:attribute" names, or without a colon the module itself; `ConfigError` when it is not there."""
    name, _, attribute = path.partition(":")
    value: Any = module(name)
    for part in attribute.split(".") if attribute else ():
        if not hasattr(value, part):
            raise ConfigError(f"{name} has no attribute {attribute!r}")
        value = getattr(value, part)
    return value


def exists(name: str) -> bool:
    """Whether there is a module of this name in a package, which is imported to find out; `ConfigError` when it is not
    there or fails."""
    package = name.rpartition(".")[0]
    if package:
        module(package)
    return importlib.util.find_spec(name) is not None


def file(path: str) -> ModuleType:
    """Import a file under the name that it has in its package, so that its tasks are called the same everywhere."""
    full = os.path.abspath(path)
    if not os.path.isfile(full):
        raise ConfigError(f"{path}: no such file; the working directory is {os.getcwd()}")
    folder, base = os.path.split(full)
    name = base.removesuffix(".py")
    if not name.isidentifier():
        raise ConfigError(f"{path}: {name!r} cannot be imported, because it is no Python name: rename the file")
    while os.path.isfile(os.path.join(folder, "__init__.py")):
        folder, package = os.path.split(folder)
        name = f"{package}.{name}"
    _first_on_path(folder)
    found = module(name.removesuffix(".__init__"))
    if not os.path.samefile(getattr(found, "__file__", None) or os.devnull, full):
        raise ConfigError(f"{path}: another module is called {name!r} too: {found.__file__}; rename the file")
    return found


def _first_on_path(folder: str) -> None:
    if folder not in sys.path:
        sys.path.insert(0, folder)
        importlib.invalidate_caches()


def _not_found(name: str, missing: str) -> str:
    import difflib  # these two for an error only
    import pkgutil

    package, _, wanted = missing.rpartition(".")
    places = getattr(sys.modules.get(package), "__path__", None) if package else None
    found = [module.name for module in pkgutil.iter_modules(places if package else [os.getcwd()])]
    close = difflib.get_close_matches(wanted, found, 1)
    if close:
        return f"no module {missing!r}; did you mean {f'{package}.{close[0]}' if package else close[0]!r}?"
    if os.path.isfile(name):
        return f"no module {name!r}; to load a file its name must end in .py"
    return f"no module {missing!r}; the working directory is {os.getcwd()}: run this where the module is"


def _failed(name: str, error: BaseException) -> ConfigError:
    """What a module raised while it was imported, with the end of its own traceback."""
    import traceback  # for an error only

    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename not in _MACHINERY]
    shown = "".join(traceback.format_list(own)).rstrip().splitlines()[-TRACEBACK_LINES:]
    last = traceback.format_exception_only(error)[-1].strip()
    return ConfigError("\n".join([f"{name} cannot be imported: {last}", *shown]))
