from typing import ClassVar

import numpy as np
import pytest
import torch

from privbench.builtin.models import build
from privbench.builtin.tasks.digits import Digits
from privbench.learn import transfers
from privbench.learn.inference import to_inputs
from privbench.learn.transfers import inputs_of, to_host


class Away(torch.Tensor):
    """A tensor that says that it lies on a card, and counts how often it is copied from there."""

    copies: ClassVar[list[torch.dtype]] = []

    @property
    def device(self):
        return torch.device("cuda")

    def cpu(self):
        self.copies.append(self.dtype)
        return self.as_subclass(torch.Tensor)


def test_weights_leave_a_card_in_one_copy_for_each_dtype(monkeypatch):
    monkeypatch.setattr(Away, "copies", [])
    torch.manual_seed(0)
    here = build("cnn", (3, 8, 8), 4).to(memory_format=torch.channels_last).state_dict()
    here |= {"here": torch.arange(3), "empty": torch.zeros(0, 2)}
    away = {name: tensor if name == "here" else tensor.as_subclass(Away) for name, tensor in here.items()}
    found = to_host(away)
    assert sorted(map(str, Away.copies)) == ["torch.float32", "torch.int64"]
    assert list(found) == list(here)
    for name, tensor in here.items():
        assert (found[name].dtype, found[name].shape) == (tensor.numpy().dtype, tuple(tensor.shape))
        np.testing.assert_array_equal(found[name], tensor.numpy())


def test_weights_of_the_cpu_are_not_copied():
    weight = torch.nn.Parameter(torch.zeros(2, 3))
    array = to_host({"weight": weight})["weight"]
    assert np.shares_memory(array, weight.detach().numpy())


@pytest.fixture(scope="module")
def digits():
    return Digits().load()


def test_inputs_are_moved_once_for_all_models(digits):
    first = inputs_of(digits, "pool", "meta")
    assert (first.device.type, first.shape) == ("meta", (len(digits.pool), 1, 8, 8))
    assert inputs_of(digits, "pool", "meta") is first
    assert inputs_of(digits, "test", "meta") is not first
    assert inputs_of(Digits().load(), "pool", "meta") is not first


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_what_stays_on_the_cpu_is_nobodys_and_kept_by_nobody(digits, device, monkeypatch):
    monkeypatch.setattr(transfers, "LARGEST", digits.role("test").x.nbytes - 1)
    first, second = (inputs_of(digits, "test", device) for _ in range(2))
    assert first.device.type == "cpu"
    assert torch.equal(first, to_inputs(digits.role("test").x))
    assert first.data_ptr() != second.data_ptr()
