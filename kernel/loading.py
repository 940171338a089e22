"""From the name of an application to the application.

This module and `kernel.discovery` are the only places where a string becomes an object: here for what a person
writes after `--app`, there for what installed packages declare as entry points.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
import sys
import traceback
from types import ModuleType

from kernel.app import Kernel
from kernel.errors import ConfigError

#: Modules looked for in the working directory when no application is named, in this order.
OBVIOUS = ("kernel_app", "app", "tasks")
#: Lines of the traceback that are shown when a module fails while it is imported.
TRACEBACK_LINES = 4
#: Files whose frames say nothing about the module that fails.
_MACHINERY = frozenset(
    {__file__, importlib.__file__, "<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>"}
)


def application(path: str) -> Kernel:
    """The application that `path` names: "module:attribute", "module", or a file "path/to/file.py[:attribute]".

    Without an attribute the module must have exactly one `Kernel`. The working directory (for a file: its own) comes
    first on `sys.path`, as with `python -m`. `ConfigError`, with what to do about it, when there is no such module,
    it fails while it is imported, or has no such application.
    """
    name, colon, attribute = path.rpartition(":")
    # A Windows drive is no module: "C:\jobs\app.py" has no attribute, "C:\jobs\app.py:app" has.
    if not colon or (len(name) == 1 and name.isalpha() and attribute[:1] in "\\/"):
        name, attribute = path, ""
    if not name:
        raise ConfigError(f"{path!r} names no module: write module:attribute, such as shop.tasks:app")
    if colon and not attribute and name != path:
        raise ConfigError(f"{path!r} ends in a colon: write module:attribute, or the module alone")
    module = _file(name) if name.endswith(".py") else _module(name)
    return _attribute(module, name, attribute) if attribute else _only(module, name)


def obvious(needed: bool = True) -> str:
    """The application of the working directory when nobody named one: the only obvious module that is there.

    A module counts when its text mentions kernel; it is not imported, because an `app.py` may be anything.
    `ConfigError` when there are several, and where one is `needed` when there is none, else "" then.
    """
    there = [name for name in OBVIOUS if any(map(_mentions_kernel, (f"{name}.py", os.path.join(name, "__init__.py"))))]
    if len(there) > 1:
        raise ConfigError(f"which application? {' and '.join(there)} are here: name one with --app, or set KERNEL_APP")
    if needed and not there:
        raise ConfigError(
            "no application: name one with --app module:attribute or KERNEL_APP, "
            "or run this where kernel_app.py, app.py or tasks.py has one"
        )
    return there[0] if there else ""


def _mentions_kernel(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return b"kernel" in file.read()
    except OSError:
        return False


# -- modules -----------------------------------------------------------------------------------------------


def _module(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise ConfigError(f"{name!r} is not the name of a module: write module:attribute, such as shop.tasks:app")
    _first_on_path(os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name != missing and not name.startswith(f"{missing}."):
            raise _failed(name, error) from error
        raise ConfigError(_not_found(name, missing)) from None
    except (Exception, SystemExit) as error:
        raise _failed(name, error) from error


def _file(path: str) -> ModuleType:
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
    module = _module(name.removesuffix(".__init__"))
    if not os.path.samefile(getattr(module, "__file__", None) or os.devnull, full):
        raise ConfigError(f"{path}: another module is called {name!r} too: {module.__file__}; rename the file")
    return module


def _first_on_path(folder: str) -> None:
    if folder not in sys.path:
        sys.path.insert(0, folder)
        importlib.invalidate_caches()


def _not_found(name: str, missing: str) -> str:
    import difflib  # for an error only

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
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename not in _MACHINERY]
    shown = "".join(traceback.format_list(own)).rstrip().splitlines()[-TRACEBACK_LINES:]
    last = traceback.format_exception_only(error)[-1].strip()
    return ConfigError("\n".join([f"{name} cannot be imported: {last}", *shown]))


# -- attributes --------------------------------------------------------------------------------------------


def _attribute(module: ModuleType, name: str, attribute: str) -> Kernel:
    value: object = module
    for part in attribute.split("."):
        if not hasattr(value, part):
            apps = _apps(module)
            hint = f"; its applications: {', '.join(f'{name}:{app}' for app in apps)}" if apps else ""
            raise ConfigError(f"{name} has no attribute {attribute!r}{hint}")
        value = getattr(value, part)
    if not isinstance(value, Kernel):
        raise ConfigError(f"{name}:{attribute} is a {type(value).__name__}, not a Kernel application")
    return value


def _only(module: ModuleType, name: str) -> Kernel:
    apps = _apps(module)
    if not apps:
        raise ConfigError(f"{name} has no Kernel application: create one with app = Kernel(...), or name its module")
    if len({id(getattr(module, attribute)) for attribute in apps}) > 1:
        choices = ", ".join(f"{name}:{attribute}" for attribute in apps)
        raise ConfigError(f"{name} has several applications: name one of {choices}")
    found = getattr(module, apps[0])
    assert isinstance(found, Kernel)
    return found


def _apps(module: ModuleType) -> list[str]:
    return [attribute for attribute, value in vars(module).items() if isinstance(value, Kernel)]
