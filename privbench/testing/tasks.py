"""Contract checks of tasks."""

from __future__ import annotations

from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np

from privbench.contracts.recipe import Recipe
from privbench.data.dataset import ROLES, Dataset, Examples, check_arrays
from privbench.errors import DataError
from privbench.testing.base import Array, Check, auc, auc_se, generators, require

BLIND_LIMIT = 0.6
SIGMAS = 4.0
EXAMPLES, FEATURES, FOLDS = 1000, 64, 5
BATCH = 4


def task_checks(task: Any, device: str) -> list[Check]:
    """Return the checks of a task; its network is tried on a device."""
    tried = _Task(task, device)
    return [
        Check("data", "Inputs are finite, uint8 or float32; labels are int64 and in range.", tried.data),
        Check("roles", "Pool, reference, validation and test are there, and share no row.", tried.roles),
        Check("same-data", "Loaded twice, the data are the same.", tried.same_data),
        Check("every-class", "Every class is in the pool and in the test examples.", tried.every_class),
        Check("recipe", "The recipe is a valid Recipe.", tried.recipe),
        Check("network", "A fresh network takes inputs of the data's shape to one logit per class.", tried.network),
        Check("blind-roles", "Inputs alone do not tell pool from reference and test examples.", tried.blind_roles),
        Check(
            "blind-members", "Inputs alone do not tell a random half of the pool from the other.", tried.blind_members
        ),
    ]


class _Task:
    def __init__(self, task: Any, device: str) -> None:
        self.task, self.device = task, device

    @cached_property
    def dataset(self) -> Dataset:
        """The data. Raises AssertionError where they cannot be had."""
        with generators(1):
            try:
                dataset = self.task.load()
            except DataError as error:
                raise AssertionError(f"The data cannot be loaded: {error}") from error
        require(isinstance(dataset, Dataset), f"`load` returned {type(dataset).__name__}; expected Dataset.")
        assert isinstance(dataset, Dataset)
        return dataset

    def data(self) -> None:
        examples, dataset = self.dataset.examples, self.dataset
        try:
            check_arrays(examples, dataset.classes, dataset.name)
        except DataError as error:
            raise AssertionError(str(error)) from error
        require(examples.y.dtype == np.int64, f"Labels are {examples.y.dtype}; expected int64.")
        if examples.is_image:
            channels = examples.x.shape[-1]
            require(
                channels in (1, 3),
                f"Images have shape {examples.x.shape[1:]}: {channels} channels; expected (height, width, 1 or 3).",
            )
            low, high = examples.x.min(), examples.x.max()
            require(
                examples.x.dtype == np.uint8 or (low >= 0 and high <= 1),
                f"Pixels run from {low:.3g} to {high:.3g}; float32 images lie in [0, 1].",
            )

    def roles(self) -> None:
        for role in ROLES:
            require(len(self.dataset.rows(role)), f"Role {role!r} is empty.")
        for one, other in combinations(ROLES, 2):
            shared = np.intersect1d(self.dataset.rows(one), self.dataset.rows(other))
            require(not len(shared), f"{len(shared)} examples are both {one} and {other}; roles must be disjoint.")

    def same_data(self) -> None:
        with generators(2, "The task"):
            again = self.task.load()
        require(
            again.fingerprint == self.dataset.fingerprint,
            "`load` returned other data, or other roles, the second time; draw from a seed of the task's own.",
        )

    def every_class(self) -> None:
        for role in ("pool", "test"):
            missing = np.setdiff1d(np.arange(self.dataset.classes), self.dataset.role(role).y)
            require(
                not len(missing),
                f"{len(missing)} of {self.dataset.classes} classes have no example in {role!r}: "
                f"{', '.join(map(str, missing[:5]))}{', ...' if len(missing) > 5 else ''}.",  # noqa: PLR2004 - a short list
            )

    def recipe(self) -> None:
        recipe = self.task.recipe
        require(isinstance(recipe, Recipe), f"`recipe` is {type(recipe).__name__}; expected privbench.api.Recipe.")

    def network(self) -> None:
        import torch

        from privbench import seeds

        with seeds.seeded(0, "check"):
            net = self.task.network(self.dataset.shape, self.dataset.classes)
            x = torch.rand(BATCH, *self.dataset.shape)
        try:
            with torch.no_grad():
                logits = net.to(self.device).eval()(x.to(self.device))
        except (RuntimeError, ValueError, TypeError) as error:
            raise AssertionError(
                f"The network does not take float32 inputs of shape {tuple(x.shape)}: {' '.join(str(error).split())}"
            ) from error
        expected = (BATCH, self.dataset.classes)
        require(tuple(logits.shape) == expected, f"{BATCH} inputs give {tuple(logits.shape)}; expected {expected}.")
        require(logits.dtype == torch.float32, f"The network answers {logits.dtype}; expected float32.")
        require(bool(logits.isfinite().all()), "A fresh network answers NaN or infinity.")
        require(any(p.requires_grad for p in net.parameters()), "The network has nothing to train.")

    def blind_roles(self) -> None:
        pool = self.dataset.role("pool")
        for role in ("reference", "test"):
            found, se = _blind(pool, self.dataset.role(role))
            limit = max(BLIND_LIMIT, 0.5 + SIGMAS * se)
            require(
                found <= limit,
                f"A classifier that never saw a model tells {role} from pool examples with AUC {found:.3f} (at most "
                f"{limit:.3f}): they come from different distributions, so attacks would seem to work.",
            )

    def blind_members(self) -> None:
        pool = self.dataset.role("pool")
        order = np.random.default_rng(0).permutation(len(pool))
        found, se = _blind(pool[order[::2]], pool[order[1::2]])
        require(
            abs(found - 0.5) <= max(BLIND_LIMIT - 0.5, SIGMAS * se),
            f"A classifier that never saw a model tells members from non-members with AUC {found:.3f}: "
            "the pool holds near copies of some examples.",
        )


def _blind(one: Examples, other: Examples) -> tuple[float, float]:
    """Return the cross-validated AUC of telling two sets of inputs apart, and its standard error by chance."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    sets = [_some(one), _some(other)]
    x = np.concatenate(sets)
    which = np.repeat([True, False], [len(each) for each in sets])
    features = min(FEATURES, x.shape[1], len(x) // 2)
    model = make_pipeline(
        PCA(features, svd_solver="randomized", random_state=0),
        StandardScaler(),
        LogisticRegression(C=0.01, class_weight="balanced", max_iter=1000),
    )
    folds = StratifiedKFold(max(2, min(FOLDS, int(which.sum()), int((~which).sum()))), shuffle=True, random_state=0)
    scores = cross_val_predict(model, x, which, cv=folds, method="decision_function")
    return auc(scores, which), auc_se(which)


def _some(examples: Examples) -> Array:
    rows = np.random.default_rng(1).permutation(len(examples))[:EXAMPLES]
    flat: Array = examples.x[rows].reshape(len(rows), -1).astype(np.float64)
    return flat
