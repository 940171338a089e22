"""The figures in README.md, taken from docs/benchmarks.md. `python tests/docs/figures.py` writes them anew."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENT, MEASURED = ROOT / "README.md", ROOT / "docs" / "benchmarks.md"
BEGIN = "<!-- written by tests/docs/figures.py: begin -->\n"
END = "<!-- written by tests/docs/figures.py: end -->\n"

#: What a system is called in the README -> how its row begins in the tables of the benchmarks.
SYSTEMS = {
    "kernel": "kernel",
    "Celery": "Celery, default",
    "dramatiq": "dramatiq",
    "huey": "huey",
    "taskiq": "taskiq, stream",
    "RQ": "RQ, SimpleWorker",
}
#: What a line says -> the table that it is from; the good ones and the others.
LINES = {
    "Redis, tasks a second, results kept": "Redis: No-op tasks, results kept",
    "Redis, tasks of 2 ms a second": "Redis: Tasks that compute for 2 ms",
    "Redis, sends a second, one by one": "Redis: Enqueue one by one",
    "Redis, round trip of a task, ms": "Redis: Round trip of one task, idle workers",
    "RabbitMQ, tasks a second, results kept": "RabbitMQ: No-op tasks, results kept",
    "RabbitMQ, sends a second, one by one": "RabbitMQ: Enqueue one by one",
    "RabbitMQ, round trip of a task, ms": "RabbitMQ: Round trip of one task, idle workers",
}


def figure(table: str, system: str) -> str:
    """The first figure in the row of a system, its median; "" where it was not measured."""
    _, _, text = MEASURED.read_text("utf-8").partition(f"### {table}\n")
    row = re.search(rf"^\| {re.escape(system)}[^|]*\| ([\d.,]+)", text.partition("\n### ")[0], re.M)
    return row[1] if row else ""


def rendered() -> str:
    """The table."""
    lines = [f"| | {' | '.join(SYSTEMS)} |", f"|---|{'--:|' * len(SYSTEMS)}"]
    for line, table in LINES.items():
        lines.append(f"| {line} | {' | '.join(figure(table, system) for system in SYSTEMS.values())} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    before, _, rest = DOCUMENT.read_text("utf-8").partition(BEGIN)
    DOCUMENT.write_text(before + BEGIN + "\n" + rendered() + "\n" + END + rest.partition(END)[2], "utf-8")
