import pytest
import torch
from privbench_defenses.crl import CRL, center_loss, confidences, relaxed_loss
from privbench_defenses.crl_objective import Objective

from privbench.api import Blueprint, Context, Recipe
from privbench.builtin.models import build
from privbench.learn import classifier, optimizer, step, train
from privbench.testing import toy_task


@pytest.fixture
def toy():
    """A small task, its members and a context."""
    task = toy_task(epochs=3)
    data = task.load()
    shape, classes = data.shape, data.classes
    blueprint = Blueprint(task.name, task.recipe, shape, classes, lambda: task.network(shape, classes))
    return blueprint, data.role("pool"), Context(seed=1)


def weights(model):
    return b"".join(tensor.numpy().tobytes() for tensor in model.state_dict().values())


@pytest.mark.parametrize("detach", [False, True])
def test_the_centres_take_the_steps_of_sgd_beside_the_model(toy, detach):
    """As a plain loop with two optimisers, which both step after each batch."""
    task, _, ctx = toy
    options = CRL(weight=0.7, lr_center=0.3, alpha_center=0.2, detach_targets=detach)
    generator = torch.Generator().manual_seed(0)
    batches = [(torch.rand(8, *task.shape, generator=generator), torch.arange(8) % task.classes) for _ in range(6)]
    nets = []
    for _ in range(2):
        with ctx.seeded("init"):
            nets.append(classifier(task).train())
    ours, plain = nets
    objective, optimiser = Objective(options, task, ctx), optimizer(ours, Recipe(momentum=0.9, weight_decay=0.0))
    for number, (x, y) in enumerate(batches):
        step(ours, optimiser, x, y, 0.1, objective=objective, epoch=number // 2)

    recipe, seen = task.recipe, []
    centers = torch.randn(task.classes, 32, generator=ctx.generator("centres"), requires_grad=True)
    plain.net[-1].register_forward_pre_hook(lambda _layer, given: seen.append(given[0]))
    both = [
        torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9),
        torch.optim.SGD([centers], lr=0.3, momentum=recipe.momentum, weight_decay=recipe.weight_decay),
    ]
    for number, (x, y) in enumerate(batches):
        logits, relaxed = plain(x), number // 2 % 2 == 1
        c = confidences(logits, y, 1.0, detach=options.detach_targets)
        first = relaxed_loss(logits, y, c, relaxed=relaxed, alpha=options.alpha, t=options.t)
        second, _ = center_loss(seen[-1], centers[y], c, relaxed=relaxed, alpha=0.2, t=options.t_center)
        for each in both:
            each.zero_grad()
        (first + 0.7 * second).backward()
        for each in both:
            each.step()
    torch.testing.assert_close(objective.centers, centers)
    for got, want in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(got, want)


def test_without_centres_and_shrinking_training_is_that_of_the_first_loss(toy):
    def loss(logits, labels, epoch):
        c = confidences(logits, labels, 1.0, detach=True)
        return relaxed_loss(logits, labels, c, relaxed=epoch % 2 == 1, alpha=0.3, t=0.0)

    release = CRL(weight=0.0, t=0.0, alpha=0.3).fit(*toy)
    plain = train(*toy, loss=loss, drop_last=True)
    for got, want in zip(release.model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-6)


def test_parity_matters(toy):
    even, odd = (CRL(relaxed_epochs=parity, alpha=1.0).fit(*toy).model for parity in ("even", "odd"))
    assert weights(even) != weights(odd)


def test_facts(toy):
    facts = CRL().fit(*toy).facts
    assert facts.keys() == {"train_loss", "center_distance"}
    assert 0 < facts["center_distance"] < 2 / 0.05**2


@pytest.mark.parametrize("name", ["mlp", "cnn", "resnet18"])
def test_a_step_stays_on_its_device(name):
    shape, meta = (3, 32, 32), torch.device("meta")
    with meta:
        net = classifier(Blueprint("task", Recipe(), shape, 4, lambda: build(name, shape, 4)))
    task = Blueprint("task", Recipe(), shape, 4, lambda: net)
    objective, optimiser = Objective(CRL(), task, Context(device="meta")), optimizer(net, Recipe())
    x, y = torch.zeros(8, *shape, device=meta), torch.zeros(8, device=meta).long()
    for epoch in range(3):
        value = step(net, optimiser, x, y, 0.1, objective=objective, epoch=epoch)
        assert (value.device, value.shape, value.requires_grad) == (meta, (), False)
    assert objective.centers.device == meta


def test_in_reduced_precision_the_losses_are_not(toy):
    task, examples, ctx = toy
    objective = Objective(CRL(), task, ctx)
    with ctx.seeded("init"):
        net = classifier(task).train()
    x, y = torch.rand(8, *task.shape), torch.arange(8) % task.classes
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert objective(net, x, y, 0).dtype == torch.float32
    assert objective.centers.dtype == torch.float32
    assert len(examples)
