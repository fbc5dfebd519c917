"""Attacks on populations whose models saw no pool data: an attack that finds members there cheats."""

from __future__ import annotations

import contextlib
import tempfile
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from privbench.api import Release, component
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
"""Models and classes where an attack has but one image of each class to show: 84 images, of which half must count."""
CHANCE = 0.5
SIGMAS = 5.0
"""The salt is a fresh one at every run of the checks, so that an honest attack must pass every time."""


@component
class IgnoresItsData:
    """Trains on the reference examples, and publishes some of them: nothing depends on the members."""

    name: ClassVar[str] = "ignores-its-data"
    paper: ClassVar[str] = "none"

    def fit(self, task: Blueprint, examples: Examples, ctx: Context) -> Release:  # noqa: ARG002 - the contract
        """Return a model that knows no member."""
        from privbench.learn.training import train

        assert ctx.reference is not None
        others = ctx.rng("published").permutation(len(ctx.reference))[:PUBLISHED]
        return Release(train(task, ctx.reference, ctx), synthetic=ctx.reference[others])


def unseen_checks(attack: Any, salt: str, device: str) -> list[Check]:
    """Return the checks of an attack on models that saw no data, trained on a device."""
    return [
        Check(
            "nothing-to-find",
            "Of models that saw no data no member is found: nothing is drawn again from the seed, or remembered.",
            lambda: find_nothing(attack, "", device),
        ),
        Check(
            "nothing-to-find-salted",
            "The same under a salt that nobody can guess.",
            lambda: find_nothing(attack, salt, device),
        ),
    ]


def find_nothing(attack: Any, salt: str, device: str = "cpu") -> None:
    """Raise AssertionError if an attack distinguishes members by anything but what models learnt about them."""
    try:
        found = (_images if hasattr(attack, "reconstruct") else _scored)(attack, salt, device)
    except Exception as error:
        raise AssertionError(f"It fails on models that saw no data: {one_line(error)}") from error
    if found is None:
        return  # it does not apply to a defense of this kind
    what, value, within = found
    under = f"salt {salt}; check --salt {salt} tries the same again" if salt else "the public salt"
    require(
        abs(value - CHANCE) <= within,
        f"{what} {value:.3f} on models that saw no data; expected 0.5 within {within:.3f}: it finds members where "
        f"nothing leaks, by the seed, by what it remembers of other targets, or around the evidence ({under}).",
    )


def _furthest(found: list[float]) -> float:
    """Return what is furthest from chance: who knows a half, and not of which model, is right by chance on average."""
    return max(found, key=lambda value: abs(value - CHANCE))


def _scored(attack: Any, salt: str, device: str) -> tuple[str, float, float] | None:
    """Return the mean AUC over targets, and how far it may be from 0.5: partners mirror each other, pairs do not."""
    with _attacked(attack, MODELS, salt, device) as cell:
        if cell is None:
            return None
        member = [cell.population.members(target) for target in cell.target_indices]
        found = [auc(cell.scores(target), member[target]) for target in cell.target_indices]
    one, mean = SIGMAS * auc_se(member[0]), float(np.mean(found))
    within = one / (MODELS / 2) ** 0.5
    if abs(mean - CHANCE) <= within and abs(_furthest(found) - CHANCE) > one:
        return "AUC of one target", _furthest(found), one
    return "AUC", mean, within


def _images(attack: Any, salt: str, device: str) -> tuple[str, float, float] | None:
    """Return the share of members among the examples that images come nearest to, each counted once per target."""
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
        "Share of members among what its images are like",
        float(np.mean(hits)),
        SIGMAS * 0.5 / (len(hits) / 2) ** 0.5,
    )


@contextlib.contextmanager
def _attacked(attack: Any, models: int, salt: str, device: str, **toy: int) -> Iterator[Cell | None]:
    """Lend a cell of which every release is made, as in a run; None where the attack does not apply."""
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
