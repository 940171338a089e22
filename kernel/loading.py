"""From the name of an application, as a person writes it after `--app`, to the application and its tasks."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from types import ModuleType

from kernel import modules
from kernel.app import Kernel
from kernel.errors import ConfigError

log = logging.getLogger("kernel")

#: Modules looked for in the working directory when no application is named, in this order.
OBVIOUS = ("kernel_app", "app", "tasks")


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
    module = modules.file(name) if name.endswith(".py") else modules.module(name)
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


def load_tasks(app: Kernel) -> None:
    """Import every module that the application names beside its own (`imports`, `include`, `autodiscover_tasks`), and
    finalise it. For whoever runs tasks or lists them; `ConfigError` when a module is not there or fails."""
    settings = app.config.application
    for name in dict.fromkeys((*settings.imports, *settings.include)):
        modules.module(name)
    for search in app.searches:
        for package in search.packages(app.hooks.discovered):
            name = f"{package}.{search.related_name}" if search.related_name else package
            if search.related_name is None or modules.exists(name):
                modules.module(name)
    app.finalize()
    known = app.tasks
    for annotation in settings.annotations:
        if annotation.exact and annotation.pattern not in known:
            # No error: workers of several applications may share a file.
            log.warning("annotations name the task %r, which is not known here%s", annotation.pattern,
                        _meant(annotation.pattern, known))  # fmt: skip


def _meant(name: str, known: Iterable[str]) -> str:
    import difflib  # for a warning only

    near = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _mentions_kernel(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return b"kernel" in file.read()
    except OSError:
        return False


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
