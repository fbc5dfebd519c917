"""Attacks on whole populations of which no model saw any data of the pool: whoever finds a member there cheats."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from privbench._checks.base import Array, Check, auc, auc_se, require
from privbench._checks.toy import ToyTask
from privbench.api import Release, component
from privbench.options import build

if TYPE_CHECKING:
    from privbench.api import Blueprint, Context, Examples
    from privbench.scoring import Cell

MODELS, POOL, PUBLISHED = 6, 120, 40
SIGMAS = 5.0
"""The salt is a fresh one at every run of the checks, so that an honest attack must pass every time."""


@component
class IgnoresItsData:
    """Trains on the reference examples, and publishes some of them: nothing has to do with the members."""

    name: ClassVar[str] = "ignores-its-data"
    paper: ClassVar[str] = "none"

    def fit(self, task: Blueprint, examples: Examples, ctx: Context) -> Release:  # noqa: ARG002 - the contract
        """Return a model that knows no member."""
        from privbench.training import train

        assert ctx.reference is not None
        others = ctx.rng("published").permutation(len(ctx.reference))[:PUBLISHED]
        return Release(train(task, ctx.reference, ctx), synthetic=ctx.reference[others])


def unseen_checks(attack: Any, salt: str) -> list[Check]:
    """Return the checks of a membership attack on models that saw no data."""
    return [
        Check(
            "nothing-to-find",
            "Of models that saw no data no member is found: nothing is drawn again from the seed, or remembered.",
            lambda: find_nothing(attack, ""),
        ),
        Check(
            "nothing-to-find-salted",
            "The same under a salt that nobody can guess.",
            lambda: find_nothing(attack, salt),
        ),
    ]


def find_nothing(attack: Any, salt: str) -> None:
    """Raise AssertionError where an attack tells members from others by anything but what models learnt of them."""
    try:
        found = _attacked(attack, salt)
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
        raise AssertionError(" ".join(f"It fails on models that saw no data: {told}".split())) from error
    if not found:
        return  # it does not apply to a defense of this kind
    mean = float(np.mean([auc(scores, member) for scores, member in found]))
    # Partners are each other's mirror images, so that pairs are the sample.
    within = SIGMAS * auc_se(found[0][1]) / (len(found) / 2) ** 0.5
    under = f"salt {salt}; check --salt {salt} tries the same again" if salt else "the public salt"
    require(
        abs(mean - 0.5) <= within,
        f"AUC {mean:.3f} on models that saw no data; expected 0.5 within {within:.3f}: it finds members where nothing "
        f"leaks, by the seed, by what it remembers of other targets, or around the evidence ({under}).",
    )


def _attacked(attack: Any, salt: str) -> list[tuple[Array, Array]]:
    """Return scores and membership of every model, attacked as in a run; nothing where the attack does not apply."""
    from privbench.defenses.chain import chain
    from privbench.releases import make
    from privbench.run import Grid, plan
    from privbench.scoring import _scores
    from privbench.store import Store

    with tempfile.TemporaryDirectory(prefix="privbench-check-") as folder:
        grid = Grid(
            [build(ToyTask, {"pool": POOL, "epochs": 1})], [chain([IgnoresItsData()])], [attack], MODELS, salt=salt
        )
        planned = plan(grid, Store(folder))
        cell: Cell = planned.cells[0]
        if cell.inapplicable:
            return []
        for job in [job for wave in planned.waves for job in planned.jobs(wave)]:
            make(job, lambda _done, _stage: None)
        return [(_scores(cell, target), cell.population.members(target)) for target in cell.target_indices]
