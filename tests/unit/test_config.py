"""Settings: precedence, types, sources, files, and what is never shown."""

from __future__ import annotations

from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.configuration.config import Config
from kernel.configuration.settings import CONCERNS
from kernel.errors import ConfigError
from kernel.masking import mask_url


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def load(**given: Any) -> Config:
    return Config.load(**{"environ": {}, **given})


def sources(config: Config) -> dict[str, str]:
    return {setting.key: setting.source for setting in config.describe()}


def test_the_defaults_are_valid_and_the_keys_unique() -> None:
    names = [name for part in CONCERNS.values() for name in part.__struct_fields__]
    assert len(names) == len(set(names))
    config = load()
    assert config == Config()
    Config.check({setting.key: setting.value for setting in config.describe()})
    assert [setting.key for setting in config.describe()] == names
    assert set(sources(config).values()) == {"default"}


def test_each_source_wins_over_the_one_before() -> None:
    Path("kernel.toml").write_text("lease = 2\ngrace = 2\nmax_tasks = 2\nprocesses = 2\n")
    config = load(
        environ={"KERNEL_GRACE": "3", "KERNEL_MAX_TASKS": "3", "KERNEL_PROCESSES": "3"},
        command_line={"max_tasks": "4", "processes": 4, "pool": None},
        code={"processes": 5},
    )
    worker = config.worker
    assert (worker.lease, worker.grace, worker.max_tasks, worker.processes, worker.pool) == (2.0, 3.0, 4, 5, "solo")
    found = sources(config)
    assert [found[key] for key in ("lease", "grace", "max_tasks", "processes", "pool")] == [
        "kernel.toml",
        "KERNEL_GRACE",
        "command line",
        "code",
        "default",
    ]


def test_values_take_the_type_of_their_key() -> None:
    config = load(
        environ={
            "KERNEL_QUEUES": "a, b,",
            "KERNEL_STRICT": "Yes",
            "KERNEL_RETRY_JITTER": "0",
            "KERNEL_RESULT_EXPIRES": "1e3",
            "KERNEL_MAX_RETRIES": "-1",
            "KERNEL_UNKNOWN_FOR": "inf",
        },
        code={"accept": ["json", "pickle"], "lease": 5},
    )
    assert config.worker.queues == ("a", "b")
    assert config.worker.strict is True
    assert config.tasks.retry_jitter is False
    assert (config.tasks.result_expires, config.tasks.max_retries, config.worker.unknown_for) == (1000.0, -1, inf)
    assert config.tasks.accept == ("json", "pickle")
    assert type(config.worker.lease) is float


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"code": {"result_expire": 1}}, "code: unknown setting 'result_expire'; did you mean 'result_expires'?"),
        ({"code": {"qqq": 1}}, "code: unknown setting 'qqq'; `kernel config` lists them all"),
        ({"code": {"lease": "5"}}, "code: lease must be a number, not '5'"),
        ({"code": {"lease": True}}, "code: lease must be a number, not True"),
        ({"code": {"lease": nan}}, "code: lease must be a number, not nan"),
        ({"code": {"lease": 0}}, "code: lease must be 0.1 or more, not 0.0"),
        ({"code": {"lease": 10**400}}, "code: lease must be a number"),
        ({"code": {"processes": 1.0}}, "code: processes must be a whole number, not 1.0"),
        ({"code": {"processes": False}}, "code: processes must be a whole number, not False"),
        ({"code": {"priority": 10}}, "code: priority must be from 0 to 9, not 10"),
        ({"code": {"strict": "yes"}}, "code: strict must be true or false, not 'yes'"),
        ({"code": {"queues": "a"}}, "code: queues must be a list of names, not 'a'"),
        ({"code": {"queues": []}}, "code: queues must not be empty"),
        ({"code": {"transport": None}}, "code: transport must be a string, not None"),
        ({"code": {"log_level": "loud"}}, "code: log_level must be one of debug, info, warning, error, critical"),
        ({"command_line": {"procesess": 1}}, "command line: unknown setting 'procesess'; did you mean 'processes'?"),
        ({"command_line": {"processes": "x"}}, "command line: processes must be a whole number, not 'x'"),
        ({"environ": {"KERNEL_STRICT": "maybe"}}, "KERNEL_STRICT: strict must be true or false, not 'maybe'"),
        ({"environ": {"KERNEL_TRANSPROT": "x"}}, "KERNEL_TRANSPROT: unknown variable; did you mean KERNEL_TRANSPORT?"),
        ({"file": Path("none.toml")}, "none.toml: No such file or directory"),
        ({"environ": {"KERNEL_CONFIG": "gone.toml"}}, "gone.toml: No such file or directory"),
    ],
)
def test_what_does_not_fit_is_one_line_that_names_its_source(given: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(**given)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_variables_of_others_are_left_alone() -> None:
    # Jupyter and build systems set such names; none of them is near to a key of ours.
    others = {"KERNEL_ID": "1", "KERNEL_USERNAME": "x", "KERNEL_LAUNCH_TIMEOUT": "9", "KERNEL_RELEASE": "6.1"}
    assert load(environ=others | {"kernel_lease": "9", "PATH": "x"}) == Config()


def test_check_looks_at_code_and_reads_nothing() -> None:
    Path("kernel.toml").write_text("broken")
    Config.check({"lease": 5, "queue": "q"})
    with pytest.raises(ConfigError, match="did you mean 'queue'"):
        Config.check({"queu": "q"})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("kernel.toml", "lease = 7"),
        ("kernel.toml", "[worker]\nlease = 7"),
        ("kernel.toml", "[tool.kernel.worker]\nlease = 7"),
        ("pyproject.toml", "[tool.kernel]\nlease = 7"),
        ("pyproject.toml", "[tool.kernel.worker]\nlease = 7"),
    ],
)
def test_a_file_is_flat_or_in_tables(name: str, text: str) -> None:
    Path(name).write_text(text)
    config = load()
    assert config.worker.lease == 7.0
    assert sources(config)["lease"] == name


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("kernel.toml", "lese = 7", "kernel.toml: unknown setting 'lese'; did you mean 'lease'?"),
        ("kernel.toml", "lease = '7'", "kernel.toml: lease must be a number, not '7'"),
        ("kernel.toml", "[tasks]\nlease = 7", "kernel.toml: 'lease' belongs in the table [worker], not in [tasks]"),
        ("kernel.toml", "lease = 7\n[worker]\nlease = 7", "kernel.toml: 'lease' is set twice"),
        ("kernel.toml", "worker = 7", "kernel.toml: [worker] must be a table"),
        ("kernel.toml", "lease =", "kernel.toml: not TOML: "),
        ("pyproject.toml", "[tool]\nkernel = 1", "pyproject.toml: [tool.kernel] must be a table"),
        ("kernel.toml", "tool = 1", "kernel.toml: unknown setting 'tool'"),
    ],
)
def test_a_wrong_file_is_one_line(name: str, text: str, message: str) -> None:
    Path(name).write_text(text)
    with pytest.raises(ConfigError) as caught:
        load()
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_which_file_is_read(tmp_path: Path) -> None:
    Path("pyproject.toml").write_text("[tool.kernel]\nlease = 1")
    assert load().worker.lease == 1.0
    Path("kernel.toml").write_text("lease = 2")
    assert load().worker.lease == 2.0
    Path("other.toml").write_text("lease = 3")
    assert load(environ={"KERNEL_CONFIG": "other.toml"}).worker.lease == 3.0
    assert load(environ={"KERNEL_CONFIG": "none"}).worker.lease == 60.0
    assert load(environ={"KERNEL_CONFIG": "none"}, file=tmp_path / "other.toml").worker.lease == 3.0


def test_a_project_without_our_table_is_no_error_unless_it_was_named() -> None:
    Path("pyproject.toml").write_text("[project]\nname = 'x'")
    assert load() == Config()
    with pytest.raises(ConfigError, match=r"has no table \[tool.kernel\]"):
        load(file=Path("pyproject.toml"))


def test_a_config_does_not_change() -> None:
    with pytest.raises(AttributeError):
        load().worker.lease = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("sqlite:////srv/kernel.db?wal=1", "sqlite:////srv/kernel.db?wal=1"),
        ("sqlite:////srv/a@b.db", "sqlite:////srv/a@b.db"),
        ("redis://me@host", "redis://me@host"),
        ("redis://:S3CRET@host:6379/0", "redis://:***@host:6379/0"),
        ("amqp://me:S3CRET@a/v;amqp://me:S3CRET@b/v", "amqp://me:***@b/v"),
        ("redis://me:S3/C#R?ET@x@host/0", "redis://me:***@host/0"),
        ("sqs://eu?queue=a&secret_key=S3CRET&x=1", "sqs://eu?queue=a&secret_key=***&x=1"),
        ("x://h?PassWord=S3CRET;S3#CRET", "x://h?PassWord=***"),
        ("x://h?sslpassword=S3CRET&api_key=S3CRET", "x://h?sslpassword=***&api_key=***"),
        ("x://h?key_prefix=a&monkey_business=b", "x://h?key_prefix=a&monkey_business=b"),
        ("me:S3CRET@host", "me:***@host"),
        ("", ""),
    ],
)
def test_secrets_of_urls_are_masked(url: str, masked: str) -> None:
    assert mask_url(url) == masked


@given(
    st.text(max_size=12),
    st.text(st.characters(exclude_characters="&"), min_size=1, max_size=20).map("S3CRET{}".format),
    st.sampled_from(["{0}://{0}:{1}@{0}", "redis://:{1}@host/{0}", "x://{0}?token={1}", "x://h/{0}?a=b&my_passwd={1}"]),
)
def test_no_url_however_broken_shows_its_secret(noise: str, secret: str, form: str) -> None:
    assert "S3CRET" not in mask_url(form.format(noise, secret))


def test_secrets_are_in_no_output() -> None:
    config = load(code={"transport": "redis://u:S3CRET@h", "results": "redis://h?token=S3CRET"})
    assert config.ports.transport == "redis://u:S3CRET@h"
    assert "S3CRET" not in str(config.describe())
    assert "S3CRET" not in repr(config)
    with pytest.raises(ConfigError) as caught:
        load(code={"transport": ["redis://u:S3CRET@h"]})
    assert "S3CRET" not in str(caught.value)
