"""`python -m kernel_conformance`: turn reports of the suite into a comparison page or the text of a badge."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from kernel_conformance.compare import badge, gather, page


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m kernel_conformance", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    compare = commands.add_parser("compare", help="several JSON reports as one Markdown page")
    compare.add_argument("reports", nargs="+", type=Path, help="files, or directories (labelled reports only)")
    compare.add_argument("--output", "-o", type=Path, help="write the page here (default: standard output)")
    badges = commands.add_parser("badge", help="one line per JSON report")
    badges.add_argument("reports", nargs="+", type=Path, help="files, or directories (labelled reports only)")
    options = parser.parse_args(arguments)
    try:
        reports = gather(options.reports)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    text = page(reports) if options.command == "compare" else "".join(f"{badge(report)}\n" for report in reports)
    if options.command == "compare" and options.output:
        options.output.write_text(text)
    else:
        sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
