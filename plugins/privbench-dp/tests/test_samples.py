"""Samples as tables: each example with its probability, filled up where steps are recorded, in parts."""

import pytest
import torch
from privbench_dp import samples
from privbench_dp.mechanism import poisson_sample
from privbench_dp.samples import Samples, filled

from privbench.api import Context
from privbench.testing import one_by_one


class Plus:
    """Adds what is drawn."""

    def draw(self, n, generator):
        return torch.randint(1000, (n, 1), generator=generator)

    def __call__(self, inputs, rows, drawn):
        return inputs.index_select(0, rows) + drawn


def made(n=50, **options):
    x = torch.arange(n)[:, None]
    return Samples(x, x[:, 0], Context(0), **{"rate": 0.4, "copies": 1, "alter": None, "weights": 10, **options})


@pytest.fixture
def _recorded():
    with one_by_one(as_recorded=True):
        yield


def test_the_largest_sample_is_rounded_up_and_others_are_filled():
    rows, counts = filled([torch.tensor([4, 7, 9]), torch.tensor([2]), torch.tensor([], dtype=torch.int64)], 2)
    assert rows.tolist() == [[4, 7, 9, 4], [2, 2, 2, 2], [0, 0, 0, 0]]
    assert counts.tolist() == [[1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]]


def test_elsewhere_a_sample_is_as_it_was_drawn():
    rows, counts = made().draw(1)
    assert len(rows[0].unique()) == rows.numel() == counts.numel()
    assert bool(counts.all())


@pytest.mark.usefixtures("_recorded")
def test_filled_samples_hold_the_same_examples():
    rows, counts = made().draw(5)
    assert rows.shape == counts.shape
    assert rows.shape[1] % samples.FILLED == 0
    generator = Context(0).generator("sample")
    for row, count in zip(rows, counts, strict=True):
        assert row[count > 0].tolist() == poisson_sample(50, 0.4, generator).tolist()


@pytest.mark.parametrize("part", [3, 7, 500])
def test_parts_are_the_sample_and_draws_are_those_of_its_copies(part, monkeypatch):
    monkeypatch.setattr(samples, "MOST", part)
    source = made(copies=2, alter=Plus())
    tables = source.draw(1)
    parts = list(source.parts(*(table[0] for table in tables)))
    inputs, targets, counts = (torch.cat(each) for each in zip(*parts, strict=True))
    assert targets.tolist() == tables[0][0].tolist()
    assert inputs[:, 0].tolist() == (targets + tables[2][0, :, 0]).tolist()
    assert len(targets) == 2 * len(counts)
    assert max(len(each[2]) for each in parts) <= max(1, part // 2)


def test_there_is_nothing_in_an_empty_sample():
    source = made(rate=1e-9, alter=Plus())
    assert not list(source.parts(*(table[0] for table in source.draw(1))))


@pytest.mark.parametrize(("weights", "unrollable"), [(10, True), (1 << 22, False)])
def test_many_parts_of_large_gradients_are_too_many_for_one_step(weights, unrollable):
    assert made(rate=0.9, weights=weights).unrollable == unrollable
