"""Cost estimate of a plan: the number of remaining trainings, and their approximate time."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from privbench.executors import Call
from privbench.grid.calls import result, serves
from privbench.options.fields import spec
from privbench.population.traits import relative_cost

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from privbench.data.dataset import Examples
    from privbench.executors import Executor
    from privbench.grid.plan import Plan
    from privbench.population.population import Population

NOT_APPLICABLE, WILL_FAIL = "n/a", "will fail"
PROBE_STEPS = 8
"""Number of timed training steps, if nothing of a task is in the store."""
SLOW = 3.0
"""Seconds of a first step above which no others are timed: ResNet-18 on a CPU would take minutes for them."""


@dataclass(frozen=True)
class Line:
    """The remaining work for one population."""

    population: Population
    queries: tuple[int, ...]
    cached: int
    to_train: int
    to_query: int
    seconds_per_model: float
    basis: str
    """Source of the seconds."""

    @property
    def seconds(self) -> float:
        """Core-seconds of remaining training."""
        return self.to_train * self.seconds_per_model


class Foreseen(NamedTuple):
    """Attacks on one population that cannot succeed, for one reason."""

    where: str
    """The task and the defense, as on the command line; of a task that cannot be loaded, itself."""
    verdict: str
    """NOT_APPLICABLE or WILL_FAIL."""
    reason: str
    attacks: list[str]


def estimate(plan: Plan, executor: Executor) -> list[Line]:
    """Return a line per population; times a few training steps for tasks without stored releases."""
    lines = []
    probed: dict[object, float] = {}
    for population, queries in (item for wave in plan.waves for item in wave.items()):
        wanted = [i for i in range(population.models) if i not in population.skipped]
        made = population.sound(wanted)
        unasked = {job.index for job in population.missing(sorted(queries)) if job.queries}
        answered = [index for index in made if index not in unasked]
        seconds, basis = _measured(population, made)
        if not made:
            if population.task not in probed:
                probed[population.task] = _probe(population, executor)
            factor = relative_cost(population.defense)
            seconds, basis = (
                probed[population.task] * factor,
                "timed steps" + (f" x {factor:g}" if factor != 1 else ""),
            )
        to_train = len(wanted) - len(made) if population.inputs == "original" else 0  # otherwise counted there
        lines.append(
            Line(population, tuple(sorted(queries)), len(answered), to_train, len(made) - len(answered), seconds, basis)
        )
    return lines


def describe(population: Population) -> str:
    """Return a population's defense, and its task, as on the command line."""
    return f"{spec(population.task)} / {spec(population.defense)}"


def foreseen(plan: Plan) -> list[Foreseen]:
    """Return attacks that are known, before training, not to apply or to fail, by population and reason."""
    names: dict[tuple[str, str, str], list[str]] = {}
    for cell in plan.cells:
        for verdict, reason in ((NOT_APPLICABLE, cell.inapplicable), (WILL_FAIL, cell.impossible)):
            if reason:
                names.setdefault((describe(cell.population), verdict, reason), []).append(spec(cell.attack))
    attacks = [spec(attack) for attack in plan.grid.attacks]
    unusable = [Foreseen(spec(task), WILL_FAIL, str(why), attacks) for task, why in plan.unusable.items()]
    return [*unusable, *(Foreseen(*known, attacks) for known, attacks in names.items())]


def _measured(population: Population, made: Sequence[int]) -> tuple[float, str]:
    taken = population.seconds(made)
    return (float(np.median(taken)) if len(taken) else 0.0), f"{len(taken)} models in the store"


def _probe(population: Population, executor: Executor) -> float:
    """Return the seconds of one undefended training, extrapolated from a few steps in a worker process."""
    with executor.pool() as pool:
        pool.submit(Call(time_steps, population, serves(population.task)))
        (outcome,) = pool.outcomes()
    return float(result(outcome))


def time_steps(population: Population, report: Callable[[float, str], None]) -> float:
    """Time a few training steps after a warm-up, and extrapolate to a whole training."""
    import torch

    from privbench.contracts.context import Context
    from privbench.learn.steps import recorded
    from privbench.learn.training import train

    report(0.0, "timing")
    device = torch.device(population.device)
    task = population.blueprint
    examples = population.dataset.role("pool")[population.members(0)]
    copies = max(1, task.recipe.copies)

    def seconds(part: Examples, epochs: int) -> float:
        start = time.perf_counter()
        train(task, part, Context(device=population.device), recipe=replace(task.recipe, epochs=epochs, warmup=0.0))
        return time.perf_counter() - start

    batch = examples[: task.recipe.batch_size]
    if not recorded(device) and (step := seconds(batch, 1)) > SLOW:
        return step * copies * len(examples) / len(batch) * task.recipe.epochs
    part = examples[: PROBE_STEPS * task.recipe.batch_size]
    _, one, three = (seconds(part, epochs) for epochs in (1, 1, 3))  # the first is a warm-up
    # Recording of steps on a card happens once, before the epochs.
    before, each = (one - (three - one) / 2, (three - one) / 2) if recorded(device) else (0.0, min(one, three / 3))
    return before + each * copies * len(examples) / len(part) * task.recipe.epochs
