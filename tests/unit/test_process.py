"""What a worker process refuses before it opens anything."""

from __future__ import annotations

import pytest

from kernel import ConfigError, Kernel
from kernel.worker.process import check_supervised


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("processes", 4),
        ("preload", True),
        ("grace", 120.0),
        ("liveness_file", "/run/alive"),
        ("readiness_file", "/run/ready"),
        ("health_port", 8080),
        ("health_host", "0.0.0.0"),
    ],
)
def test_what_the_supervisor_goes_by_cannot_be_set_in_code(key: str, value: object) -> None:
    app = Kernel("told", **{key: value})
    with pytest.raises(ConfigError, match=rf"{key}=.* is set in code.*KERNEL_{key.upper()}"):
        check_supervised(app, {})
    check_supervised(app, {"command_line": {key: value}})
