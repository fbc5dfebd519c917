"""Attacks on populations whose models saw no data of the pool: an attack that finds members there cheats."""

from __future__ import annotations

import contextlib
import tempfile
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from privbench.api import ReconstructionAttack, Release, component
from privbench.errors import one_line
from privbench.options.fields import build
from privbench.stats.likeness import unit
from privbench.testing.base import Check, auc, auc_se, require
from privbench.testing.toy import ToyTask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from privbench.api import Blueprint, Context, Examples
    from privbench.grid.cell import Cell

MODELS, POOL, PUBLISHED = 6, 120, 40
IMAGED, CLASSES = 14, 6
"""Models and classes for attacks that return one image per class: 84 images, of which half must be distinct."""
CHANCE = 0.5
SIGMAS = 5.0
"""Wide, because every run of the checks has a new salt, and an honest attack must pass every time."""


@component
class IgnoresItsData:
    """Defense that trains on the reference examples and publishes some of them: independent of the members."""

    name: ClassVar[str] = "ignores-its-data"
    paper: ClassVar[str] = "none"

    def fit(self, task: Blueprint, examples: Examples, ctx: Context) -> Release:  # noqa: ARG002 - the contract
        """Return a model that is independent of the members."""
        from privbench.learn.training import train

        assert ctx.reference is not None
        others = ctx.rng("published").permutation(len(ctx.reference))[:PUBLISHED]
        return Release(train(task, ctx.reference, ctx), synthetic=ctx.reference[others])


def unseen_checks(attack: Any, salt: str, device: str) -> list[Check]:
    """Return the checks of an attack on models that saw no data. device: device of the models."""
    return [
        Check(
            "nothing-to-find",
            "It finds no members of models that saw no data: nothing is redrawn from the seed, or remembered.",
            lambda: find_nothing(attack, "", device),
        ),
        Check(
            "nothing-to-find-salted",
            "The same under a random salt.",
            lambda: find_nothing(attack, salt, device),
        ),
    ]


def find_nothing(attack: Any, salt: str, device: str = "cpu") -> None:
    """Raise AssertionError if an attack identifies members of models that did not learn from them."""
    try:
        found = (_images if isinstance(attack, ReconstructionAttack) else _scored)(attack, salt, device)
    except Exception as error:
        raise AssertionError(f"It fails on models that saw no data: {one_line(error)}") from error
    if found is None:
        return  # it does not apply to a defense of this kind
    what, value, within = found
    under = f"salt {salt}; check --salt {salt} repeats the check" if salt else "the public salt"
    require(
        abs(value - CHANCE) <= within,
        f"{what} {value:.3f} on models that saw no data; expected 0.5 within {within:.3f}: it finds members without "
        f"a leak, through the seed, its memory of other targets, or a way around the evidence ({under}).",
    )


def _furthest(aucs: list[float]) -> float:
    """Return the AUC furthest from chance: knowing a split, but not of which model, gives chance on average."""
    return max(aucs, key=lambda value: abs(value - CHANCE))


def _scored(attack: Any, salt: str, device: str) -> tuple[str, float, float] | None:
    """Return a name, the mean AUC over targets, and its tolerance: partners mirror each other, pairs do not."""
    with _attacked(attack, MODELS, salt, device) as cell:
        if cell is None:
            return None
        member = [cell.population.members(target) for target in cell.target_indices]
        aucs = [auc(cell.scores(target), member[target]) for target in cell.target_indices]
    one, mean = SIGMAS * auc_se(member[0]), float(np.mean(aucs))
    within = one / (MODELS / 2) ** 0.5
    if abs(mean - CHANCE) <= within and abs(_furthest(aucs) - CHANCE) > one:
        return "AUC of one target", _furthest(aucs), one
    return "AUC", mean, within


def _images(attack: Any, salt: str, device: str) -> tuple[str, float, float] | None:
    """Return a name, the share of members among the examples nearest to images (once per target), and its tolerance."""
    with _attacked(attack, IMAGED, salt, device, classes=CLASSES) as cell:
        if cell is None:
            return None
        images = np.stack([cell.images(target) for target in cell.target_indices])
        x = unit(cell.population.dataset.role("pool").x).reshape(1, POOL, -1)
        hits: list[bool] = []
        for target, each in enumerate(images.reshape(IMAGED, CLASSES, 1, -1)):
            nearest = np.unique(np.square(each - x).sum(axis=-1).argmin(axis=1))
            hits += cell.population.members(target)[nearest].tolist()
    return (
        "Share of members among the examples nearest to its images",
        float(np.mean(hits)),
        SIGMAS * 0.5 / (len(hits) / 2) ** 0.5,
    )


@contextlib.contextmanager
def _attacked(attack: Any, models: int, salt: str, device: str, **toy: int) -> Iterator[Cell | None]:
    """Yield a cell whose releases are trained, as in a run; None if the attack does not apply."""
    from privbench.population.composition import chain
    from privbench.population.releases import make
    from privbench.run import Grid, plan
    from privbench.store.store import Store

    task = build(ToyTask, {"pool": POOL, "epochs": 1, **toy})
    with tempfile.TemporaryDirectory(prefix="privbench-check-") as folder:
        grid = Grid([task], [chain([IgnoresItsData()])], [attack], models, device=device, salt=salt)
        planned = plan(grid, Store(folder))
        (cell,) = planned.cells
        if cell.inapplicable:
            yield None
            return
        for job in [job for wave in planned.waves for job in planned.jobs(wave)]:
            make(job, lambda _done, _stage: None)
        yield cell
