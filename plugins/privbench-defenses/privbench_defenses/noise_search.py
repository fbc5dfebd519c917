"""Search for MemGuard's noise, for all queries of a batch simultaneously (Jia et al. 2019, algorithm 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    Layers: TypeAlias = Sequence[tuple[Tensor, Tensor]]
    """Matrix (out, in) and bias (out,) of each layer of the defender's attack; ReLU between them."""

STEP = 0.1
LABEL_WEIGHT = 10.0
DISTORTION_WEIGHTS = tuple(10.0**power for power in range(-1, 6))
UNDECIDED = 1e-5
"""An attack this close to 1/2 needs no fooling."""


def search(
    logits: Tensor, layers: Layers, labels: Tensor, *, max_steps: int, patience: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the logits with noise (n, classes), how far it moves the confidences (n,), and whether it helps (n,) bool.

    From its logits each query walks down `objective` in steps of length 0.1 until the attack has crossed 1/2 with the
    label unchanged. It does so again and again with ten times the weight of the distortion, from 0.1 to 1e5, until
    it does not arrive; the nearest arrival, in L1 distance of confidences, is taken. Noise helps where there is an
    arrival at which the attack is less sure than before. Rows do not depend on each other.
    """
    start = functional.softmax(logits, dim=1)
    surety, _ = attack_and_gradient(start, layers)
    best, nearest = logits.clone(), torch.full_like(surety, torch.inf)
    going = ((surety.sigmoid() - 0.5).abs() > UNDECIDED).nonzero()[:, 0]
    for weight in DISTORTION_WEIGHTS:
        if not len(going):
            break
        arrived, ends = walk(
            logits[going], layers, labels[going], weight=weight, max_steps=max_steps, patience=patience
        )
        going = going[arrived]
        distance = (functional.softmax(ends, dim=1) - start[going]).abs().sum(dim=1)
        closer = distance < nearest[going]
        best[going[closer]], nearest[going[closer]] = ends[closer], distance[closer]
    after, _ = attack_and_gradient(functional.softmax(best, dim=1), layers)
    return best, nearest, (after.sigmoid() - 0.5).abs() < (surety.sigmoid() - 0.5).abs()


def walk(
    logits: Tensor, layers: Layers, labels: Tensor, *, weight: float, max_steps: int, patience: int
) -> tuple[Tensor, Tensor]:
    """Return which queries arrive (n,) bool, and where (arrived, classes).

    A query gives up after `max_steps`, or after `patience` steps in which the attack came no nearer to 1/2.
    """
    rows, z, start = torch.arange(len(logits), device=logits.device), logits, functional.softmax(logits, dim=1)
    lowest = torch.full_like(logits[:, 0], torch.inf)
    origin, idle = torch.zeros_like(lowest), torch.zeros_like(labels)
    ends, arrived = logits.clone(), torch.zeros_like(labels, dtype=torch.bool)
    for _ in range(max_steps + 1):
        gradient, surety, holds = objective(z, start, layers, labels, weight=weight)
        origin = torch.where(origin == 0, surety.sign(), origin)
        there = (surety * origin <= 0) & holds
        idle = torch.where(surety.abs() < lowest, 0, idle + 1)
        lowest = torch.minimum(lowest, surety.abs())
        done = there | (idle > patience)
        if bool(done.any()):
            ends[rows[there]], arrived[rows[there]] = z[there], True
            on = (~done).nonzero()[:, 0]
            rows, z, gradient, start, labels, origin, idle, lowest = (
                each.index_select(0, on) for each in (rows, z, gradient, start, labels, origin, idle, lowest)
            )
            if not len(rows):
                break
        length = gradient.norm(dim=1, keepdim=True).clamp_min(torch.finfo(z.dtype).tiny)
        z = z - STEP * gradient / length
    return arrived, ends[arrived]


def objective(
    z: Tensor, start: Tensor, layers: Layers, labels: Tensor, *, weight: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradient in z of what walks descend, the attack's logit, and whether the label l is still the largest.

        |attack(sorted softmax(z))| + 10 relu(max over j != l of z_j - z_l) + weight ||softmax(z) - start||_1

    z, start: (n, classes); labels: (n,).
    """
    p = functional.softmax(z, dim=1)
    surety, slope = attack_and_gradient(p, layers)
    slope = surety.sign()[:, None] * slope + weight * (p - start).sign()
    gradient = p * (slope - (p * slope).sum(dim=1, keepdim=True))
    own = z.gather(1, labels[:, None])
    other, rival = z.scatter(1, labels[:, None], -torch.inf).max(dim=1, keepdim=True)
    beaten = LABEL_WEIGHT * (other > own).to(z.dtype)
    gradient = gradient.scatter_add(1, rival, beaten).scatter_add(1, labels[:, None], -beaten)
    return gradient, surety, (other < own)[:, 0]


def attack_and_gradient(p: Tensor, layers: Layers) -> tuple[Tensor, Tensor]:
    """Return the attack's logit (n,) for confidences in any order, and its gradient in them (n, classes)."""
    signal, order = p.sort(dim=1, descending=True)
    active = []
    for matrix, bias in layers[:-1]:
        signal = torch.addmm(bias, signal, matrix.T)
        active.append(signal > 0)
        signal = signal.clamp_min(0)
    matrix, bias = layers[-1]
    surety = torch.addmm(bias, signal, matrix.T)[:, 0]
    gradient = matrix.expand(len(p), -1)
    for (matrix, _), on in zip(layers[-2::-1], reversed(active), strict=True):
        gradient = (gradient * on) @ matrix
    return surety, torch.empty_like(p).scatter_(1, order, gradient)
