"""Inference attack of adversarial regularisation, and the alternating training of both sides."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from privbench.learn import as_float, predict, take, to_inputs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from privbench.api import Blueprint, Context, Examples
    from privbench_defenses.adversarial_regularisation import Gain

OF_CONFIDENCES, OF_LABELS, COMBINED = (1024, 512, 64), (128, 64), (512, 256, 128, 64)
"""Hidden layers of the attack in the paper."""
CHUNK = 64  # steps whose batches are drawn at once


class InferenceAttack(nn.Module):
    """h: confidences (b, classes) and labels (b,) -> the logit of being a member (b,)."""

    def __init__(self, classes: int, width: float) -> None:
        super().__init__()
        first, second, third = (
            [max(1, round(width * n)) for n in each] for each in (OF_CONFIDENCES, OF_LABELS, COMBINED)
        )
        self.classes = classes
        self.of_confidences = _layers(classes, *first)
        self.of_labels = _layers(classes, *second)
        self.combined = nn.Sequential(*_layers(first[-1] + second[-1], *third), nn.Linear(third[-1], 1))

    def forward(self, confidences: Tensor, labels: Tensor) -> Tensor:
        """Return the logit of being a member (b,)."""
        # Not by torch's one_hot, which on a CPU looks at the labels.
        chosen = (labels[:, None] == torch.arange(self.classes, device=labels.device)).to(confidences.dtype)
        both = torch.cat([self.of_confidences(confidences), self.of_labels(chosen)], dim=1)
        logits: Tensor = self.combined(both)[:, 0]
        return logits


class Game:
    """The attack's side of the game: it has the members, the others, and batches of its own of either.

    members: what the model is trained on; others: examples it is not trained on, drawn with replacement. Batches are
    as large as the recipe's, with as many members as others.
    """

    def __init__(
        self,
        task: Blueprint,
        members: Examples,
        others: Examples,
        ctx: Context,
        *,
        width: float,
        lr: float,
        gain: Gain,
    ) -> None:
        self.device, self.gain, self.sides = torch.device(ctx.device), gain, (members, others)
        with ctx.seeded("attack"):
            self.attack = InferenceAttack(task.classes, width).to(self.device)
        self._weights = list(self.attack.parameters())
        fused, recorded = self.device.type in ("cpu", "cuda"), self.device.type == "cuda"
        self.optimiser = torch.optim.Adam(self._weights, lr=lr, fused=fused, capturable=recorded)
        self.inputs = [to_inputs(side.x).to(self.device) for side in self.sides]
        self.labels = [torch.tensor(side.y).to(self.device) for side in self.sides]
        self.half = max(1, task.recipe.batch_size // 2)
        self.truth = torch.cat([torch.ones(self.half, device=self.device), torch.zeros(self.half, device=self.device)])
        self._batches = self._drawn(ctx.generator("attack batches"))

    def draw(self, steps: int, batches: int) -> list[Tensor]:
        """Return rows of the members and of the others for so many batches in each step: (steps, batches, b / 2)."""
        drawn = itertools.islice(self._batches, steps * batches)
        return [torch.stack(rows).unflatten(0, (steps, batches)) for rows in zip(*drawn, strict=True)]

    def attack_learns(self, model: nn.Module, rows: Sequence[Tensor]) -> None:
        """Take one step of the attack, on what the model, as it is when released, answers now.

        rows: of the members and of the others, (b / 2,) each.
        """
        batch = torch.cat([as_float(take(inputs, of)) for inputs, of in zip(self.inputs, rows, strict=True)])
        labels = torch.cat([labels.index_select(0, of) for labels, of in zip(self.labels, rows, strict=True)])
        with torch.autocast(self.device.type, enabled=False):
            confidences = answers_now(model, batch)
            attack_step(self.attack, self.optimiser, confidences, labels, self.truth, gain=self.gain)

    def gain_on(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return what the model pays for its logits (b, classes) on members; no gradient reaches the attack."""
        with torch.autocast(self.device.type, enabled=False):
            return attack_gain(self.attack, logits, labels, gain=self.gain, weights=self._weights)

    def advantage(self, model: nn.Module) -> float:
        """Return the mean of h on members less that on the others."""
        means = []
        for side in self.sides:
            logits = torch.from_numpy(predict(model, side.x, device=self.device)).to(self.device)
            with torch.no_grad():
                surety = self.attack(functional.softmax(logits, dim=1), torch.tensor(side.y).to(self.device))
            means.append(float(surety.sigmoid().mean()))
        return means[0] - means[1]

    def _drawn(self, generator: torch.Generator) -> Iterator[list[Tensor]]:
        """Yield rows of the members and of the others, (b / 2,) each, many batches of which are drawn at a time."""
        while True:
            drawn = [torch.randint(len(side), (CHUNK, self.half), generator=generator) for side in self.sides]
            yield from map(list, zip(*drawn, strict=True))


def answers_now(model: nn.Module, batch: Tensor) -> Tensor:
    """Return the confidences (b, classes) that a model in training would release: in eval mode, and without gradient.

    Both sides are asked alike, or the attack would learn to tell the statistics of batches from running ones.
    """
    model.eval()
    with torch.no_grad():
        confidences = functional.softmax(model(batch).float(), dim=1)
    model.train()
    return confidences


def attack_step(
    attack: nn.Module,
    optimiser: torch.optim.Optimizer,
    confidences: Tensor,
    labels: Tensor,
    truth: Tensor,
    *,
    gain: Gain,
) -> None:
    """Take one step of the attack: squared error of h with gain "mean", cross-entropy with "log"."""
    surety = attack(confidences, labels)
    if gain == "mean":
        loss = functional.mse_loss(surety.sigmoid(), truth)
    else:
        loss = functional.binary_cross_entropy_with_logits(surety, truth)
    for group in optimiser.param_groups:  # to walk through the modules takes as long as the step of a small attack
        for parameter in group["params"]:
            parameter.grad = None
    loss.backward()
    optimiser.step()


def attack_gain(
    attack: nn.Module, logits: Tensor, labels: Tensor, *, gain: Gain, weights: Sequence[Tensor] | None = None
) -> Tensor:
    """Return the mean over members of h - 1/2, or of log h, as a function of the model's logits only.

    weights: the attack's parameters, where they are at hand.
    """
    weights = list(attack.parameters()) if weights is None else weights
    for weight in weights:
        weight.requires_grad_(requires_grad=False)
    surety = attack(functional.softmax(logits, dim=1), labels)
    for weight in weights:
        weight.requires_grad_(requires_grad=True)
    return surety.sigmoid().mean() - 0.5 if gain == "mean" else functional.logsigmoid(surety).mean()


def _layers(*widths: int) -> nn.Sequential:
    """Return Linear and ReLU for each pair of widths."""
    pairs = itertools.pairwise(widths)
    return nn.Sequential(*itertools.chain.from_iterable((nn.Linear(a, b), nn.ReLU()) for a, b in pairs))
