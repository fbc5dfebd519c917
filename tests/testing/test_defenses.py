"""Every check of a defense bites."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import pytest
import torch
from torch import nn

from privbench import seeds
from privbench.api import Examples, Release, component, option
from privbench.population.population import Population


class Scaled(nn.Module):
    """A classifier of which the answers can go wrong in many ways."""

    def __init__(self, task, fault=""):
        super().__init__()
        self.net, self.fault = task.model(), fault
        self.register_buffer("asked", torch.zeros(()))

    def forward(self, x):
        if self.fault == "counts":
            self.asked += 1
        if self.fault == "batch-mates":
            x = x - x.mean(dim=0)
        logits = self.net(x)
        if self.fault == "nan":
            logits[0] = torch.nan
        if self.fault == "noise":
            logits = logits + torch.rand_like(logits)
        return {"double": logits.double(), "narrow": logits[:, :-1]}.get(self.fault, logits)


MODEL_FAULTS = ("nan", "double", "narrow", "counts", "batch-mates", "noise", "training-mode")


@component
class Tried:
    """A defense that trains nothing, and does one thing wrong."""

    name: ClassVar[str] = "tried"
    paper: ClassVar[str] = "none"
    fault: str = option("", "what is wrong")

    def fit(self, task, examples, ctx):
        fault = self.fault
        if fault == "global-torch":
            model = Scaled(task)
        else:
            with seeds.seeded(0) if fault == "ignores-seed" else ctx.seeded("init"):
                model = Scaled(task, fault if fault in MODEL_FAULTS else "")
        if fault == "global-numpy":
            np.random.shuffle(np.arange(3))  # noqa: NPY002 - the cheat itself
        if fault == "not-reproducible":
            model.asked += float(np.random.default_rng().random())
        if fault == "mutates":
            examples.x[0] = 0
        facts = {"epsilon": {"nan-fact": float("nan"), "text-fact": "eight"}.get(fault, 1.0)}
        synthetic = Examples(
            examples.x[:2] if fault == "empty-labels" else examples.x,
            examples.y[: 2 if fault == "empty-labels" else None] + (9 if fault == "bad-labels" else 0),
        )
        if fault == "shape":
            synthetic = Examples(examples.x.reshape(len(examples), -1), examples.y)
        if fault == "returns-model":
            return model.eval()
        return Release(model if fault == "training-mode" else model.eval(), synthetic=synthetic, facts=facts)

    def empty(self, task):
        return task.model() if self.fault == "other-empty" else Scaled(task)


def test_an_honest_defense_passes(failures):
    assert failures(Tried()) == {}


@pytest.mark.parametrize(
    ("fault", "check", "message"),
    [
        ("global-torch", "reproducible", "uses the global random generator of torch"),
        ("global-numpy", "reproducible", "uses the global random generator of NumPy"),
        ("not-reproducible", "reproducible", "The same seed gave another release"),
        ("ignores-seed", "seeded", "Another seed gave the same weights"),
        ("mutates", "inputs-unmutated", "modified its input examples"),
        ("nan", "answers", "1 of 24 answers are NaN or infinite"),
        ("narrow", "answers", "have shape (24, 2); expected (24, 3)"),
        ("double", "answers", "are float64; expected float32"),
        ("noise", "answers", "had a different answer the second time"),
        ("training-mode", "answers", "in training mode"),
        ("training-mode", "queries-change-nothing", "running_mean"),
        ("batch-mates", "batch-mates", "with the rest of the batch"),
        ("counts", "queries-change-nothing", "Queries changed asked"),
        ("other-empty", "reloadable", "do not fit the model of `empty`"),
        ("nan-fact", "facts", "'epsilon' is nan"),
        ("text-fact", "facts", "'epsilon' is 'eight'"),
        ("bad-labels", "synthetic", "labels run from 9 to 11"),
        ("shape", "synthetic", "have inputs of shape (64,); expected (8, 8, 1)"),
        ("empty-labels", "synthetic", "2 examples for 3 classes"),
        ("returns-model", "answers", "`fit` returned Scaled"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_faulty_defense_is_caught(failure_of, fault, check, message):
    assert message in failure_of(Tried(fault=fault), check)


@component
class Prepares:
    """A data stage."""

    name: ClassVar[str] = "prepares"
    paper: ClassVar[str] = "none"
    fault: Literal["", "mutates", "labels", "tuple", "shape"] = option("", "what is wrong")

    def prepare(self, task, members, ctx):
        x, y = members.x.copy(), members.y
        if self.fault == "mutates":
            members.x[:] = 0
        if self.fault == "tuple":
            return x, y
        if self.fault == "shape":
            x = x[:, :4]
        return Examples(x, y + 1 if self.fault == "labels" else y)


def test_an_honest_data_stage_passes(failures):
    assert failures(Prepares()) == {}


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("mutates", "`prepare` modified its input examples"),
        ("labels", "labels run from 1 to 3"),
        ("tuple", "tuple; expected privbench.api.Examples"),
        ("shape", "shape (4, 8, 1)"),
    ],
)
def test_a_faulty_data_stage_is_caught(failure_of, fault, message):
    assert message in failure_of(Prepares(fault=fault), "prepare")


def test_a_population_that_keeps_the_partner_fails_the_check_of_every_defense(failures, monkeypatch):
    def all_but_itself(self, target, exclude=()):
        return [index for index in range(self.models) if index != target]

    monkeypatch.setattr(Population, "shadow_indices", all_but_itself)
    assert "AUC 1.000" in failures(Tried())["count-only"]
