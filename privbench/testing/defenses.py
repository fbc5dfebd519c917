"""Contract checks of defenses, on a toy task."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from privbench.api import Context, Examples, Prepared, Release
from privbench.contracts.abilities import BuildsEmpty, Prepares
from privbench.data.dataset import check_arrays
from privbench.errors import DataError
from privbench.options.fields import build, parts_of
from privbench.testing.base import Check, digest, generators, require
from privbench.testing.counting import CountOnly, check_population_membership
from privbench.testing.toy import ToyTask, blueprint

if TYPE_CHECKING:
    from torch import nn

    from privbench.aliases import Array

SEED, OTHER_SEED = 1, 2
BATCH_MATES = 1e-4
MODELS = 8


def defense_checks(defense: Any, salt: str, device: str) -> list[Check]:
    """Return the checks of a defense.

    defense: a complete defense, or data stages only.
    salt: salt of the population for the count attack.
    device: device of the models.
    """
    tried = _Defense(defense, salt, device)
    checks = [
        Check(
            "reproducible",
            "The same seed gives the same release, bit for bit; no global generator is used.",
            tried.reproducible,
        ),
        Check("seeded", "Another seed gives other weights.", tried.seeded),
        Check("inputs-unmutated", "The private examples are not modified.", tried.unmutated),
        Check("answers", "The release returns finite float32 logits, (n, classes), in eval mode.", tried.answers),
        Check("batch-mates", "An answer does not depend on the other queries of its batch.", tried.batch_mates),
        Check(
            "queries-change-nothing", "Weights and buffers are the same after queries.", tried.queries_change_nothing
        ),
        Check("reloadable", "The weights can be loaded into `empty`, with the same answers.", tried.reloadable),
        Check("facts", "All facts are finite numbers.", tried.facts),
        Check(
            "synthetic", "Synthetic examples, if any are published, are valid examples of the task.", tried.synthetic
        ),
        Check("count-only", "In its population, counting shadows reveals nothing.", tried.count_only),
    ]
    if any(isinstance(part, Prepares) for part in tried.parts):
        checks.append(
            Check("prepare", "The data stage returns valid examples, and does not modify its input.", tried.prepare)
        )
    return checks


@dataclass(frozen=True, eq=False)
class _Made:
    """A release, with a copy of its weights at the time of publication."""

    release: Release
    weights: dict[str, Array]
    changed_inputs: bool

    @property
    def bytes(self) -> str:
        synthetic = self.release.synthetic
        published = [] if synthetic is None else [synthetic.x, synthetic.y]
        return digest([*self.weights.values(), *published]) + str(sorted(self.release.facts.items()))


class _Defense:
    def __init__(self, defense: Any, salt: str, device: str) -> None:
        from privbench.population.composition import chain

        self.salt, self.device = salt, device
        self.parts = parts_of(defense)
        self.whole = chain(self.parts)
        self.toy = build(ToyTask, {})
        self.dataset = self.toy.load()
        self.task = blueprint(self.toy, self.dataset)

    @property
    def half(self) -> Examples:
        """Copies of the members: every other example of the pool."""
        pool = self.dataset.role("pool")
        return Examples(pool.x[::2].copy(), pool.y[::2].copy())

    def context(self, seed: int) -> Context:
        return Context(seed, self.device, self.dataset.role("reference"), self.dataset.role("validation"))

    def make(self, seed: int, state: int, watched: str = "") -> _Made:
        """Run the defense, with the global generators seeded with `state` (see `generators`)."""
        half = self.half
        before = digest([half.x, half.y])
        with generators(state, watched, self.device):
            release = self.whole.fit(self.task, half, self.context(seed))
        require(
            isinstance(release, Release),
            f"`fit` returned {type(release).__name__}; it must return privbench.api.Release.",
        )
        return _Made(release, _weights(release.model), digest([half.x, half.y]) != before)

    @cached_property
    def made(self) -> _Made:
        return self.make(SEED, state=1)

    @property
    def model(self) -> nn.Module:
        return self.made.release.model

    def ask(self, model: nn.Module, examples: Examples) -> Array:
        """Return the logits of a model as released: without `eval()` or casts, as a recipient may query it."""
        import torch

        from privbench.learn.inference import exact

        device = torch.device(self.device)
        x = torch.from_numpy(examples.x.transpose(0, 3, 1, 2) / np.float32(255)).to(device)
        with torch.no_grad(), exact(device):
            answers: Array = model.to(device)(x).cpu().numpy()
        return answers

    def reproducible(self) -> None:
        again = self.make(SEED, 2, "The defense")
        require(
            self.made.bytes == again.bytes,
            "The same seed gave another release; draw random numbers from ctx.rng, ctx.generator and ctx.seeded only.",
        )

    def seeded(self) -> None:
        other = self.make(OTHER_SEED, state=1)
        require(
            digest([*self.made.weights.values()]) != digest([*other.weights.values()]),
            "Another seed gave the same weights: the seed is ignored, so all shadows would be the same.",
        )

    def unmutated(self) -> None:
        require(not self.made.changed_inputs, "`fit` or `prepare` modified its input examples; work on a copy.")

    def answers(self) -> None:
        require(
            not self.model.training, "The released model is in training mode; call `.eval()` before it is released."
        )
        test = self.dataset.role("test")
        logits, expected = self.ask(self.model, test), (len(test), self.dataset.classes)
        require(logits.shape == expected, f"The answers have shape {logits.shape}; expected {expected}.")
        require(logits.dtype == np.float32, f"The answers are {logits.dtype}; expected float32 logits.")
        bad = int((~np.isfinite(logits)).any(axis=1).sum())
        require(bad == 0, f"{bad} of {len(logits)} answers are NaN or infinite.")
        again = self.ask(self.model, test)
        require((again == logits).all(), "The same query had a different answer the second time.")

    def batch_mates(self) -> None:
        test = self.dataset.role("test")
        together = self.ask(self.model, test)
        alone = np.concatenate([self.ask(self.model, test[row : row + 1]) for row in range(len(test))])
        off = float(np.abs(together - alone).max())
        require(
            off <= BATCH_MATES * max(1.0, float(np.abs(together).max())),
            f"Answers change by up to {off:.3g} with the rest of the batch; BatchNorm must be in eval mode.",
        )

    def queries_change_nothing(self) -> None:
        before = _weights(self.model)
        self.ask(self.model, self.dataset.role("test"))
        after = _weights(self.model)
        changed = [name for name in before if digest([before[name]]) != digest([after[name]])]
        require(not changed, f"Queries changed {', '.join(changed)} of the released model.")

    def reloadable(self) -> None:
        import torch

        from privbench.learn.inference import classifier

        empty = self.whole.empty(self.task) if isinstance(self.whole, BuildsEmpty) else classifier(self.task)
        weights = {name: torch.from_numpy(array.copy()) for name, array in self.made.weights.items()}
        try:
            empty.load_state_dict(weights)
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise AssertionError(
                f"The weights do not fit the model of `empty` (default: privbench.learn.classifier): {reason}"
            ) from error
        test = self.dataset.role("test")
        same = np.allclose(self.ask(empty.eval(), test), self.ask(self.model, test), rtol=1e-5, atol=1e-5)
        require(same, "The reloaded model gives different answers: a part of it is not in its state_dict.")

    def facts(self) -> None:
        for name, value in self.made.release.facts.items():
            number = isinstance(value, (int, float, np.number)) and math.isfinite(value)
            require(isinstance(name, str) and number, f"Fact {name!r} is {value!r}; expected a finite number.")

    def synthetic(self) -> None:
        if self.made.release.synthetic is not None:
            self._valid(self.made.release.synthetic, "The synthetic examples")

    def prepare(self) -> None:
        examples = self.half
        for position, part in enumerate(self.parts):
            if isinstance(part, Prepares):
                before = digest([examples.x, examples.y])
                prepared = part.prepare(self.task, examples, self.context(SEED).stage(part.name, position))
                prepared = prepared.examples if isinstance(prepared, Prepared) else prepared
                require(
                    digest([examples.x, examples.y]) == before,
                    "`prepare` modified its input examples; copy them.",
                )
                self._valid(prepared, "The examples returned by `prepare`")
                examples = prepared

    def _valid(self, examples: Any, what: str) -> None:
        require(isinstance(examples, Examples), f"{what}: {type(examples).__name__}; expected privbench.api.Examples.")
        expected, found = self.dataset.examples.x.shape[1:], examples.x.shape[1:]
        require(found == expected, f"{what} have inputs of shape {found}; expected {expected}.")
        require(len(examples), f"{what} are empty.")
        try:
            check_arrays(examples, self.dataset.classes, what)
        except DataError as error:
            raise AssertionError(str(error)) from error
        require(examples.y.dtype == np.int64, f"{what} have labels of {examples.y.dtype}; expected int64.")

    def count_only(self) -> None:
        from privbench.population.evidence import evidence_of
        from privbench.population.population import Population
        from privbench.store.store import Store

        with tempfile.TemporaryDirectory() as folder:
            population = Population(
                self.toy, self.dataset, self.whole, MODELS, SEED, self.device, Store(folder), salt=self.salt
            )
            evidence = [evidence_of(population, target, CountOnly().needs, 1, population) for target in range(MODELS)]
            check_population_membership(
                [(each.shadow_member, population.members(target)) for target, each in enumerate(evidence)], self.salt
            )


def _weights(model: nn.Module) -> dict[str, Array]:
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in model.state_dict().items()}
