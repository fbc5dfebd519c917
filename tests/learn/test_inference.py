import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from privbench.api import Blueprint
from privbench.builtin.models import build
from privbench.contracts.recipe import Recipe
from privbench.data.dataset import Examples
from privbench.errors import CellFailed
from privbench.learn import inference
from privbench.learn.inference import (
    BATCH,
    Largest,
    Normalised,
    as_float,
    batch_size,
    classifier,
    mean_loss,
    predict,
    take,
    to_inputs,
)


def images(n=6, size=8, channels=3):
    return np.random.default_rng(0).integers(0, 256, (n, size, size, channels), dtype=np.uint8)


def test_images_become_channels_first_and_keep_their_type():
    x = images()
    inputs = to_inputs(x)
    assert (inputs.dtype, tuple(inputs.shape)) == (torch.uint8, (6, 3, 8, 8))
    np.testing.assert_array_equal(inputs.permute(0, 2, 3, 1).numpy(), x)
    np.testing.assert_array_equal(as_float(inputs).permute(0, 2, 3, 1).numpy(), x.astype(np.float32) / np.float32(255))


def test_tables_and_float_images_pass_unchanged():
    table = np.random.default_rng(0).standard_normal((4, 3), dtype=np.float32)
    assert as_float(to_inputs(table)).numpy().tobytes() == table.tobytes()
    assert as_float(to_inputs(images().astype(np.float32))).max() > 1


@pytest.mark.parametrize("inputs", [to_inputs(images()), to_inputs(images()).contiguous(), torch.rand(6, 4)])
def test_take_selects_and_keeps_the_layout(inputs):
    rows = torch.tensor([3, 0, 3])
    assert torch.equal(take(inputs, rows), inputs[rows])
    assert take(inputs, rows).is_contiguous() == inputs.is_contiguous()


@pytest.mark.parametrize("x", [images(3000, 4), np.random.default_rng(1).random((50, 4, 4, 3), dtype=np.float32)])
def test_images_are_standardised_per_channel(x):
    model = Normalised(nn.Identity(), (3, 4, 4))
    model.fit(x)
    out = model(as_float(to_inputs(x))).double()
    assert model.mean.shape == model.std.shape == (3, 1, 1)
    np.testing.assert_allclose(out.mean(dim=(0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(out.std(dim=(0, 2, 3), correction=0), 1, rtol=1e-5)


def test_tables_are_standardised_per_feature_and_constants_only_centred():
    x = np.random.default_rng(0).standard_normal((500, 3), dtype=np.float32) * [1, 100, 0] + [1000, 0, 0.1]
    model = Normalised(nn.Identity(), (3,))
    model.fit(x.astype(np.float32))
    out = model(torch.from_numpy(x.astype(np.float32)))
    np.testing.assert_allclose(out.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(out.std(0, correction=0), [1, 1, 0], rtol=1e-4, atol=1e-6)
    assert model.std[2] == 1


def test_one_example_only_centres():
    model = Normalised(nn.Identity(), (3, 8, 8))
    model.fit(np.full((1, 8, 8, 3), 51, dtype=np.uint8))
    assert model.std.flatten().tolist() == [1, 1, 1]
    np.testing.assert_allclose(model.mean.flatten(), 0.2, rtol=1e-6)


def test_a_classifier_begins_as_the_bare_net_and_its_statistics_are_stored():
    task = Blueprint("t", Recipe(), (3, 8, 8), 4, build=lambda: build("cnn", (3, 8, 8), 4))
    model, x = classifier(task).eval(), as_float(to_inputs(images()))
    assert torch.equal(model(x), model.net(x))
    assert {"mean", "std"} <= set(model.state_dict())


class Net(nn.Module):
    def __init__(self, *, stubborn=False):
        super().__init__()
        self.stubborn = stubborn
        self.norm, self.dropout = nn.BatchNorm2d(3), nn.Dropout(0.5)

    def train(self, mode=True):
        return super().train(mode or self.stubborn)

    def forward(self, x):
        assert x.dtype == torch.float32
        assert not torch.is_autocast_enabled("cpu")
        return self.dropout(self.norm(x)).mean(dim=(2, 3))


def test_predict_is_in_eval_mode_in_float32_and_leaves_the_model_as_it_was():
    model = Net().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = predict(model, images(), device="cpu")
    assert (logits.shape, logits.dtype) == ((6, 3), np.float32)
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    np.testing.assert_array_equal(logits, predict(model.eval(), images(), device="cpu", batch=4))
    assert not model.training


def test_a_model_that_learns_from_queries_is_found():
    with pytest.raises(CellFailed, match="changes its buffers"):
        predict(Net(stubborn=True), images(), device="cpu")


def test_convolutions_keep_their_weights_layout_and_gradient():
    model = build("cnn", (3, 8, 8), 4)
    weight = model[0].weight
    predict(model, images(), device="cpu")
    assert model[0].weight is weight
    assert weight.is_contiguous()
    model(as_float(to_inputs(images()))).sum().backward()
    assert weight.grad is not None


def test_arrays_that_are_read_only_or_strided_are_taken():
    x, reversed_ = images(), images()[::-1]
    x.flags.writeable = False
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 2)).eval()
    np.testing.assert_array_equal(
        predict(model, x[::-1], device="cpu"), predict(model, np.ascontiguousarray(reversed_), device="cpu")
    )


def test_no_examples_give_no_logits():
    assert predict(nn.Linear(3, 4), np.zeros((0, 3), np.float32), device="cpu").shape == (0, 4)


def test_mean_loss_is_the_mean_cross_entropy():
    x, y = np.random.default_rng(0).standard_normal((9, 3)).astype(np.float32), np.arange(9) % 3
    p = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
    want = -np.log(p[np.arange(9), y]).mean()
    assert mean_loss(nn.Identity(), Examples(x, y), device="cpu") == pytest.approx(want, rel=1e-6)


def test_on_a_cpu_batches_are_of_256_and_give_the_bits_of_each_batch():
    torch.manual_seed(0)
    net, x = build("cnn", (3, 8, 8), 4).eval(), images(600)
    inputs = as_float(to_inputs(x))
    with torch.inference_mode():
        want = np.concatenate([net(inputs[i : i + 256]).numpy() for i in (0, 256, 512)])
    assert predict(net, x, device="cpu").tobytes() == want.tobytes()


def batch_on_a_card(net, x):
    return batch_size(net, to_inputs(x), "cuda", lambda inputs: net(as_float(inputs)))


def test_on_a_card_thousands_are_asked_about_at_once_and_fewer_where_they_are_large():
    assert batch_on_a_card(build("mlp", (3, 8, 8), 4), images(300)) == 8192
    assert batch_on_a_card(build("cnn", (3, 32, 32), 4), images(300, 32)) == 4096
    assert batch_on_a_card(build("cnn", (3, 160, 160), 4), images(300, 160)) == BATCH
    assert batch_on_a_card(build("cnn", (3, 32, 32), 4), images(BATCH, 32)) == BATCH, "all of them are one batch"


def test_the_batch_on_a_card_follows_from_shapes_alone():
    torch.manual_seed(0)
    nets = [build("cnn", (3, 32, 32), 4).eval() for _ in range(2)]
    some = (images(300, 32), images(2000, 32), 255 - images(300, 32))
    assert len({batch_on_a_card(net, x) for net in nets for x in some}) == 1


class Functional(nn.Module):
    """Makes a large tensor without a module, and has larger weights of its own."""

    def __init__(self, factor):
        super().__init__()
        self.weight, self.factor = nn.Parameter(torch.zeros(3, 10**6)), factor

    def forward(self, x):
        wide = functional.linear(x, self.weight.view(10**6, 3)[: self.factor]).relu()
        return wide[:, :2]


@pytest.mark.parametrize("factor", [100, 10**5])
def test_what_is_made_of_an_example_counts_whoever_makes_it_and_weights_do_not(factor):
    with torch.inference_mode(), Largest(net := Functional(factor)) as largest:
        net(torch.rand(1, 3))
    assert largest.bytes == 4 * factor


def test_answers_wait_on_the_device_and_come_back_at_once(monkeypatch):
    copies = []
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: copies.append(len(tensor)) or tensor)
    x = images(600)
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 3)).eval()
    want = predict(net, x, device="cpu")
    assert copies == [600]
    monkeypatch.setattr(inference, "GATHERED", 300 * 3 * 4)
    copies.clear()
    assert predict(net, x, device="cpu").tobytes() == want.tobytes()
    assert copies == [512, 88], "those that would not fit, in parts"


def test_watching_operations_does_not_import_torchs_compiler():
    """It takes a second, in every worker of a card."""
    code = """
import sys, torch
from privbench.learn.graphs import Watch
from privbench.learn.inference import Largest
for mode in (Watch(torch.device("cpu")), Largest(torch.nn.Linear(1, 1))):
    with mode:
        torch.ones(2) + 1
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
