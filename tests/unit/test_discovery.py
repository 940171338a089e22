"""Discovery: real entry points of distributions made up on the spot, and one line of help for all that goes wrong."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from kernel import discovery
from kernel.errors import ConfigError, KernelError, MissingExtra, UnknownScheme
from kernel.serializers.json_ import JsonSerializer

Install = Callable[..., None]

ADAPTER = """
class Adapter:
    def __init__(self, *arguments):
        self.arguments = arguments
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """`install(distribution, entry points, module=source)`: puts a distribution on the path."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made: list[str] = []

    def write(distribution: str, entries: str, **modules: str) -> None:
        info = tmp_path / f"{distribution}-1.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.5\n")
        (info / "entry_points.txt").write_text(dedent(entries))
        for name, source in modules.items():
            (tmp_path / f"{name}.py").write_text(source)
            made.append(name)
        forget()

    yield write
    for name in made:
        sys.modules.pop(name, None)
    forget()


def forget() -> None:
    discovery._entries.cache_clear()
    discovery.serializer.cache_clear()


def failure(call: Callable[..., Any], *arguments: Any) -> KernelError:
    with pytest.raises(KernelError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("group", "find"),
    [
        ("transports", discovery.transport),
        ("results", discovery.results),
        ("coordination", discovery.coordination),
        ("schedules", discovery.schedules),
    ],
)
def test_an_adapter_is_constructed_with_its_url(install: Install, group: str, find: Callable[[str], Any]) -> None:
    install("acme", f"[kernel.{group}]\nacme = acme:Adapter", acme=ADAPTER)
    assert find("ACME://host/1").arguments == ("ACME://host/1",)
    assert discovery.offers(find, "acme://host")
    assert not discovery.offers(find, "other://host")


def test_a_scheme_offers_only_the_ports_that_it_has(install: Install) -> None:
    install("acme", "[kernel.results]\nacme = acme:Adapter", acme=ADAPTER)
    assert discovery.offers(discovery.results, "acme://host")
    assert not discovery.offers(discovery.transport, "acme://host")


def test_pools_serializers_and_plugins(install: Install) -> None:
    entries = """
        [kernel.pools]
        acme = acme:Adapter
        [kernel.serializers]
        shout = acme:Adapter
        [kernel.plugins]
        zeta = acme:Adapter
        alpha = acme
    """
    install("acme", entries, acme=ADAPTER)
    pool: Any = discovery.pool("acme", 4)
    assert pool.arguments == (4,)
    assert discovery.serializer("shout") is discovery.serializer("shout")
    assert [name for name, _ in discovery.plugins() if name in ("alpha", "zeta")] == ["alpha", "zeta"]
    assert dict(discovery.plugins())["alpha"] is sys.modules["acme"]


def test_installed_lists_entries_without_loading_them(install: Install) -> None:
    install("acme", "[kernel.transports]\nacme = acme_gone:Adapter\n[kernel.other]\nx = y:z")
    ours = [entry for entry in discovery.installed() if entry.distribution == "acme"]
    assert ours == [discovery.Installed("kernel.transports", "acme", "acme_gone:Adapter", "acme", "1.5")]


def test_an_unknown_scheme_is_answered_with_what_there_is(install: Install) -> None:
    install("acme", "[kernel.transports]\nacme = acme:Adapter", acme=ADAPTER)
    error = failure(discovery.transport, "acmee://user:S3CRET@host")
    assert isinstance(error, UnknownScheme)
    assert str(error).startswith("unknown transport 'acmee', did you mean 'acme'?; installed: ")
    assert "acme" in str(error).partition("installed:")[2]
    assert "S3CRET" not in str(error)


def test_a_missing_client_library_of_ours_names_the_extra(install: Install) -> None:
    install("kernelq", "[kernel.transports]\ngevent = acme:Adapter", acme="import surely_not_installed.client")
    error = failure(discovery.transport, "gevent://host")
    assert isinstance(error, MissingExtra)
    assert str(error).startswith("the transport 'gevent' needs 'surely_not_installed': pip install 'kernelq[gevent]'")


def test_a_client_library_that_is_imported_late_is_a_missing_extra_too(install: Install) -> None:
    install("kernelq", "[kernel.pools]\ngevent = acme:make", acme="def make(slots):\n    import surely_not_installed")
    error = failure(discovery.pool, "gevent", 1)
    assert isinstance(error, MissingExtra)
    assert "pip install 'kernelq[gevent]'" in str(error)


def test_a_missing_client_library_of_others_names_their_distribution(install: Install) -> None:
    install("acme", "[kernel.transports]\nredis2 = acme:Adapter", acme="import surely_not_installed")
    error = failure(discovery.transport, "redis2://host")
    assert isinstance(error, MissingExtra)
    assert "install what acme asks for" in str(error)
    assert "kernelq[" not in str(error)


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("from kernel.ports import Gone", "ImportError: cannot import name 'Gone'"),
        ("import kernel.gone", "ModuleNotFoundError"),
        ("import acme.gone", "ModuleNotFoundError"),
        ("x = 1", "AttributeError"),
        ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
    ],
)
def test_a_broken_entry_point_names_its_distribution_and_cause(install: Install, source: str, cause: str) -> None:
    install("acme", "[kernel.transports]\nacme = acme:Adapter", acme=source)
    error = failure(discovery.transport, "acme://host")
    assert type(error) is ConfigError
    assert str(error).startswith("cannot load the transport 'acme' of acme: ")
    assert cause in str(error)
    assert error.__cause__ is not None


def test_a_url_that_the_adapter_does_not_understand(install: Install) -> None:
    install("acme", "[kernel.transports]\nacme = acme:make", acme="def make(url):\n    raise ValueError('no host')")
    error = failure(discovery.transport, "acme://me:S3CRET@")
    assert str(error) == "cannot construct from acme://me:***@ the transport 'acme' of acme: ValueError: no host"


def test_errors_of_ours_pass_as_they_are(install: Install) -> None:
    source = "from kernel.errors import Unsupported\ndef make(url):\n    raise Unsupported('not today')"
    install("acme", "[kernel.transports]\nacme = acme:make", acme=source)
    assert str(failure(discovery.transport, "acme://")) == "not today"


def test_two_packages_with_one_scheme(install: Install) -> None:
    install("acme", "[kernel.transports]\nacme = acme:Adapter", acme=ADAPTER)
    install("bolt", "[kernel.transports]\nacme = acme:Adapter")
    assert str(failure(discovery.transport, "acme://")) == (
        "acme and bolt both provide a transport 'acme'; uninstall one of them"
    )


def test_what_is_no_url(install: Install) -> None:
    assert str(failure(discovery.results, "me:S3CRET@host")).startswith("'me:***@host' is no URL of a result store")


def test_no_remedy_names_an_extra_that_is_not_there() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    groups = [entries for group, entries in project["entry-points"].items() if group in discovery.GROUPS]
    assert set(discovery.EXTRAS.values()) <= set(project["optional-dependencies"])
    assert discovery.EXTRAS.keys() <= {name for entries in groups for name in entries}


def test_the_default_serializer_needs_no_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    def scan() -> None:
        raise AssertionError("scanned")

    forget()
    monkeypatch.setattr(discovery, "_entries", scan)
    assert isinstance(discovery.serializer("json"), JsonSerializer)


def test_importing_the_modules_loads_nothing_dear() -> None:
    dear = "{'importlib.metadata', 'pluggy', 'tomllib', 'difflib', 'zoneinfo', 'click', 'asyncio'}"
    # Only these modules: what the package itself imports is tested where the package is.
    code = f"""
        import sys, types, importlib.util
        where = importlib.util.find_spec("kernel").submodule_search_locations
        package = types.ModuleType("kernel")
        package.__path__ = list(where)
        sys.modules["kernel"] = package
        import kernel.configuration.config, kernel.discovery, kernel.hooks, kernel.serializers.json_
        print(sorted({dear} & set(sys.modules)))
    """
    done = subprocess.run(
        [sys.executable, "-c", dedent(code)], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
