import dataclasses
import math
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from privbench.api import Blueprint, Context
from privbench.builtin.defenses.relaxloss import relax_loss
from privbench.builtin.models import build
from privbench.contracts.recipe import Recipe
from privbench.data.dataset import Examples
from privbench.errors import BadOption, DataError, Diverged
from privbench.learn import augmentation, batches, optimisers, training
from privbench.learn.batches import lr_at
from privbench.learn.inference import Normalised, as_float, classifier, predict, take, to_inputs
from privbench.learn.training import cross_entropy, step, train
from privbench.testing.tape import one_by_one, taped

SHAPES = {"mlp": (1, 8, 8), "cnn": (3, 32, 32), "mobilenet_v3_small": (3, 32, 32), "resnet18": (3, 32, 32)}


def blueprint(model="mlp", shape=(1, 8, 8), classes=4, **recipe):
    defaults = {"epochs": 2, "batch_size": 16, "lr": 0.05}
    return Blueprint("task", Recipe(**{**defaults, **recipe}), shape, classes, lambda: build(model, shape, classes))


def images(n=64, size=8, channels=1, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    return Examples(rng.integers(0, 256, (n, size, size, channels), dtype=np.uint8), rng.integers(0, classes, n))


def table(n=64, features=5):
    rng = np.random.default_rng(0)
    return Examples(rng.standard_normal((n, features), dtype=np.float32) * 50 + 7, rng.integers(0, 4, n))


def weights(model):
    return b"".join(tensor.cpu().numpy().tobytes() for tensor in model.state_dict().values())


def relaxed(logits, labels, epoch):
    return relax_loss(logits, labels, relaxed=epoch % 2 == 0, alpha=0.5)


# One step on a device without memory: a CPU tensor that strays into it raises


@pytest.mark.parametrize(("optimizer", "loss", "augmented"), [("sgd", cross_entropy, False), ("adamw", relaxed, True)])
@pytest.mark.parametrize("name", SHAPES)
def test_a_step_stays_on_its_device(name, optimizer, loss, augmented):
    shape, meta = SHAPES[name], torch.device("meta")
    recipe = Recipe(optimizer=optimizer, **({"crop": 2, "flip": 0.5, "cutout": 4} if augmented else {}))
    inputs, labels = torch.zeros((16, *shape), dtype=torch.uint8, device=meta), torch.zeros(16, device=meta).long()
    with meta:
        net = classifier(blueprint(name, shape, 4))
    optimiser = optimisers.optimizer(net, recipe)
    orders = batches.orders(
        [8, 8], inputs.shape, recipe if augmented else None, torch.Generator(), ahead=1, fixed=None, device=meta
    )
    for epoch, rows in enumerate(zip(*(drawn.split(8) for drawn in next(orders)), strict=True)):
        batch = as_float(augmentation.augment(inputs, *rows, recipe) if augmented else take(inputs, *rows))
        value = step(net, optimiser, batch, labels.index_select(0, rows[0]), 0.1, loss=loss, epoch=epoch)
        assert (value.device, value.shape, value.requires_grad) == (meta, (), False)
    assert all(parameter.grad.device == meta for parameter in net.parameters())


def test_a_stray_tensor_is_noticed():
    net = nn.Linear(3, 2, device="meta")
    optimiser = optimisers.optimizer(net, Recipe())
    with pytest.raises(RuntimeError):
        step(net, optimiser, torch.zeros(4, 3), torch.zeros(4, device="meta").long(), 0.1)


# What training does


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_it_overfits_64_random_images(model):
    examples = images()
    # With lr=0.05 the CNN is so unstable that the last bits of another number of threads lose an image now and then.
    fitted = train(blueprint(model, epochs=60, lr=0.02), examples, Context())
    assert not fitted.training
    assert (predict(fitted, examples.x, device="cpu").argmax(1) == examples.y).all()


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_it_equals_a_naive_loop(optimizer):
    task, examples, ctx = blueprint(optimizer=optimizer, epochs=3, warmup=1.0), images(50), Context(seed=3)
    recipe = task.recipe
    with ctx.seeded("init"):
        net = task.model()
    kind = torch.optim.AdamW if optimizer == "adamw" else torch.optim.SGD
    momentum = {} if optimizer == "adamw" else {"momentum": recipe.momentum}
    optimiser = kind(net.parameters(), lr=1.0, weight_decay=recipe.weight_decay, **momentum)
    x = torch.from_numpy(examples.x).permute(0, 3, 1, 2).double() / 255
    x = ((x - x.mean()) / x.std(correction=0)).float()
    y, generator, done = torch.from_numpy(examples.y), ctx.generator("batches"), 0
    for _ in range(recipe.epochs):
        order = torch.randperm(50, generator=generator)
        for rows in (order[:16], order[16:32], order[32:48], order[48:]):
            optimiser.param_groups[0]["lr"] = lr_at(recipe, done, 4)
            optimiser.zero_grad()
            functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimiser.step()
            done += 1
    fitted = train(task, examples, ctx)
    for got, want in zip(fitted.net.parameters(), net.parameters(), strict=True):
        # As a whole, since AdamW makes whole steps of gradients that are mere rounding error; 4e-6 was measured.
        assert (got - want).norm() < 2e-5 * want.norm()


def test_soft_labels_that_are_one_hot_are_labels():
    examples = images()
    soft = functional.one_hot(torch.from_numpy(examples.y), 4)
    hard, softly = (train(blueprint(), examples, Context(), targets=t) for t in (None, soft))
    for got, want in zip(softly.parameters(), hard.parameters(), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-6)


def test_standardising_once_or_in_every_step_is_the_same(monkeypatch):
    once = weights(train(blueprint("cnn"), images(), Context()))
    monkeypatch.setattr(training, "STANDARDISE_ONCE", 0)
    assert weights(train(blueprint("cnn"), images(), Context())) == once


def test_a_loss_sees_float32_logits_labels_and_the_epoch():
    seen = []

    def loss(logits, targets, epoch):
        seen.append((logits.dtype, len(logits), targets.dtype, epoch))
        return cross_entropy(logits, targets)

    train(blueprint(precision="bfloat16"), images(37), Context(), loss=loss)
    expected = [(torch.float32, n, torch.int64, epoch) for epoch in (0, 1) for n in (16, 16, 5)]
    assert seen == expected


@pytest.mark.parametrize("recipe", [{}, {"crop": 2, "flip": 0.5}, {"precision": "bfloat16"}])
def test_an_objective_that_asks_the_model_for_its_loss_is_that_loss(recipe):
    def objective(model, inputs, targets, _epoch):
        return cross_entropy(model(inputs).float(), targets)

    task = blueprint("cnn", **recipe)
    assert weights(train(task, images(), Context(), objective=objective)) == weights(train(task, images(), Context()))


def test_an_objective_sees_the_model_and_inputs_as_models_take_them():
    seen, examples = [], images(37)

    def objective(model, inputs, targets, epoch):
        seen.append((type(model), model.training, len(inputs), inputs.dtype, targets.dtype, epoch))
        assert set((255 * inputs).round().int().unique().tolist()) <= set(range(256))
        return cross_entropy(model(inputs), targets)

    train(blueprint(), examples, Context(), objective=objective)
    expected = [(Normalised, True, n, torch.float32, torch.int64, epoch) for epoch in (0, 1) for n in (16, 16, 5)]
    assert seen == expected


def test_stopping_leaves_the_weights_of_that_epoch_on_the_schedule_of_all():
    passed, asked = [], []

    def watch(model, epoch):
        asked.append(epoch)
        predict(model, images().x, device="cpu")  # as model selection does; it must not disturb the training
        passed.append(weights(model))
        return False

    task = blueprint("cnn", epochs=4, flip=0.5)
    whole = train(task, images(), Context(), stop=watch)
    assert asked == [0, 1, 2, 3]
    assert weights(whole) == passed[-1] == weights(train(task, images(), Context()))
    for last in (0, 2):
        stopped = train(task, images(), Context(), stop=lambda _model, epoch, last=last: epoch == last)
        assert weights(stopped) == passed[last]
        assert not stopped.training
    assert weights(train(blueprint("cnn", epochs=3, flip=0.5), images(), Context())) != passed[2]


def test_static_copies_are_trained_on_in_place_of_the_originals():
    seen = []

    def loss(logits, targets, epoch):
        seen.append(len(targets))
        return cross_entropy(logits, targets)

    fitted = train(blueprint(copies=3, flip=1.0, crop=2), images(20), Context(), loss=loss)
    assert sum(seen) == 2 * 60
    assert weights(fitted) != weights(train(blueprint(epochs=6), images(20), Context()))


@pytest.mark.parametrize("copies", [0, 2])
def test_only_examples_that_may_be_are_augmented(copies):
    recipe = Recipe(epochs=3, crop=2, flip=0.5, cutout=3, copies=copies, batch_size=7)
    x = images(20).x
    examples = Examples(x, np.arange(20) % 4, np.arange(20) % 3 > 0)
    task = blueprint()
    seen = []

    def build():
        net = task.model()
        net.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
        return net

    watched = dataclasses.replace(task, recipe=recipe, build=build)
    model = train(watched, examples, Context())
    originals = model.standardise(as_float(to_inputs(x)))
    batches = torch.cat(seen)
    same = (batches[:, None] - originals).abs().flatten(2).amax(2) < 1e-5
    passes = 3 * max(1, copies)
    assert same[:, ~examples.augment].sum(0).tolist() == [passes] * 7
    assert same[:, examples.augment].float().sum() < passes * 13 / 2


def test_bfloat16_changes_the_weights_but_not_their_type():
    half, full = (train(blueprint(precision=p), images(), Context()) for p in ("bfloat16", "float32"))
    assert weights(half) != weights(full)
    assert {p.dtype for p in half.parameters()} == {torch.float32}


def test_progress_ends_at_one_and_never_falls():
    done = []
    train(blueprint(), images(), Context(report=lambda fraction, _stage: done.append(fraction)))
    assert done == sorted(done)
    assert done[-1] == 1.0


# The same seed, the same bits


RECIPES = [{}, {"crop": 2, "flip": 0.5, "cutout": 3}, {"copies": 2, "flip": 0.5}]


@pytest.mark.parametrize("recipe", RECIPES, ids=["plain", "dynamic", "static"])
def test_a_seed_decides_every_bit(recipe):
    task = blueprint("cnn", **recipe)
    first, again, other = (train(task, images(), Context(seed=seed)) for seed in (1, 1, 2))
    assert weights(first) == weights(again)
    assert weights(first) != weights(other)


def test_dropout_is_seeded_and_global_generators_are_left_alone():
    def net():
        return nn.Sequential(nn.Linear(5, 8), nn.Dropout(0.5), nn.Linear(8, 4))

    task = Blueprint("t", Recipe(epochs=2, batch_size=16, flip=0), (5,), 4, net)
    before = (torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate())  # noqa: NPY002 - its absence is the test
    first = train(task, table(), Context(seed=1))
    after = (torch.get_rng_state(), np.random.get_state()[1], random.getstate())  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert (before[1] == after[1]).all()
    assert before[2] == after[2]
    torch.rand(3)
    assert weights(train(task, table(), Context(seed=1))) == weights(first)


def test_the_examples_are_left_alone():
    examples = table()
    before = examples.x.copy()
    train(Blueprint("t", Recipe(epochs=1), (5,), 4, lambda: nn.Linear(5, 4)), examples, Context())
    np.testing.assert_array_equal(examples.x, before)


# Sizes at the edge


@pytest.mark.parametrize("n", [1, 2, 17, 33])
@pytest.mark.parametrize("drop_last", [False, True])
def test_batchnorm_trains_on_any_number_of_examples(n, drop_last):
    shape = (2,)
    task = Blueprint(
        "t", Recipe(epochs=2, batch_size=16), shape, 2, lambda: nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2))
    )
    examples = Examples(np.random.default_rng(0).random((n, 2), dtype=np.float32), np.arange(n) % 2)
    assert predict(train(task, examples, Context(), drop_last=drop_last), examples.x, device="cpu").shape == (n, 2)


# Learning rates


# What cannot be trained is said in one line


def test_divergence_names_the_epoch_and_what_to_try():
    def explode(logits, targets, epoch):
        return cross_entropy(logits, targets) * (math.inf if epoch == 1 else 1)

    with pytest.raises(Diverged, match=r"the loss of epoch 2 of 3 is (inf|nan); try .*lr=0.005"):
        train(blueprint(epochs=3), images(), Context(), loss=explode)


def test_weights_that_are_not_finite_are_found_after_the_last_step():
    def steep(logits, targets, epoch):
        return 1e6 * cross_entropy(logits, targets)

    with pytest.raises(Diverged, match="some weights are not finite"):
        train(blueprint(epochs=1, batch_size=64, lr=1e38), images(), Context(), loss=steep)


@pytest.mark.parametrize(
    ("task", "examples", "targets", "error", "message"),
    [
        (blueprint(), images(0), None, DataError, "no examples"),
        (blueprint(classes=3), images(), None, DataError, "Labels run from 0 to 3, outside 0 to 2"),
        (blueprint(), images(), torch.zeros(64, 3), DataError, r"Soft labels are \(64, 3\)"),
        (blueprint("cnn", batch_size=1), images(), None, BadOption, "BatchNorm needs batches of at least 2"),
        (blueprint(crop=8), images(), None, BadOption, "crop=8"),
    ],
)
def test_unfit_requests_are_refused(task, examples, targets, error, message):
    with pytest.raises(error, match=message):
        train(task, examples, Context(), targets=targets)


def test_dynamic_augmentation_reaches_the_batches():
    same = images(1)[np.zeros(64, dtype=np.int64)]
    seen = []

    def objective(model, inputs, targets, _epoch):
        seen.append(len(torch.unique(inputs.flatten(1), dim=0)))
        return cross_entropy(model(inputs), targets)

    train(blueprint(crop=2, flip=0.5, batch_size=64), same, Context(), objective=objective)
    assert min(seen) > 1


# On a card, whose graphs a tape of operations stands for


def dependent(logits, labels, epoch):
    return cross_entropy(logits, labels) * (1 + epoch)


def asking(model, inputs, labels, _epoch):
    return cross_entropy(model(inputs + 0.1), labels)


@pytest.mark.parametrize(
    ("recipe", "options"),
    [
        ({}, {}),
        ({"optimizer": "adamw", "warmup": 1.0}, {}),
        ({"schedule": "steps", "momentum": 0.0}, {}),
        ({"schedule": "constant", "precision": "bfloat16"}, {}),
        ({"crop": 1, "flip": 0.5, "cutout": 3}, {}),
        ({"crop": 1, "flip": 0.5, "copies": 2}, {}),
        ({}, {"drop_last": True}),
        ({}, {"loss": relaxed, "phase": lambda epoch: epoch % 2}),
        ({}, {"loss": dependent}),
        ({"crop": 1}, {"objective": asking}),
        ({}, {"targets": torch.full((90, 4), 0.25)}),
        ({}, {"stop": lambda _model, epoch: epoch == 3}),
    ],
)
def test_replayed_steps_equal_steps(recipe, options, device):
    task, examples, ctx = blueprint("mlp", epochs=6, **recipe), images(90), Context(device=device)
    with one_by_one():
        plain = weights(train(task, examples, ctx, **options))
    with taped(device) as tape:
        replayed = weights(train(task, examples, ctx, **options))
    assert replayed == plain
    assert tape.replayed > 0


@pytest.mark.parametrize("name", ["cnn", "mobilenet_v3_small", "resnet18", "hivit_tiny"])
def test_replayed_steps_of_every_net_equal_steps(name, device):
    task, examples, ctx = (
        blueprint(name, (3, 32, 32), epochs=1, batch_size=3),
        images(14, 32, 3),
        Context(device=device),
    )
    with one_by_one():
        plain = weights(train(task, examples, ctx))
    with taped(device) as tape:
        replayed = weights(train(task, examples, ctx))
    assert replayed == plain
    assert tape.replayed > 0


def test_an_objective_gets_a_row_of_what_is_drawn_for_it():
    task, examples, asked, seen = blueprint(epochs=2, batch_size=32), images(80), [], []

    def draws(epoch, sizes):
        asked.append((epoch, list(sizes)))
        first = 10.0 * epoch
        return torch.arange(first, first + len(sizes)), torch.full((len(sizes), 2), first)

    def objective(model, inputs, targets, _epoch, number, pair):
        seen.append((number, pair.tolist()))
        return cross_entropy(model(inputs), targets)

    train(task, examples, Context(), objective=objective, draws=draws)
    assert asked == [(0, [32, 32, 16]), (1, [32, 32, 16])]
    assert seen == [(n, [10.0 * (n >= 10)] * 2) for n in (0, 1, 2, 10, 11, 12)]


def test_what_is_drawn_for_an_objective_is_replayed(device):
    def drawn(epoch, sizes):
        return [torch.rand(len(sizes), generator=torch.Generator().manual_seed(epoch))]

    def objective(model, inputs, targets, _epoch, weight):
        return weight * cross_entropy(model(inputs), targets)

    task, options = blueprint(epochs=5, crop=1), {"objective": objective, "draws": drawn, "phase": lambda _: None}
    with one_by_one():
        plain = weights(train(task, images(90), Context(device=device), **options))
    with taped(device) as tape:
        assert weights(train(task, images(90), Context(device=device), **options)) == plain
    assert tape.replayed > 0
    assert not tape.refused


def test_a_phase_that_hides_what_a_loss_depends_on_is_the_caller_s_fault():
    task, examples = blueprint(epochs=6), images(64)
    plain = weights(train(task, examples, Context(), loss=dependent))
    with taped():
        frozen = weights(train(task, examples, Context(), loss=dependent, phase=lambda _: 0))
    assert frozen != plain
