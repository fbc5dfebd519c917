"""Inversion: the direction that calculus says, the box, each row for itself, the prior, and the best of its starts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from privbench.api import Needs
from privbench.builtin.attacks.inversion import Inversion
from privbench.contracts.evidence import Answers, Evidence
from privbench.errors import CellFailed
from privbench.learn.inference import predict
from privbench.plugins.loading import resolve
from privbench.testing.tape import one_by_one, taped

CLASSES, SHAPE = 4, (5, 6, 3)
PIXELS = int(np.prod(SHAPE))


def linear(seed=0, scale=0.3, classes=CLASSES):
    """Return a linear softmax model of images, and its weights as (classes, channels, height, width)."""
    height, width, channels = SHAPE
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(classes, channels, height, width, generator=generator) * scale
    layer = nn.Linear(PIXELS, classes)
    with torch.no_grad():
        layer.weight.copy_(weights.flatten(1))
        layer.bias.zero_()
    return nn.Sequential(nn.Flatten(), layer).eval(), weights


def evidence(model, needs, shape=SHAPE, classes=CLASSES, seed=0):
    asked = []

    def query(_shadow, x):
        asked.append(x)
        return predict(model, x, device="cpu")

    labels = np.zeros(1, dtype=np.int64)
    answers = Answers(lambda: np.zeros((1, 1, classes), dtype=np.float32), labels)
    x = np.zeros((1, *shape), dtype=np.float32)
    found = Evidence(needs, labels, answers, classes=classes, x=x, query=query, model=lambda: model, seed=seed)
    return found, asked


def invert(attack, model, classes=range(CLASSES), **options):
    found, asked = evidence(model, attack.needs, **options)
    return attack.invert(found, np.array(list(classes))), asked


@pytest.mark.parametrize("loss", ["cross-entropy", "confidence"])
@pytest.mark.parametrize("access", ["white-box", "black-box"])
def test_the_first_step_of_a_linear_model_is_the_closed_form(access, loss):
    from privbench.builtin.attacks.mi_face import BlackBox, WhiteBox

    model, w = linear()
    x = torch.rand(CLASSES, 3, 5, 6, generator=torch.Generator().manual_seed(1))
    label = torch.arange(CLASSES)
    with torch.no_grad():
        p = model(x).softmax(dim=1)
    rising = w[label] - torch.einsum("bj,jchw->bchw", p, w)  # of log p_c; times p_c: of p_c
    expected = -rising if loss == "cross-entropy" else -rising * p[label, label].view(-1, 1, 1, 1)
    slope = WhiteBox(model, loss) if access == "white-box" else BlackBox(model, loss, 0.01, None)
    with torch.no_grad():
        log_p, found = slope(x, label)
    torch.testing.assert_close(log_p, p[label, label].log())
    torch.testing.assert_close(found, expected, atol=2e-6 if access == "white-box" else 2e-3, rtol=1e-4)
    assert slope.queries == CLASSES * (1 if access == "white-box" else 1 + 2 * PIXELS)


def test_random_directions_have_the_gradient_as_their_mean():
    from privbench.builtin.attacks.mi_face import BlackBox, WhiteBox

    model, _ = linear()
    x, label = torch.full((2, 3, 5, 6), 0.5), torch.tensor([0, 1])
    x[0] = 0  # at the edge of the box, where differences are one-sided
    generator, k = torch.Generator().manual_seed(0), 40_000
    slope = BlackBox(
        model, "cross-entropy", 0.01, lambda: torch.randint(0, 2, (k, 3, 5, 6), generator=generator) * 2.0 - 1
    )
    with torch.no_grad():
        _, found = slope(x, label)
    _, exact = WhiteBox(model, "cross-entropy")(x, label)
    error = (found - exact).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1)
    assert error.max() < 2 * (PIXELS / k) ** 0.5
    assert error.min() > 0.2 * (PIXELS / k) ** 0.5  # it is an estimate, as its docstring says


def test_a_step_stays_in_the_box():
    attack = Inversion(lr=1000.0, alpha=1, restarts=2, gamma=1.0, tv=0.0)
    found, _ = invert(attack, linear()[0])
    assert set(np.unique(found.images)) <= {0.0, 0.5, 1.0}  # and 0.5 only where a start was best


def test_no_query_leaves_the_box():
    _, asked = invert(Inversion(access="black-box", alpha=5, restarts=3, directions=4, radius=0.2), linear()[0])
    assert min(x.min() for x in asked) >= 0
    assert max(x.max() for x in asked) <= 1
    assert asked[0].shape[1:] == SHAPE


def test_it_finds_images_of_which_the_target_is_sure_and_says_how_sure():
    model, _ = linear(scale=1.0)
    found, _ = invert(Inversion(gamma=0.95, restarts=2), model)
    p = torch.from_numpy(predict(model, found.images, device="cpu")).softmax(dim=1).numpy()
    np.testing.assert_allclose(found.confidence, p[np.arange(CLASSES), np.arange(CLASSES)], rtol=1e-5)
    assert found.confidence.min() > 0.9
    assert found.images.dtype == np.float32
    assert found.images.shape == (CLASSES, *SHAPE)


@pytest.mark.parametrize("access", ["white-box", "black-box"])
def test_rows_that_stop_by_themselves_are_as_if_run_one_by_one(access):
    attack = Inversion(access=access, gamma=0.9, restarts=3, alpha=300, beta=20, directions=8)
    model, _ = linear(scale=1.0)
    together, _ = invert(attack, model)
    alone = [invert(attack, model, [label])[0] for label in range(CLASSES)]
    np.testing.assert_allclose(together.images, np.concatenate([each.images for each in alone]), atol=2e-4)
    assert together.queries == sum(each.queries for each in alone)
    assert len({each.queries for each in alone}) > 1  # they did stop at different steps


class ByRow(nn.Module):
    """A linear softmax model that works on each image by itself, so that bits do not depend on the batch."""

    def __init__(self):
        super().__init__()
        self.register_buffer("weights", linear(scale=1.0)[1])

    def forward(self, x):
        return (x[:, None] * self.weights).sum(dim=(2, 3, 4))


DESCENTS = [{}, {"loss": "confidence", "tv": 0.0}, {"alpha": 25}]


@pytest.mark.parametrize("options", DESCENTS)
def test_replayed_steps_equal_steps(options, device):
    attack = Inversion(**{"gamma": 0.9, "restarts": 3, "alpha": 300, "beta": 20, **options})
    with one_by_one(as_recorded=True):
        plain, _ = invert(attack, ByRow().to(device))
    with taped(device) as tape:
        replayed, _ = invert(attack, ByRow().to(device))
    np.testing.assert_array_equal(replayed.images, plain.images)
    np.testing.assert_array_equal(replayed.confidence, plain.confidence)
    assert replayed.queries == plain.queries
    assert tape.replayed > 0
    assert not tape.refused


@pytest.mark.parametrize("options", DESCENTS)
def test_each_row_ends_where_it_does_when_those_that_are_done_leave_late(options):
    attack = Inversion(**{"gamma": 0.9, "restarts": 3, "alpha": 300, "beta": 20, **options})
    at_once, _ = invert(attack, ByRow())
    with one_by_one(as_recorded=True):
        late, _ = invert(attack, ByRow())
    np.testing.assert_array_equal(late.images, at_once.images)
    np.testing.assert_array_equal(late.confidence, at_once.confidence)
    assert late.queries == at_once.queries


def test_nets_are_inverted_by_replayed_steps(device):
    """Through convolutions and the statistics of a BatchNorm, which stay as they are."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(48, CLASSES))
    net, attack = net.eval().to(device), Inversion(restarts=2, alpha=60)
    before = [tensor.tolist() for tensor in net.state_dict().values()]
    with one_by_one(as_recorded=True):
        plain, _ = invert(attack, net)
    with taped(device) as tape:
        replayed, _ = invert(attack, net)
    np.testing.assert_array_equal(replayed.images, plain.images)
    assert [tensor.tolist() for tensor in net.state_dict().values()] == before
    assert tape.replayed > 0
    assert not tape.refused


def test_answers_alone_are_asked_for_one_step_after_another(caplog):
    attack = Inversion(access="black-box", alpha=20, restarts=1, directions=5)
    plain, _ = invert(attack, ByRow())
    with taped() as tape:
        replayed, _ = invert(attack, ByRow())
    np.testing.assert_array_equal(replayed.images, plain.images)
    assert replayed.queries == plain.queries
    assert tape.replayed == 0
    assert "inversion: each step is launched by itself" in caplog.text


def test_queries_are_counted_to_the_last_one():
    attack = Inversion(access="black-box", alpha=7, gamma=1.0, restarts=2, directions=5, tv=0.0)
    found, asked = invert(attack, linear()[0])
    assert found.queries == sum(map(len, asked)) == CLASSES * 2 * (7 + 1) * (1 + 2 * 5)


def test_a_row_is_done_when_nothing_got_better_for_beta_steps():
    flat, _ = linear(scale=0.0)
    found, _ = invert(Inversion(beta=13, restarts=1), flat)
    assert found.queries == CLASSES * (13 + 1)  # the start is better than nothing, 13 steps are no better than it
    assert not found.images.any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (6, 1), (8, 8)])
def test_the_rise_of_total_variation_is_the_gradient_that_autograd_gives(shape):
    from privbench.builtin.attacks.mi_face import rise_of_variation, total_variation

    levels = torch.Generator().manual_seed(0)
    x = (torch.randint(4, (3, 2, *shape), generator=levels) / 4).requires_grad_()  # with neighbours that are equal
    (want,) = torch.autograd.grad(total_variation(x).sum(), x)
    assert torch.equal(rise_of_variation(x.detach()), want)


def test_total_variation_by_hand():
    from privbench.builtin.attacks.mi_face import total_variation

    one, two = torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    np.testing.assert_array_equal(total_variation(torch.stack([one, two])[:, None]), [2.0, 4.0])
    np.testing.assert_array_equal(total_variation(torch.stack([one, two])[None]), [6.0])  # over channels


def test_the_prior_makes_images_smoother():
    from privbench.builtin.attacks.mi_face import total_variation

    model, _ = linear(scale=1.0)
    rough, smooth = (invert(Inversion(tv=tv, restarts=2, alpha=200), model)[0].images for tv in (0.0, 0.05))
    rough, smooth = (total_variation(torch.from_numpy(x).permute(0, 3, 1, 2)) for x in (rough, smooth))
    assert (smooth < rough).all()


def test_the_best_of_more_starts_costs_no_more():
    from privbench.builtin.attacks.mi_face import total_variation

    def cost(restarts):
        found, _ = invert(Inversion(restarts=restarts, alpha=20, tv=0.01), model)
        variation = total_variation(torch.from_numpy(found.images).permute(0, 3, 1, 2)).numpy()
        return -np.log(found.confidence) + 0.01 * variation

    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, 16), nn.Tanh(), nn.Linear(16, CLASSES)).eval()
    one, two, eight = cost(1), cost(2), cost(8)
    assert (two <= one + 1e-6).all()
    assert (eight <= two + 1e-6).all()
    assert (eight < one - 1e-3).any()


def test_a_class_has_starts_of_its_own_whatever_else_is_asked():
    def starts_of(*classes):
        """What the model is asked first: (classes * restarts, channels, height, width)."""
        asked, (model, _) = [], linear()
        model.register_forward_pre_hook(lambda _model, inputs: asked.append(inputs[0].detach().numpy().copy()))
        invert(Inversion(restarts=5, alpha=1), model, classes)
        return asked[0]

    starts = starts_of(2)
    assert starts.shape == (5, 3, 5, 6)
    assert starts.dtype == np.float32
    assert not starts[0].any()
    assert (starts[1] == 0.5).all()
    assert len(np.unique(starts[2:])) > 100
    both = starts_of(3, 2)
    np.testing.assert_array_equal(starts, both[5:])
    assert (starts[2:] != both[2:5]).any()


def test_overconfidence_stops_the_papers_loss_and_not_the_other():
    model, _ = linear(scale=1.0)
    with torch.no_grad():
        model[1].bias[0] = 60.0  # sure of class 0, whatever it sees
    paper, _ = invert(resolve("attack", "inversion:preset=paper"), model, [1])
    ours, _ = invert(Inversion(restarts=1, tv=0.0, alpha=50), model, [1])
    assert not paper.images.any()
    assert ours.images.any()


def test_more_rows_than_a_chunk_holds_are_the_same(monkeypatch):
    attack, model = Inversion(restarts=3, alpha=30), linear()[0]
    whole, _ = invert(attack, model)
    monkeypatch.setattr("privbench.builtin.attacks.inversion.CHUNK", 5)
    pieces, _ = invert(attack, model)
    np.testing.assert_allclose(whole.images, pieces.images, atol=1e-5)


def test_the_model_is_left_as_it_was():
    model, _ = linear()
    model.train()
    model[1].weight.requires_grad_(False)
    invert(Inversion(restarts=1, alpha=3), model)
    assert model.training
    assert not model[1].weight.requires_grad
    assert model[1].bias.requires_grad
    assert model[1].bias.grad is None


def test_a_step_runs_where_its_tensors_are():
    from privbench.builtin.attacks.mi_face import Descent, WhiteBox, start, step

    with torch.device("meta"):
        model = nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, CLASSES))
        rows = start(torch.empty(6, 3, 5, 6), torch.zeros(6, dtype=torch.int64))
    how = Descent(alpha=1, beta=1, gamma=0.9, lr=0.1, tv=0.1)
    after = step(rows, *WhiteBox(model, "confidence")(rows.x, rows.label), how)
    assert {each.device.type for each in after} == {"meta"}
    assert [each.dtype for each in after] == [each.dtype for each in rows]


def test_what_cannot_be_inverted_says_so():
    attack = Inversion()
    table, _ = evidence(nn.Linear(7, CLASSES), attack.needs, shape=(7,))
    with pytest.raises(CellFailed, match="makes images, but this task's inputs are tables of 7 features"):
        attack.reconstruct(table, np.arange(CLASSES))
    broken, _ = linear()
    with torch.no_grad():
        broken[1].bias.fill_(np.nan)
    with pytest.raises(CellFailed, match="answers NaN or infinity"):
        invert(Inversion(restarts=1, alpha=2), broken)


def test_each_access_needs_no_more_than_it_takes():
    assert Inversion().needs == Needs(answers="none", model=True)
    assert Inversion(access="black-box").needs == Needs(query=True)
