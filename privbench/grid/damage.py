"""Lines for the user about damaged artifacts of a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privbench.options.fields import spec
from privbench.population.population import MODEL, WORDS
from privbench.store.store import State

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from privbench.grid.plan import Plan
    from privbench.population.population import Job, Population

NAMED = 8
"""Maximum number of models that a line names."""


def damage_of(plan: Plan, jobs: Sequence[Job]) -> Iterator[str]:
    """Yield a line for the damaged artifacts that are made again, and one for those that the costs leave out.

    jobs: those of the plan
    """
    if again := made_again(jobs):
        yield again
    planned = {population for wave in plan.waves for population in wave}
    compared = dict.fromkeys(population.undefended for population in planned)
    left_out = [
        (population, index, [WORDS[MODEL]])
        for population in compared
        if population not in planned
        for index, state in enumerate(population.states(range(population.models)))
        if state is State.DAMAGED
    ]
    if left_out:
        count, of, names = _described(left_out)
        yield f"Costs are compared without {count}{of}: {names}."


def made_again(jobs: Sequence[Job]) -> str:
    """Return a line for the damaged artifacts that jobs make again; "" without any."""
    damaged = [(job.population, job.index, [WORDS[kind] for kind in job.damaged]) for job in jobs if job.damaged]
    if not damaged:
        return ""
    count, of, names = _described(damaged)
    return f"{count}{of} {'is' if count.startswith('1 ') else 'are'} made again: {names}."


def _described(damaged: Sequence[tuple[Population, int, list[str]]]) -> tuple[str, str, str]:
    """Return the number of damaged artifacts, the population if there is only one, and the models."""
    owners = [f" of {spec(population.defense)} ({spec(population.task)})" for population, *_ in damaged]
    shared = owners[0] if len(set(owners)) == 1 else ""
    names = [
        f"model {index} ({', '.join(words)}){'' if shared else owner}"
        for owner, (_, index, words) in zip(owners, damaged, strict=True)
    ]
    if len(names) > NAMED:
        names[NAMED:] = [f"and {len(names) - NAMED} more"]
    number = sum(len(words) for *_, words in damaged)
    return f"{number} damaged artifact{'' if number == 1 else 's'}", shared, ", ".join(names)
