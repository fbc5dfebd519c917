"""MemGuard's output filter, and the defender's own attack that it evades."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from privbench.errors import Diverged
from privbench.learn import Steps, recorded, say
from privbench_defenses.noise_search import search
from privbench_defenses.per_input import PastFilter, hashes, labels_of, relabelled, uniform

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from privbench.api import Context

    Array = npt.NDArray[Any]

BATCH = 128
CHUNK = 64  # steps whose batches are drawn at once
LOOKS = "it asks which queries have arrived, to go on with the others alone, four times as fast on a CPU"


class OwnAttack(nn.Module):
    """A classifier of members, from confidences (n, classes) that fall within each row; answers logits (n,).

    The gradient of its answers is written out, for models answer under inference mode, where autograd is off.
    """

    def __init__(self, classes: int, hidden: Sequence[int]) -> None:
        super().__init__()
        widths = itertools.pairwise((classes, *hidden, 1))
        self.layers = nn.ModuleList(nn.Linear(wide, narrow) for wide, narrow in widths)

    def forward(self, falling: Tensor) -> Tensor:
        """Return the logit of being a member (n,)."""
        for layer in self.layers[:-1]:
            falling = functional.relu(layer(falling))
        logits: Tensor = self.layers[-1](falling)[:, 0]
        return logits

    def weights(self, dtype: torch.dtype, device: torch.device) -> list[tuple[Tensor, Tensor]]:
        """Return each layer's matrix and bias, as they are in the search."""
        return [
            (layer.weight.detach().to(device, dtype), layer.bias.detach().to(device, dtype)) for layer in self.layers
        ]


class Guarded(nn.Module):
    """A model whose answers, logarithms of probabilities in float32, are moved to where the attack says 1/2.

    budget: as MemGuard has it; steps: its max_steps and patience. Gradients pass as if the filter were not there.
    """

    key: Tensor

    def __init__(
        self, model: nn.Module, classes: int, *, hidden: Sequence[int], budget: float, steps: tuple[int, int]
    ) -> None:
        super().__init__()
        self.model, self.attack = model, OwnAttack(classes, hidden)
        self.budget, (self.max_steps, self.patience) = budget, steps
        self.register_buffer("key", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        """Map float32 inputs to the logarithms of confidences (n, classes), with the model's own label in all rows."""
        logits: Tensor = self.model(x)
        if recorded(x.device):
            say("memguard's walks", LOOKS)
        with torch.no_grad():
            # In doubles, so that a step's rounding is far below what the size of a batch changes in the model's logits.
            where = torch.device("cpu") if x.device.type == "mps" else x.device  # which has no doubles
            exact = logits.detach().to(where, torch.float64)
            layers, labels = self.attack.weights(torch.float64, where), labels_of(exact)
            noisy, distance, helps = search(exact, layers, labels, max_steps=self.max_steps, patience=self.patience)
            drawn = uniform(hashes(x, self.key), 1)[:, 0].to(where)
            taken = helps & (drawn * distance < self.budget)
            answers = functional.log_softmax(torch.where(taken[:, None], noisy, exact), dim=1)
            answers = relabelled(answers.to(logits.device, torch.float32), labels_of(logits))
        passed: Tensor = PastFilter.apply(logits, answers)
        return passed


def train_attack(attack: OwnAttack, members: Array, others: Array, ctx: Context, *, steps: int, lr: float) -> None:
    """Train the defender's attack on logits (n, classes) of members and (m, classes) of others. Raises Diverged.

    Each step takes as many of either, drawn with replacement, and cross-entropy. Reports no progress: it is short.
    """
    device = torch.device(ctx.device)
    falling = [sorted_confidences(torch.from_numpy(logits)).to(device) for logits in (members, others)]
    truth = torch.cat([torch.ones(BATCH // 2, device=device), torch.zeros(BATCH // 2, device=device)])
    optimiser = torch.optim.Adam(
        attack.parameters(), lr=lr, fused=device.type in ("cpu", "cuda"), capturable=device.type == "cuda"
    )

    def one(*rows: Tensor) -> None:
        batch = torch.cat([side.index_select(0, chosen) for side, chosen in zip(falling, rows, strict=True)])
        attack_step(attack, optimiser, batch, truth)

    generator, loop = ctx.generator("attack batches"), Steps(device, "memguard's own attack")
    for done in range(0, steps, CHUNK):
        rows = [torch.randint(len(side), (CHUNK, BATCH // 2), generator=generator).to(device) for side in falling]
        loop.run(one, *(chunk[: steps - done] for chunk in rows))
    attack.requires_grad_(requires_grad=False)
    if not all(bool(parameter.isfinite().all()) for parameter in attack.parameters()):
        raise Diverged(f"memguard's own attack diverged; try attack_lr={lr / 10:g}.")


def attack_step(attack: OwnAttack, optimiser: torch.optim.Optimizer, batch: Tensor, truth: Tensor) -> None:
    """Take one step of the attack's training on sorted confidences (b, classes) and their membership (b,) float."""
    loss = functional.binary_cross_entropy_with_logits(attack(batch), truth)
    for parameter in attack.parameters():
        parameter.grad = None
    loss.backward()
    optimiser.step()


def sorted_confidences(logits: Tensor) -> Tensor:
    """Return (n, classes) float32: the softmax of logits, computed in doubles, falling within each row."""
    return functional.softmax(logits.double(), dim=1).sort(dim=1, descending=True).values.float()
