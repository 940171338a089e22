"""`python -m faults.random.replay --on redis --seed 7`: one run, with its schedule, and made shorter when it fails."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from faults.random.campaign import SHARES
from faults.random.engine import Engine
from faults.random.schedule import Strike
from faults.random.shrink import shrink
from faults.random.verdict import Verdict, in_folder
from faults.systems import SYSTEMS, System


def _run(
    system: System, seed: int, tasks: int, faults: int, part: Sequence[Strike] | None = None
) -> tuple[Sequence[Strike], Verdict]:
    strikes: list[Strike] = []

    def run(folder: Path) -> Verdict:
        engine = Engine(folder, system, seed)
        strikes.extend(engine.schedule(faults) if part is None else part)
        if part is None:
            _show(strikes)
        return engine.run(tasks, faults, strikes)

    verdict, folder = in_folder("kernel-replay-", run)
    click.echo(f"{len(strikes)} strikes: {verdict.trouble() or 'nothing wrong'}; recovery {verdict.recovery:.1f} s")
    if folder:
        click.echo(f"  ledgers and logs in {folder}")
    return strikes, verdict


def _show(strikes: Sequence[Strike]) -> None:
    for strike in strikes:
        click.echo(f"  {strike}")


@click.command()
@click.option("--on", "name", required=True, type=click.Choice(list(SYSTEMS)))
@click.option("--seed", required=True, type=int)
@click.option("--tasks", default=0, help="Default: as in a campaign.")
@click.option("--faults", default=0, help="Default: as in a campaign.")
@click.option(
    "--shorter", is_flag=True, help="Look for a part of the schedule that fails as well; takes a run for each."
)
def main(name: str, seed: int, tasks: int, faults: int, shorter: bool) -> None:
    """Repeat one seed. Its schedule is the same every time; what processes and servers make of it is theirs."""
    share = SHARES[name]
    tasks, faults = tasks or share.tasks, faults or share.faults
    with SYSTEMS[name]() as system:
        strikes, verdict = _run(system, seed, tasks, faults)
        if not verdict.trouble():
            return
        if shorter:
            left = shrink(strikes, lambda part: bool(_run(system, seed, tasks, faults, part)[1].trouble()))
            click.echo("this is enough:")
            _show(left)
    raise SystemExit(1)


if __name__ == "__main__":
    main()
