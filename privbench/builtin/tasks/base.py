"""Base of the built-in tasks: options for model and recipe, and data sets with roles from arrays."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from privbench.api import Dataset, Examples, Recipe, option
from privbench.builtin import models
from privbench.builtin.models import ModelName
from privbench.data import ROLES, canaries, check, roles
from privbench.errors import BadOption, DataError

if TYPE_CHECKING:
    from torch import nn

    from privbench.aliases import Array
    from privbench.data import Source


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class DataTask(Recipe):
    """A data set with a model and a recipe. A subclass provides the data, and changes defaults.

    The official test split is the test role; in a data set without one it is 15 %. The rest, or `limit` of it, is the
    pool (85 %), the attacker's reference (10 %) and validation (5 %), class-stratified, with a fixed seed of the task.
    """

    name: ClassVar[str]
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    model: ModelName = option("mlp", "architecture")
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = option(
        (256,), "sizes of the hidden layers of 'mlp' and 'dae_mlp', such as 1000/300", min_length=1
    )
    limit: int | None = option(None, "size of a class-balanced training subset (none: all examples)", ge=2)
    canaries: Literal["none", "clean", "mislabelled", "ood", "duplicate"] = option(
        "none", "examples of the pool that represent the most exposed, evaluated separately"
    )
    canary_count: int = option(100, "number of canaries, if any", ge=1)

    def __post_init__(self) -> None:
        """Refuse `hidden` if it has no effect."""
        default = type(self).__pydantic_fields__["hidden"].default  # type: ignore[attr-defined]
        if self.model not in ("mlp", models.WITH_DATA) and self.hidden != default:
            raise ValueError(f"option 'hidden' is for models 'mlp' and 'dae_mlp'; {self.model!r} has layers of its own")

    @property
    def recipe(self) -> Recipe:
        """The training recipe of this task's models."""
        return Recipe(**{field.name: getattr(self, field.name) for field in dataclasses.fields(Recipe)})

    def network(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """Return a fresh model: float32 (batch, *shape) -> logits. Raises BadOption for unsupported shapes."""
        if self.model == models.WITH_DATA:
            from privbench.builtin.models import dae

            return dae.build(_encoder(self), classes, self.hidden)
        return models.build(self.model, shape, classes, hidden=self.hidden)

    def source(self) -> Source:
        """Read the data. Raises DataError with the remedy if they are missing, damaged or unsuitable."""
        raise NotImplementedError

    def load(self) -> Dataset:
        """Return the data with their roles; the same on every call. Raises DataError, or BadOption for `limit`."""
        return self.assemble(self.source())

    def assemble(self, source: Source) -> Dataset:
        """Assign roles to the examples of a source. Raises DataError, or BadOption for `limit`."""
        check(source)
        if source.test is None:
            rows = roles.cut(source.train.y, {"test": roles.TEST, "training": 1 - roles.TEST}, "test")
            test, tests, candidates = source.train, rows["test"], rows["training"]
        else:
            test, tests, candidates = source.test, np.arange(len(source.test.y)), np.arange(len(source.train.y))
        chosen = candidates[self._limited(source, source.train.y[candidates])]
        x = np.concatenate([source.train.x[chosen], test.x[tests]])
        y = np.concatenate([source.train.y[chosen], test.y[tests]]).astype(np.int64)
        parts = roles.cut(y[: len(chosen)], roles.TRAINING, "roles")
        parts["test"] = np.arange(len(chosen), len(y))
        empty = [role for role, rows in parts.items() if not len(rows)]
        if empty:
            raise DataError(f"{source.name}: {len(chosen)} training examples leave none for {empty[0]}; 20 are enough.")
        dataset = Dataset(Examples(x, y), source.classes, *(parts[role] for role in ROLES), name=source.name)
        return dataset if self.canaries == "none" else canaries.plant(dataset, self.canaries, self.canary_count)

    def _limited(self, source: Source, y: Array) -> Array:
        """Return the training examples selected by `limit`."""
        if self.limit is None:
            return np.arange(len(y))
        if self.limit > len(y):
            raise BadOption(f"{source.name}: limit={self.limit}, but there are only {len(y)} training examples.")
        if self.limit < source.classes:
            raise BadOption(f"{source.name}: limit={self.limit} is below one for each of {source.classes} classes.")
        return roles.balanced(y, self.limit, "limit")


@functools.lru_cache(maxsize=2)
def _encoder(task: DataTask) -> Any:
    """Return the layers of an encoder trained on the reference examples, never on the pool; once per process."""
    from privbench.builtin.models import dae

    return dae.pretrained(task.load().role("reference").x, roles.SEED)
