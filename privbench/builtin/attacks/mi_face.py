"""MI-Face: gradient descent on inputs towards the training data of a class (Fredrikson et al. 2015).

Fredrikson, Jha, Ristenpart: Model Inversion Attacks that Exploit Confidence Information, CCS 2015, Algorithm 1. Here
many rows, each with one class and one start, descend in one batch; each stops independently.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from privbench.errors import CellFailed
from privbench.learn import Steps, exact, recorded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Loss: TypeAlias = Literal["cross-entropy", "confidence"]

SWEEP = 10  # replayed steps between checks for finished rows, for each of which a card would wait
QUERIES = 1 << 13  # inputs per query to a black box


@dataclass(frozen=True)
class Descent:
    """The settings of a descent; see the options of `Inversion`."""

    alpha: int
    beta: int
    gamma: float
    lr: float
    loss: Loss = "cross-entropy"
    tv: float = 0.0


class Rows(NamedTuple):
    """The state of the descents, one class and one start per row; all tensors begin with the rows."""

    index: Tensor
    """(b,) int64: the original index of the row."""
    label: Tensor
    """(b,) int64: the class to reconstruct."""
    x: Tensor
    """(b, channels, height, width) float32 in [0, 1]: the current image."""
    best: Tensor
    """The image with the lowest cost so far."""
    cost: Tensor
    """(b,) float32: the cost there, without the constant 1 of 1 - p_c."""
    log_p: Tensor
    """(b,) float32: log p_c there."""
    stale: Tensor
    """(b,) int64: steps since the lowest cost."""
    done: Tensor
    """(b,) bool: the descent has ended."""


class Slope(Protocol):
    """The target's confidences and loss gradients at given inputs."""

    queries: int
    """Number of queries to the target so far; a gradient counts as one."""
    eager: str
    """The reason why its calls cannot be recorded (privbench.learn.steps); empty if they can."""

    def __call__(self, x: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Return log p_label (b,), and the gradient of the loss (b, channels, height, width)."""
        ...


def start(x: Tensor, label: Tensor) -> Rows:
    """Return rows at their start images: x (b, channels, height, width) in [0, 1], label (b,)."""
    zeros = torch.zeros_like(label)
    unknown = torch.full(label.shape, math.inf, device=x.device)
    return Rows(torch.arange(len(label), device=x.device), label, x, x, unknown, -unknown, zeros, zeros.bool())


def step(rows: Rows, log_p: Tensor, slope: Tensor, how: Descent) -> Rows:
    """Return the rows after one step, given log p_c and the gradient of the loss at the current images.

    A row is done when p_c >= gamma, or when the cost has not fallen for beta steps; then it does not change any more.
    """
    cost = loss_of(log_p, how.loss)
    if how.tv:
        variation, rising = total_variation(rows.x), rise_of_variation(rows.x)
        cost, slope = cost + how.tv * variation, slope + how.tv * rising
    better = (cost < rows.cost) & ~rows.done
    stale = (rows.stale + 1).masked_fill(better, 0)
    done = rows.done | (log_p >= math.log(how.gamma)) | (stale >= how.beta)
    return rows._replace(
        x=torch.where(_wide(done), rows.x, (rows.x - how.lr * slope).clamp(0, 1)),
        best=torch.where(_wide(better), rows.x, rows.best),
        cost=torch.where(better, cost, rows.cost),
        log_p=torch.where(better, log_p, rows.log_p),
        stale=stale,
        done=done,
    )


def descend(slope: Slope, rows: Rows, how: Descent) -> Rows:
    """Return the rows, in their original order, when all are done or after alpha steps.

    Rows that are done leave the batch: immediately, or, if steps are replayed, when half of the batch is done. Raises
    CellFailed if the target's predictions are not finite at some input.
    """
    ended, index, before = list[Rows](), rows.index, slope.queries
    replayed = recorded(index.device) and not slope.eager
    sweep = SWEEP if replayed else 1
    rows, asked = Rows(*(each.clone() for each in rows)), torch.zeros_like(index[:1])

    def one(_step: float) -> None:
        asked.add_((~rows.done).sum())
        for old, new in zip(rows, step(rows, *slope(rows.x, rows.label), how), strict=True):
            old.copy_(new)

    steps, ticks = Steps(index.device, "inversion", eager=slope.eager), torch.zeros(sweep, device=index.device)
    left = how.alpha + 1  # the last one only evaluates the result of the step before it
    while left and len(rows.x):
        taken = min(sweep, left)
        left -= taken
        steps.run(one, ticks[:taken], phase=len(rows.x))
        done = int(rows.done.sum())
        if done and (2 * done >= len(rows.x) or not replayed):
            ended.append(_those(rows, rows.done))
            rows = _those(rows, ~rows.done)
    if replayed:  # the slope counts the calls in Python, including rows that are done
        slope.queries = before + int(asked)
    ended.append(rows)
    every = Rows(*map(torch.cat, zip(*ended, strict=True)))
    order = torch.empty_like(index)
    order[every.index] = index
    every = _those(every, order)
    if not bool(every.cost.isfinite().all()):
        raise CellFailed("inversion: the model answers NaN or infinity to images in [0, 1].")
    return every


@contextlib.contextmanager
def lent(model: nn.Module | None) -> Iterator[torch.device]:
    """Yield the model's device (the CPU without a model), with the model in eval mode and float32 precision inside."""
    tensors = itertools.chain(model.parameters(), model.buffers()) if model is not None else ()
    device = next((tensor.device for tensor in tensors), torch.device("cpu"))
    mode = model is not None and model.training
    if model is not None:
        model.eval()
    try:
        with torch.autocast(device.type, enabled=False), exact(device):
            yield device
    finally:
        if model is not None:
            model.train(mode)


def loss_of(log_p: Tensor, loss: Loss) -> Tensor:
    """Return -p_c, which is 1 - p_c without its constant, or -log p_c.

    Without the constant, float32 distinguishes 1e-20 from 2e-20: a model that is certain of another class still has a
    gradient.
    """
    return -log_p if loss == "cross-entropy" else -log_p.exp()


def total_variation(x: Tensor) -> Tensor:
    """Return (b,): the sum of absolute differences between vertical and horizontal neighbours, over all channels."""
    return x.diff(dim=2).abs().sum(dim=(1, 2, 3)) + x.diff(dim=3).abs().sum(dim=(1, 2, 3))


def rise_of_variation(x: Tensor) -> Tensor:
    """Return the gradient of each row's total variation, of the shape of x: integers, bit for bit autograd's."""
    down, across = x.diff(dim=2).sign(), x.diff(dim=3).sign()
    rising = torch.zeros_like(x)
    rising[:, :, 1:] += down
    rising[:, :, :-1] -= down
    rising[:, :, :, 1:] += across
    rising[:, :, :, :-1] -= across
    return rising


class WhiteBox:
    """The slope by back-propagation to the input alone, without changes to the gradients of the model's parameters."""

    eager = ""

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        self._model, self._loss = model, loss
        self.queries = 0

    def __call__(self, x: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Return log p_label, and the gradient of the loss."""
        self.queries += len(x)
        log_p, rising = _with_gradient(lambda at: log_confidence(self._model(at), label), x)
        return log_p, -rising if self._loss == "cross-entropy" else -rising * _wide(log_p.exp())


class BlackBox:
    """The slope from predictions alone: finite differences within [0, 1], along pixels or along random directions.

    query: (m, channels, height, width) -> logits (m, classes)
    draw: () -> (k, channels, height, width) of -1 and 1, the directions of one step, the same for all rows (Spall's
        SPSA, averaged over k); None: each pixel separately

    Central differences are exact except for curvature, and one-sided at the boundary of [0, 1]. The estimate from
    random directions is unbiased but noisy: with k directions, for d pixels, its error is about sqrt(d / k) times as
    long as the gradient.
    """

    eager = "the target is asked from the CPU"

    def __init__(
        self, query: Callable[[Tensor], Tensor], loss: Loss, radius: float, draw: Callable[[], Tensor] | None
    ) -> None:
        self._query, self._loss, self._radius, self._draw = query, loss, radius, draw
        self.queries = 0

    def __call__(self, x: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Return log p_label, and the estimated gradient of the loss."""
        log_p = self._ask(x, label)
        if self._draw is None:
            pixels = x[0].numel()
            signs, scale = torch.eye(pixels, device=x.device).view(pixels, *x.shape[1:]), 1.0
        else:
            signs = self._draw()
            scale = 1 / len(signs)
        low, high = (x - self._radius).clamp(0, 1), (x + self._radius).clamp(0, 1)
        rising = torch.zeros_like(x)
        for some in signs.split(max(1, QUERIES // (2 * len(x)))):
            sign = some[:, None]
            up = torch.where(sign > 0, high, torch.where(sign < 0, low, x))
            down = torch.where(sign > 0, low, torch.where(sign < 0, high, x))
            both = self._ask(torch.cat([up, down]).flatten(0, 1), label.repeat(2 * len(some)))
            change = loss_of(both, self._loss).view(2, len(some), len(x))
            rising += torch.einsum("kb,kchw->bchw", change[0] - change[1], some)
        return log_p, scale * rising / (high - low)

    def _ask(self, x: Tensor, label: Tensor) -> Tensor:
        self.queries += len(x)
        return log_confidence(self._query(x), label)


def log_confidence(logits: Tensor, label: Tensor) -> Tensor:
    """Return log p_label, (b,) float32."""
    return -functional.cross_entropy(logits.float(), label, reduction="none")


def _with_gradient(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """Return a function's values (b,) at x, and their gradients with respect to x."""
    with torch.enable_grad():
        at = x.detach().requires_grad_()
        values = function(at)
        (gradient,) = torch.autograd.grad(values.sum(), at)
    return values.detach(), gradient


def _wide(each: Tensor) -> Tensor:
    return each.view(-1, 1, 1, 1)


def _those(rows: Rows, which: Tensor) -> Rows:
    return Rows(*(each[which] for each in rows))
