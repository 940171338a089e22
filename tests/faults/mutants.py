"""Prove the prover: broken cores and adapters, each of which the crash points must find by the check that is meant.

A mutant is a patch of real classes, made in a process of a case before it opens anything. It is tried with one fault,
or none, that brings out what it breaks; the same case without the mutant must have no findings. One that survives is
either a hole in the harness or no mutant at all.

`python -m faults.mutants` tries them all; `--list` says what there is.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import click
import msgspec
from rich.console import Console
from rich.table import Table

from faults.crashes import mutant_adapters, mutant_core
from faults.crashes.engine import TRIES, Host, Outcome
from faults.crashes.judging import Check
from faults.crashes.places import PLACES, Place
from faults.crashes.points import Fault, Role
from faults.crashes.trial import PATIENCE, Case

#: Seconds after which a case is stuck that is expected to be.
IMPATIENCE: Final = 8.0


class Mutant(msgspec.Struct, frozen=True, kw_only=True):
    """One way of being wrong."""

    name: str
    #: Where it is tried, in which scenario, with which fault.
    place: str
    scenario: str
    faults: tuple[Fault, ...] = ()
    #: The check that must find it.
    check: Check
    apply: Callable[[], None]
    #: Seconds after which the mutated case is stuck.
    patience: float = PATIENCE

    @property
    def breaks(self) -> str:
        """What is wrong with it."""
        return (self.apply.__doc__ or "").strip()


class Catch(msgspec.Struct):
    """What became of a mutant."""

    mutant: str
    #: Findings with it, by check, and without it.
    found: dict[str, str] = {}
    healthy: str = ""

    @property
    def caught(self) -> bool:
        """Found by the check that is meant, and only with it."""
        return MUTANTS[self.mutant].check in self.found and not self.healthy


def _kill(point: str, hit: int = 1, role: Role = "worker") -> tuple[Fault, ...]:
    return (Fault(role, point, "kill", hit),)


def _freeze(point: str) -> tuple[Fault, ...]:
    return (Fault("worker", point, "freeze"),)


def _refuse(point: str) -> tuple[Fault, ...]:
    return (Fault("worker", point, "refuse"),)


def _all() -> Iterable[Mutant]:
    core, adapters = mutant_core, mutant_adapters

    def mutant(
        apply: Callable[[], None],
        place: str,
        scenario: str,
        faults: tuple[Fault, ...],
        check: Check,
        patience: float = 0.0,
    ) -> Mutant:
        name = apply.__name__.replace("_", " ")
        patience = patience or (IMPATIENCE if check == "stuck" else PATIENCE)
        return Mutant(
            name=name, place=place, scenario=scenario, faults=faults, check=check, apply=apply, patience=patience
        )  # fmt: skip

    yield mutant(core.ack_before_run, "sqlite", "plain", _kill("body begun"), "lost")
    yield mutant(core.result_after_the_ack, "sqlite", "plain", _kill("after acking"), "state")
    yield mutant(core.retry_that_acks_first, "bare", "quiet retry", _kill("after acking"), "lost")
    yield mutant(core.dead_letter_that_drops, "sqlite", "dead", (), "lost")
    yield mutant(core.swallowed_publish_error, "bare", "dead", _refuse("before sending a dead letter"), "lost")
    yield mutant(core.swallowed_ack_error, "bare", "quiet", _refuse("before acking"), "duplicates")
    yield mutant(core.swallowed_result_error, "sqlite", "plain", _refuse("before putting SUCCESS"), "state")
    partial = (Fault("producer", "before sending a call", "partial"),)
    yield mutant(core.partial_failure_that_is_success, "sqlite", "plain", partial, "lost")
    yield mutant(core.lease_without_renewal, "sqlite", "three workers", (), "duplicates")
    yield mutant(core.standing_record_ignored, "sqlite", "plain", _kill("after putting SUCCESS"), "again")
    yield mutant(core.standing_failure_without_its_letter, "sqlite", "dead", _kill("after putting FAILURE"), "lost")
    yield mutant(core.standing_step_without_the_next, "sqlite", "chain", _kill("after putting SUCCESS"), "lost")
    yield mutant(
        core.join_that_is_counted_once,
        "sqlite",
        "chord",
        _kill("after counting a member", 2),
        "lost",
    )
    yield mutant(core.start_not_recorded, "sqlite", "much longer", _freeze("after extending"), "fence")
    yield mutant(core.delivery_limit_not_counted, "sqlite", "poison", (), "stuck")
    yield mutant(core.time_ignored, "sqlite", "much later", (), "early")
    yield mutant(core.give_back_that_forgets, "sqlite", "back", (), "redelivered")
    yield mutant(core.drain_that_acks, "sqlite", "long", (Fault("worker", "body begun", "quit"),), "lost")
    yield mutant(core.tail_that_is_dropped, "sqlite", "plain", (), "stuck")
    yield mutant(core.retry_without_a_count, "sqlite", "retry", (), "duplicates", IMPATIENCE)
    yield mutant(core.requeue_of_the_same_generation, "sqlite", "requeued", (), "dead", 2 * IMPATIENCE)
    yield mutant(core.pump_that_removes_first, "bare", "delayed", _kill("after unparking"), "lost")
    yield mutant(core.pump_that_never_removes, "bare", "delayed", (), "duplicates", IMPATIENCE)
    yield mutant(core.claims_without_expiry, "bare", "handed on", _kill("after acking"), "stuck", 3 * IMPATIENCE)
    yield mutant(adapters.commit_in_two_steps, "sqlite", "quiet retry", _kill("after acking"), "lost")
    yield mutant(adapters.stored_later, "sqlite", "plain", _kill("told", role="producer"), "lost")
    yield mutant(adapters.reclaim_without_fencing, "sqlite", "back", _freeze("before releasing"), "overlap")
    yield mutant(adapters.reclaim_that_drops, "sqlite", "plain", _kill("body begun"), "lost")
    yield mutant(adapters.redelivery_not_counted, "sqlite", "poison", (), "stuck")
    yield mutant(adapters.release_that_forgets, "sqlite", "back", (), "lost")
    yield mutant(adapters.records_without_ranks, "sqlite", "much longer", _freeze("after extending"), "fence")
    yield mutant(adapters.lapsed_lease_that_drops, "redis", "plain", _kill("body begun"), "lost")
    yield mutant(adapters.extend_that_revives, "redis", "quiet retry", _freeze("body done"), "duplicates")
    yield mutant(adapters.ack_that_leaves_something, "redis", "plain", (), "stuck", PATIENCE)
    yield mutant(adapters.receive_that_takes_away, "redis", "plain", _kill("body begun"), "lost")
    yield mutant(adapters.publish_without_confirm, "rabbitmq", "vanished", (), "lost")
    yield mutant(adapters.ack_of_everything, "rabbitmq", "long and short", _kill("after acking"), "lost", IMPATIENCE)


MUTANTS: Final[Mapping[str, Mutant]] = {mutant.name: mutant for mutant in _all()}


def hunt(place: Place, mutants: Sequence[Mutant]) -> list[Catch]:
    """Try mutants of one place, each with its case and that case without it."""
    cases: list[Case] = []
    for mutant in mutants:
        cases.append(Case(len(cases), mutant.scenario, mutant.faults, mutant.name, mutant.patience))
        cases.append(Case(len(cases), mutant.scenario, mutant.faults))
    catches = {mutant.name: Catch(mutant.name) for mutant in mutants}
    host = Host(place)
    try:
        for tries in range(TRIES):
            again: list[Case] = []
            for outcome in host.outcomes(cases):
                mutant = mutants[outcome.case.number // 2]
                # Time had it that the point was not there, or a busy machine that what was wrong did no harm.
                if tries < TRIES - 1 and (outcome.unhit or not _is_as_it_should(outcome, mutant)):
                    again.append(outcome.case)
                else:
                    _note(catches[mutant.name], outcome)
            cases = again
    finally:
        host.close()
    return list(catches.values())


def _is_as_it_should(outcome: Outcome, mutant: Mutant) -> bool:
    """Whether a mutant was found by its check, or nothing was found without it."""
    checks = {finding.check for finding in outcome.findings}
    return mutant.check in checks if outcome.case.mutant else not checks


def _note(catch: Catch, outcome: Outcome) -> None:
    if outcome.case.mutant:
        shutil.rmtree(outcome.folder, ignore_errors=True)
        catch.found = {finding.check: finding.text for finding in reversed(outcome.findings)}
        if outcome.unhit:
            catch.healthy = "the fault did not come to pass with it"
    elif outcome.findings or outcome.unhit:
        catch.healthy = "; ".join(map(str, outcome.findings)) or "the fault did not come to pass"


def table(catches: Iterable[Catch]) -> Table:
    """A row for each."""
    shown = Table("mutant", "what is wrong with it", "tried on", "meant for", "found by", "")
    for catch in catches:
        mutant = MUTANTS[catch.mutant]
        what = f"{mutant.place}, {mutant.scenario}: {', '.join(map(str, mutant.faults)) or 'no fault'}"
        found = ", ".join(catch.found) or "nobody"
        shown.add_row(mutant.name, mutant.breaks, what, mutant.check, found, "" if catch.caught else "SURVIVES")
    return shown


@click.command()
@click.option("--list", "only_list", is_flag=True, help="Say what there is and try nothing.")
@click.option("--on", "places", multiple=True, type=click.Choice(list(PLACES)), help="Systems; default: all.")
@click.argument("names", nargs=-1)
def main(only_list: bool, places: tuple[str, ...], names: tuple[str, ...]) -> None:
    """Try all mutants, or those of these NAMES; the status is 1 when one survives."""
    wanted = [m for m in MUTANTS.values() if (not names or m.name in names) and (not places or m.place in places)]
    catches: list[Catch] = []
    for name in dict.fromkeys(mutant.place for mutant in wanted):
        if only_list:
            catches += [Catch(m.name, {m.check: ""}) for m in wanted if m.place == name]
        else:
            with PLACES[name]() as place:
                catches += hunt(place, [m for m in wanted if m.place == name])
    Console().print(table(catches))
    survivors = [
        f"{c.mutant}: found {c.found or 'nothing'}; without it: {c.healthy or 'fine'}" for c in catches if not c.caught
    ]
    if survivors:
        raise click.ClickException("\n".join(survivors))


if __name__ == "__main__":
    main()
