"""Training loop of classifiers.

    model = train(task, examples, ctx)                                  # cross-entropy, the task's recipe
    model = train(task, examples, ctx, loss=my_loss)                    # my_loss(logits, labels, epoch) -> scalar
    model = train(task, examples, ctx, targets=soft)                    # soft labels (n, classes)
    model = train(task, examples, ctx, objective=mine)                  # mine(model, inputs, labels, epoch) -> scalar

`train` is a function to call, not a framework to extend: a defense that consists of a loss takes about fifteen lines.
The data are tensors on the device, images as uint8 until they are in a batch; there is no loader, no Python per
example, and no synchronisation with the device more than once per epoch. Random numbers are drawn on the CPU, an epoch
at a time, so that every device gets the same batches; global generators are neither read nor changed. On a card the
steps are replayed as a CUDA graph; steps.py states the requirements for a loss.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from privbench.errors import BadOption, DataError, Diverged
from privbench.learn import augmentation, batches, lanes
from privbench.learn.drawing import lent
from privbench.learn.inference import Normalised, as_float, classifier, exact, take, to_inputs
from privbench.learn.optimisers import optimizer
from privbench.learn.steps import Steps, rates
from privbench.seeds import derive

if TYPE_CHECKING:
    from privbench.contracts.context import Context
    from privbench.contracts.recipe import Recipe
    from privbench.contracts.task import Blueprint
    from privbench.data.dataset import Examples
    from privbench.learn.optimisers import Optimiser, Rate

Loss: TypeAlias = Callable[[Tensor, Tensor, int], Tensor]
"""(float32 logits (b, classes), labels (b,) int64 or soft labels (b, classes), epoch from 0) -> scalar."""
Objective: TypeAlias = Callable[..., Tensor]
"""(model, float32 inputs (b, ...) with images in [0, 1], targets as for a Loss, epoch from 0, and a row of each table
of random numbers) -> scalar."""
Draws: TypeAlias = Callable[[int, Sequence[int]], Sequence[Tensor]]
"""(epoch from 0, sizes of its batches) -> tables on the CPU, with a row for each step."""
Stop: TypeAlias = Callable[[nn.Module, int], bool]
"""(model, completed epoch from 0) -> whether it was the last."""
Phase: TypeAlias = Callable[[int], Hashable]
"""(epoch from 0) -> a value on which a loss or an objective depends: `lambda epoch: epoch % 2` for the parity."""

STANDARDISE_ONCE = 1 << 28  # bytes: a quarter of a gigabyte of float32 inputs is small beside torch itself
REPORT_SECONDS = 0.2
AHEAD = 1 << 16
"""Rows that are drawn, and whose losses are checked, together on a card; on a CPU those of an epoch."""


def cross_entropy(logits: Tensor, targets: Tensor, _epoch: int = 0) -> Tensor:
    """Return the mean cross-entropy with labels (b,) or soft labels (b, classes)."""
    return functional.cross_entropy(logits, targets)


def step(
    net: nn.Module,
    optimiser: Optimiser,
    inputs: Tensor,
    targets: Tensor,
    rate: Rate,
    *,
    loss: Loss = cross_entropy,
    objective: Objective | None = None,
    epoch: int = 0,
    drawn: Sequence[Any] = (),
    autocast: contextlib.AbstractContextManager[Any] | None = None,
) -> Tensor:
    """Take one optimisation step with a learning rate and return its loss, detached and on the device.

    A loss gets float32 logits; an objective calls the network itself, under autocast.
    """
    with autocast or contextlib.nullcontext():
        answer = net(inputs) if objective is None else objective(net, inputs, targets, epoch, *drawn)
    value = loss(answer.float(), targets, epoch) if objective is None else answer
    for parameter in optimiser.parameters:
        parameter.grad = None
    value.backward()
    optimiser.step([parameter.grad for parameter in optimiser.parameters], rate)
    return value.detach()


def train(
    task: Blueprint,
    examples: Examples,
    ctx: Context,
    *,
    loss: Loss = cross_entropy,
    objective: Objective | None = None,
    targets: Tensor | None = None,
    recipe: Recipe | None = None,
    drop_last: bool = False,
    stop: Stop | None = None,
    phase: Phase | None = None,
    draws: Draws | None = None,
) -> nn.Module:
    """Train the task's model on examples, and return it on the context's device in eval mode.

    loss: (float32 logits, targets, epoch from 0) -> scalar
    objective: (model, inputs, targets, epoch) -> scalar, instead of a loss, if it needs the inputs or the inside of the
        model; it runs in the model's reduced precision, if any
    targets: soft labels (n, classes) instead of `examples.y`
    recipe: instead of the task's
    drop_last: skip an incomplete last batch, if the loss needs the mean of many examples
    stop: (model in training mode, epoch from 0) -> whether to end after this epoch; the schedule is that of the whole
        recipe
    phase: (epoch) -> the value on which the loss or the objective depends, by default the epoch: on a card the steps
        are recorded again when it changes
    draws: the random numbers of an objective, for an epoch at a time: it gets a row of each table, which on a CPU is a
        number if the table has one dimension

    There is no model selection: the weights are those of the last epoch. Raises Diverged for a non-finite loss or
    weight, BadOption for a recipe that does not suit the task, DataError for labels that do not.
    """
    recipe = recipe or task.recipe
    device = torch.device(ctx.device)
    with ctx.seeded("init"):
        model = classifier(task)
    _check(task, recipe, model, examples, targets)
    model.fit(examples.x)
    model.to(memory_format=_layout(model)).to(device).train()
    labels = torch.tensor(examples.y) if targets is None else targets.float()
    own = torch.Generator(device).manual_seed(derive(ctx.seed, *ctx.purpose, "dropout"))
    lanes.check(model)
    # Seeded for third-party layers, of which there are none in a lane: ours use a generator of this training.
    third_party = contextlib.nullcontext() if lanes.inside() else ctx.seeded("train")
    with third_party, exact(device), lent(model, own):
        inputs = to_inputs(examples.x).to(device)
        fixed = None if examples.augment is None else torch.from_numpy(~examples.augment)
        _fit(
            model,
            inputs,
            labels.to(device),
            ctx,
            loss=loss,
            objective=objective,
            recipe=recipe,
            drop_last=drop_last,
            stop=stop,
            fixed=fixed,
            phase=phase,
            draws=draws,
            generator=own,
        )
    return model.to(memory_format=torch.contiguous_format).eval()


def _fit(
    model: Normalised,
    inputs: Tensor,
    targets: Tensor,
    ctx: Context,
    *,
    loss: Loss,
    recipe: Recipe,
    drop_last: bool,
    objective: Objective | None = None,
    stop: Stop | None = None,
    fixed: Tensor | None = None,
    phase: Phase | None = None,
    draws: Draws | None = None,
    generator: torch.Generator | None = None,
) -> None:
    """Run all epochs.

    fixed: (n,) bool on the CPU, the examples that are not augmented
    """
    device, drawing = inputs.device, ctx.generator("batches")
    if recipe.copies:
        inputs = augmentation.static(inputs, recipe, drawing, fixed)
        targets = targets.repeat(recipe.copies, *(1 for _ in targets.shape[1:]))
    if len(inputs) == 1:  # a repeated example has the same mean gradient, and is enough for BatchNorm
        inputs, targets = torch.cat([inputs, inputs]), torch.cat([targets, targets])
        fixed = None if fixed is None else torch.cat([fixed, fixed])
    dynamic = augmentation.augments(recipe) and not recipe.copies
    net: nn.Module = model
    once = not dynamic and objective is None and 4 * inputs.numel() <= STANDARDISE_ONCE
    if once:  # the same bits, without repeating it in every step
        inputs, net = model.standardise(as_float(inputs)), model.net
    sizes = batches.batch_sizes(len(inputs), recipe.batch_size, drop_last=drop_last)
    optimiser, autocast = optimizer(net, recipe), _autocast(recipe, device)
    total, epoch, reported = torch.zeros((), device=device), 0, 0.0
    phase = phase or _phase(loss, objective)

    def one(rate: Rate, *row: Any) -> None:
        rows, drawn = row[: 1 + dynamic], row[1 + dynamic :]
        value = step(
            net,
            optimiser,
            _batch(inputs, recipe, *rows),
            targets.index_select(0, rows[0]),
            rate,
            loss=loss,
            objective=objective,
            epoch=epoch,
            drawn=drawn,
            autocast=autocast,
        )
        total.add_(value)

    steps = Steps(device, "training", generators=[] if generator is None else [generator])
    every = rates([batches.lr_at(recipe, i, len(sizes)) for i in range(recipe.epochs * len(sizes))], device)
    ahead = 1 if device.type == "cpu" else max(1, AHEAD // len(inputs))  # not to wait for the card in every epoch
    shape, changing = inputs.shape, recipe if dynamic else None
    orders = batches.orders(sizes, shape, changing, drawing, ahead=ahead, fixed=fixed, device=device)
    for epoch in range(recipe.epochs):
        total.zero_()
        lr = every[epoch * len(sizes) : (epoch + 1) * len(sizes)]
        drawn = [] if draws is None else [table.to(device) for table in draws(epoch, sizes)]
        for tables in batches.alike(sizes, next(orders), [lr], drawn):
            steps.run(one, *tables, phase=phase(epoch))
        looks = stop is not None or (epoch + 1) % ahead == 0 or epoch + 1 == recipe.epochs
        if looks and not math.isfinite(float(total)):
            raise _diverged(f"the loss of epoch {epoch + 1} of {recipe.epochs} is {float(total)}", recipe)
        if time.monotonic() - reported > REPORT_SECONDS:
            reported = time.monotonic()
            ctx.progress((epoch + 1) / recipe.epochs)
        if stop is not None and stop(model, epoch):
            break
    model.zero_grad()  # otherwise gradients would keep the memory of a recorded step
    _check_weights(model, recipe, epoch + 1)
    ctx.progress(1.0)


def _batch(inputs: Tensor, recipe: Recipe, rows: Tensor, changes: Tensor | None = None) -> Tensor:
    """Return a batch as models take it; augmented where it is said how."""
    return as_float(take(inputs, rows) if changes is None else augmentation.augment(inputs, rows, changes, recipe))


def _phase(loss: Loss, objective: Objective | None) -> Phase:
    """Return the default phase: every epoch is different."""
    return (lambda _: None) if loss is cross_entropy and objective is None else (lambda epoch: epoch)


def _layout(model: nn.Module) -> torch.memory_format:
    """Channels last makes convolutions a quarter to a half faster on CPUs, and lets GPUs use their tensor cores."""
    convolves = any(isinstance(module, nn.Conv2d) for module in model.modules())
    return torch.channels_last if convolves else torch.contiguous_format


def _autocast(recipe: Recipe, device: torch.device) -> contextlib.AbstractContextManager[Any] | None:
    able = device.type == "cuda" and torch.cuda.is_bf16_supported()
    if recipe.precision == "bfloat16" or (recipe.precision == "auto" and able):
        # Without the cache of converted weights, which replays of a recorded step would not update.
        autocast: contextlib.AbstractContextManager[Any] = torch.autocast(
            device.type, dtype=torch.bfloat16, cache_enabled=False
        )
        return autocast
    return None


def _check_weights(model: nn.Module, recipe: Recipe, epochs: int) -> None:
    if not all(bool(tensor.isfinite().all()) for tensor in model.state_dict().values()):
        raise _diverged(f"after {epochs} epochs some weights are not finite", recipe)


def _diverged(what: str, recipe: Recipe) -> Diverged:
    return Diverged(f"Training diverged: {what}; try a lower learning rate (lr={recipe.lr / 10:g}) or warmup=1.")


def _check(task: Blueprint, recipe: Recipe, model: nn.Module, examples: Examples, targets: Tensor | None) -> None:
    """Raise, in one line, errors that torch would report in many lines or, on a GPU, too late."""
    augmentation.check(recipe, task.shape)
    if recipe.batch_size == 1 and any(isinstance(module, _BatchNorm) for module in model.modules()):
        raise BadOption("batch_size=1: BatchNorm needs batches of at least 2.")
    if not len(examples):
        raise DataError("There are no examples to train on.")
    if examples.y.min() < 0 or examples.y.max() >= task.classes:
        raise DataError(f"Labels run from {examples.y.min()} to {examples.y.max()}, outside 0 to {task.classes - 1}.")
    if targets is not None and targets.shape != (len(examples), task.classes):
        raise DataError(f"Soft labels are {tuple(targets.shape)}, but must be {(len(examples), task.classes)}.")
