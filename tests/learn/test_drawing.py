import pytest
import torch
from torch import nn

from privbench.learn.drawing import Dropout, DropPath, lent


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("layer", [Dropout(0.3), DropPath(0.3)])
def test_the_mean_stays(layer):
    x = torch.ones(20_000, 3)
    with lent(layer, generator()):
        y = layer(x)
    assert y.unique().tolist() == pytest.approx([0, 1 / 0.7])
    assert y.mean().item() == pytest.approx(1, abs=0.03)  # 5 standard deviations of the mean of 20,000 examples
    assert torch.equal(layer.eval()(x), x)


def test_dropout_is_for_numbers_and_drop_path_for_examples():
    x = torch.ones(1000, 8)
    layers = nn.ModuleList([Dropout(0.5), DropPath(0.5)])
    with lent(layers, generator()):
        numbers, paths = (layer(x).bool().sum(1) for layer in layers)
    assert len(numbers.unique()) > 2
    assert set(paths.tolist()) == {0, 8}


def test_they_draw_from_what_is_lent_and_from_nothing_else():
    layer, x = Dropout(0.5), torch.ones(100)
    before = torch.get_rng_state()
    with lent(layer, generator(1)):
        one = layer(x)
    with lent(layer, generator(1)):
        assert torch.equal(layer(x), one)
    with lent(layer, generator(2)):
        assert not torch.equal(layer(x), one)
    assert torch.equal(torch.get_rng_state(), before)
    assert layer.generator is None


def test_nothing_is_dropped_with_probability_0():
    x = torch.ones(4)
    assert torch.equal(DropPath(0.0)(x), x)
    assert repr(Dropout(0.2)) == "Dropout(p=0.2)"
