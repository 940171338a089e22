"""From the name of an application to the application, or to a line that helps."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kernel.declaring import shared
from kernel.errors import ConfigError
from kernel.loading import application, obvious

ONE = "from kernel import Kernel\napp = Kernel('{name}')\n"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory of its own; what it imported is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(path: str, text: str) -> None:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.mark.parametrize("path", ["shop1:app", "shop1", "shop1.py", "shop1.py:app", "./shop1.py"])
def test_a_module_of_the_working_directory(path: str) -> None:
    write("shop1.py", ONE.format(name="shop"))
    assert application(path).name == "shop"


def test_a_file_of_a_package_has_the_name_that_others_import_it_by(place: Path) -> None:
    write("deep/pack2/__init__.py", "")
    write("deep/pack2/jobs.py", ONE.format(name="jobs") + "@app.task\ndef run(): ...\n")
    assert [name for name in application("deep/pack2/jobs.py").tasks if name not in shared] == ["pack2.jobs.run"]


def test_an_attribute_of_an_attribute() -> None:
    write("shop3.py", "from kernel import Kernel\nclass Holder:\n    app = Kernel('held')\n")
    assert application("shop3:Holder.app").name == "held"


def test_two_names_of_one_application_are_one() -> None:
    write("shop4.py", ONE.format(name="one") + "celery = app\n")
    assert application("shop4").name == "one"


def refused(path: str) -> str:
    with pytest.raises(ConfigError) as caught:
        application(path)
    return str(caught.value)


def test_no_such_module_suggests_one_that_is_there() -> None:
    write("reports5.py", ONE.format(name="x"))
    assert "did you mean 'reports5'?" in refused("reprots5")
    write("pack5/__init__.py", "")
    write("pack5/tasks.py", ONE.format(name="x"))
    assert "did you mean 'pack5.tasks'?" in refused("pack5.task:app")


def test_no_such_module_names_the_working_directory(place: Path) -> None:
    assert str(place) in refused("zzzzzz:app")
    assert str(place) in refused("nowhere/zzz.py")


def test_a_module_that_fails_shows_where() -> None:
    write("bad6.py", "def deep():\n    raise RuntimeError('no database')\ndeep()\n")
    message = refused("bad6")
    assert message.startswith("bad6 cannot be imported: RuntimeError: no database\n")
    assert "bad6.py" in message
    assert "raise RuntimeError" in message
    assert "importlib" not in message


def test_a_module_that_lacks_another_is_not_itself_missing() -> None:
    write("bad7.py", "import zzz_missing\n")
    assert refused("bad7").startswith("bad7 cannot be imported: ModuleNotFoundError: No module named 'zzz_missing'")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1 +", "SyntaxError"), ("import sys; sys.exit(3)", "SystemExit: 3"), ("raise ValueError('v')", "ValueError: v")],
)
def test_other_ways_to_fail(text: str, expected: str) -> None:
    write("bad8.py", text)
    assert expected in refused("bad8")


def test_a_missing_attribute_names_those_that_are_there() -> None:
    write("shop9.py", ONE.format(name="x"))
    assert refused("shop9:ap") == "shop9 has no attribute 'ap'; its applications: shop9:app"
    assert refused("shop9:Kernel") == "shop9:Kernel is a type, not a Kernel application"


def test_none_or_several_applications() -> None:
    write("none10.py", "x = 1\n")
    assert "none10 has no Kernel application" in refused("none10")
    write("two10.py", ONE.format(name="a") + "other = Kernel('b')\n")
    assert refused("two10") == "two10 has several applications: name one of two10:app, two10:other"


@pytest.mark.parametrize("path", ["", ":app", "shop:", "not a module", "a..b", "a-b:app"])
def test_names_that_are_none(path: str) -> None:
    refused(path)


def test_a_file_that_shares_its_name_with_a_loaded_module() -> None:
    write("json.py", ONE.format(name="x"))
    assert "another module is called 'json' too" in refused("json.py")


def test_the_obvious_module() -> None:
    write("app.py", "import flask\n")
    assert obvious(needed=False) == ""
    with pytest.raises(ConfigError, match="no application"):
        obvious()
    write("tasks/__init__.py", ONE.format(name="x"))
    assert obvious() == "tasks"
    write("kernel_app.py", ONE.format(name="x"))
    with pytest.raises(ConfigError, match="which application"):
        obvious()
