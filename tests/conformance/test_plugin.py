"""The plugin: guard, deviations, advice, reports; and its weight for those who only have it installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kernel_conformance.__main__ import main

pytest_plugins = ["pytester"]

HEAD = """
from kernel.clock import FakeClock
from kernel_conformance import TransportConformance
from kernel_memory import MemoryTransport, Space

class ReleaseDrops(MemoryTransport):
    def release(self, batch):
        return self.ack(batch)

class Base(TransportConformance):
    clock = FakeClock()
    quiet_for = 0.0
    patience = 0.3

    def make(self, namespace):
        return MemoryTransport(Space.named(namespace), self.clock, {"delay"})

class TestAcme(Base):
    label = "acme"
"""
#: Few and fast.
CHOSEN = "first_in_first_out or release_to_the_front or hardly_late or adapter_recovers"


def run(pytester: pytest.Pytester, body: str, *arguments: str) -> pytest.RunResult:
    """A pytest run of an author, in a process of its own."""
    pytester.makepyfile(test_acme=HEAD + body)
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", "-k", CHOSEN, *arguments)


def reported(pytester: pytest.Pytester, body: str) -> dict[str, Any]:
    """The JSON report of such a run."""
    run(pytester, body, "--kernel-conformance-report=out")
    report: dict[str, Any] = json.loads(Path(pytester.path, "out", "transport-acme.json").read_text())
    return report


def test_an_author_needs_a_class_and_make(pytester: pytest.Pytester) -> None:
    result = run(pytester, "")
    result.assert_outcomes(passed=3, skipped=1)


def test_an_override_is_refused(pytester: pytest.Pytester) -> None:
    result = run(pytester, "    def test_first_in_first_out(self, bench):\n        pass\n")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*test_first_in_first_out (T-SEND-9) is overridden or deleted without an entry*"])


def test_a_deletion_is_refused(pytester: pytest.Pytester) -> None:
    result = run(pytester, "    test_first_in_first_out = None\n")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*T-SEND-9*overridden or deleted*"])


def test_a_deviation_from_nothing_is_refused(pytester: pytest.Pytester) -> None:
    result = run(pytester, "    deviations = {'T-SEND-99': 'because', 'T-SEND-9': ' '}\n")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*deviations name T-SEND-99, which is no clause; the deviation T-SEND-9 has no reason*"]
    )


def test_an_own_test_with_a_deviation(pytester: pytest.Pytester) -> None:
    own = "    def test_first_in_first_out(self, bench):\n        pass\n"
    body = f"    deviations = {{'T-SEND-9': 'ordered per shard'}}\n{own}"
    report = reported(pytester, body)
    assert report["findings"]["T-SEND-9"]["outcome"] == "deviation"
    assert report["findings"]["T-SEND-9"]["reason"] == "ordered per shard"


def test_a_deviation_is_a_strict_expected_failure(pytester: pytest.Pytester) -> None:
    result = run(pytester, "    deviations = {'T-SEND-9': 'ordered per shard'}\n")
    result.assert_outcomes(passed=2, skipped=1, failed=1)
    result.stdout.fnmatch_lines(["*XPASS(strict)*deviation from T-SEND-9: ordered per shard*"])


def test_a_true_deviation_is_reported(pytester: pytest.Pytester) -> None:
    body = """
    deviations = {"T-REL-2": "this broker appends"}

    def make(self, namespace):
        return ReleaseDrops(Space.named(namespace), self.clock)
"""
    report = reported(pytester, body)
    assert report["findings"]["T-REL-2"] == {
        "outcome": "deviation",
        "text": "a released message is the next to be delivered.",
        "reason": "this broker appends",
    }


def test_a_failure_says_what_to_do(pytester: pytest.Pytester) -> None:
    make = "    def make(self, namespace):\n        return ReleaseDrops(Space.named(namespace), self.clock)\n"
    result = run(pytester, make)
    result.stdout.fnmatch_lines(["*T-REL-2, what to do*", "*keep the message's place in the queue*"])


def test_the_report_tells_every_outcome(pytester: pytest.Pytester) -> None:
    report = reported(pytester, "")
    outcomes = {id: finding["outcome"] for id, finding in report["findings"].items()}
    assert outcomes == {
        "T-SEND-9": "passed",
        "T-REL-2": "passed",
        "T-DELAY-2": "refused as declared",
        "T-SERVICE-2": "not proven",
    }
    assert report["findings"]["T-SERVICE-2"]["reason"] == "needs control of the service"
    assert report["findings"]["T-DELAY-2"]["reason"] == "delay is not claimed"
    assert report["adapter"] == "kernel_memory.transport.MemoryTransport"
    assert (report["port"], report["label"], report["spec"]) == ("transport", "acme", "1")
    assert report["features"]["delay"] == 0.0
    assert report["features"]["lease_total"] == "inf"
    assert "| T-SERVICE-2 | not proven (needs control" in Path(pytester.path, "out", "transport-acme.md").read_text()


def test_reports_are_compared(pytester: pytest.Pytester, capsys: pytest.CaptureFixture[str]) -> None:
    failing = """
class TestBroken(Base):
    label = "broken"

    def make(self, namespace):
        return ReleaseDrops(Space.named(namespace), self.clock)
"""
    run(pytester, failing, "--kernel-conformance-report=out")
    out = Path(pytester.path, "out")
    capsys.readouterr()
    assert main(["badge", str(out)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "transport: conforms, 3 of 4 proven",
        "transport: fails, 2 of 4 proven",
    ]
    assert main(["compare", str(out / "transport-acme.json"), str(out / "transport-broken.json")]) == 0
    text = capsys.readouterr().out
    assert "| Claim | acme | broken |" in text
    assert "| `delay` | 0 | unlimited |" in text
    assert "| T-REL-2 | yes | **FAILED** |" in text
    assert main(["compare", str(out), "-o", str(out / "page.md")]) == 0
    assert (out / "page.md").read_text() == text


def test_what_is_no_report_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.json"
    path.write_text("{}")
    with pytest.raises(SystemExit):
        main(["badge", str(path)])
    assert "is no conformance report" in capsys.readouterr().err


def test_the_plugin_is_light() -> None:
    code = (
        "import sys, pytest; before = set(sys.modules); import kernel_conformance.plugin; "
        "print(sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert loaded.strip() == "['kernel_conformance']"
