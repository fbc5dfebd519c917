"""The built-ins keep their contracts; populations that leak nothing, or everything, are seen for what they are."""

from __future__ import annotations

import subprocess
import sys
from typing import ClassVar

import numpy as np
import pytest
import torch

from privbench.api import Blueprint, Context, Examples, Measurement, Needs, Release, component
from privbench.builtin.models import build
from privbench.contracts.recipe import Recipe
from privbench.errors import UnknownName, UsageError
from privbench.grid.cell import Cell
from privbench.grid.scoring import score
from privbench.learn.training import train
from privbench.plugins.loading import resolve
from privbench.population.population import Population
from privbench.population.releases import make
from privbench.seeds import fresh_salt
from privbench.store.store import Store
from privbench.testing import CountOnly, checks_for, parametrize_with_checks, toy_task
from privbench.testing.base import auc, auc_se
from privbench.testing.unseen import IgnoresItsData

ATTACKS = ["correctness", "confidence", "entropy", "m-entropy", "lira"]
ON_PUBLISHED = ["gan-leaks", "gan-leaks:calibrated=true", "nearest-neighbour", "real-vs-fake"]
INVERSIONS = ["inversion:restarts=3,alpha=30", "inversion:restarts=3,alpha=30,access=black-box,directions=4"]


@parametrize_with_checks(
    [f"attack:{name}" for name in ATTACKS + ON_PUBLISHED] + ["lira:mode=offline,queries=18", *INVERSIONS]
)
def test_the_builtin_attacks_keep_their_contract(check):
    check()


QUICK = [
    "ce",
    "defense:relaxloss:alpha=0.5",
    "defense:fake-data:gan_steps=3",
    "defense:transform:gan_steps=3,cycle_steps=3,valuation_models=2",
    "defense:dp-critic:gan_steps=3",
]


@parametrize_with_checks(QUICK)
def test_the_builtin_defenses_keep_their_contract(check):
    check()


@parametrize_with_checks(["digits", toy_task()])
def test_the_default_task_keeps_its_contract(check):
    check()


@component
class PublishesMembers:
    """Its members are its synthetic examples."""

    name: ClassVar[str] = "publishes-members"
    paper: ClassVar[str] = "none"

    def fit(self, task, examples, ctx):
        from privbench.learn.training import train

        return Release(train(task, ctx.reference, ctx), synthetic=examples)


def population_aucs(defense, task, models, folder, attacks=ATTACKS, *, salt=""):
    """Attack every second model, for partners mirror them; return each attack's mean AUC, and its SE by chance."""
    population = Population(task, task.load(), defense, models, 0, "cpu", Store(folder), salt=salt)
    for job in population.missing([1]):
        make(job, lambda _done, _stage: None)
    found = {}
    for name in attacks:
        _, raw = score(Cell(population, resolve("attack", name), 1, None, population, (population,)))
        scores, member = raw["scores"], raw["member"]
        found[name] = float(np.mean([auc(scores[target], member[target]) for target in range(0, models, 2)]))
    return found, auc_se(member[0]) / (models // 2) ** 0.5


@pytest.mark.parametrize("salt", ["", fresh_salt()], ids=["public", "fresh"])
def test_nothing_is_found_in_releases_that_ignore_their_data(tmp_path, salt):
    toy = toy_task(pool=200, epochs=2)
    found, se = population_aucs(IgnoresItsData(), toy, 12, tmp_path, ATTACKS + ON_PUBLISHED, salt=salt)
    for name, value in found.items():
        assert abs(value - 0.5) < 5 * se, f"{name}: {value}, salt {salt}"


def test_releases_that_memorise_are_found(tmp_path):
    noise = toy_task(pool=60, epochs=40, noise=255)
    found, _ = population_aucs(resolve("defense", "ce"), noise, 8, tmp_path)
    assert found["lira"] > 0.95
    assert min(found.values()) > 0.6  # correctness: half of what lies between all and a third


def test_releases_that_publish_their_members_are_found(tmp_path):
    found, _ = population_aucs(PublishesMembers(), toy_task(pool=60, epochs=1), 6, tmp_path, ON_PUBLISHED)
    assert min(found.values()) > 0.99


def test_no_component_has_no_checks():
    with pytest.raises(TypeError, match="none of the methods score"):
        checks_for(object())


def test_names_are_read_as_on_the_command_line():
    mark = parametrize_with_checks(["lira", "defense:ce", CountOnly()])
    ids = [param.id for param in mark.args[1]]
    assert {"lira-finds-a-leak", "ce-reproducible", "count-only-shadow-order"} <= set(ids)
    with pytest.raises(UnknownName, match=r"Nothing installed is named 'lirra'; write kind:name"):
        parametrize_with_checks(["lirra"])


TRAINED_ON = []


@component
class NotesItsDevice:
    """Of each kind something: it notes the device that it is lent."""

    name: ClassVar[str] = "notes-its-device"
    paper: ClassVar[str] = "none"

    def fit(self, task, examples, ctx):
        TRAINED_ON.append(ctx.device)
        return Release(train(task, examples, ctx))


@component
class Trains:
    """An attack that trains."""

    name: ClassVar[str] = "trains"
    paper: ClassVar[str] = "none"
    needs: ClassVar[Needs] = Needs(training=True)

    def score(self, evidence):
        TRAINED_ON.append(evidence.ctx.device)
        return evidence.rng("scores").random(len(evidence.labels))


@component
class Measures:
    """An audit that measures nothing."""

    name: ClassVar[str] = "measures"
    paper: ClassVar[str] = "none"

    def measure(self, population, ctx):
        TRAINED_ON.extend([population.device, ctx.device])
        return Measurement({"models": population.models})


@pytest.mark.parametrize("made", [NotesItsDevice(), Trains(), Measures()], ids=lambda made: made.name)
def test_what_is_checked_is_lent_the_device(made, monkeypatch):
    monkeypatch.setattr("privbench.testing.choose", lambda name: f"{name}:0")  # a name of its own for the processor
    TRAINED_ON.clear()
    for check in checks_for(made):
        if check.name not in ("finds-a-leak", "example-order"):  # what an attack by chance fails
            check()
    assert set(TRAINED_ON) == {"cpu:0"}


def test_a_network_is_tried_on_the_device(monkeypatch):
    tried, task = [], toy_task()
    network = type(task).network

    def noted(*arguments):
        net = network(*arguments)
        monkeypatch.setattr(net, "to", lambda device: tried.append(device) or net)
        return net

    monkeypatch.setattr("privbench.testing.choose", lambda name: f"{name}:0")
    monkeypatch.setattr(type(task), "network", noted)
    next(check for check in checks_for(task) if check.name == "network")()
    assert tried == ["cpu:0"]


def test_checks_on_a_device_that_is_not_there_are_skipped_and_on_none_are_a_mistake(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    (first, *_) = parametrize_with_checks(["defense:ce"], device="cuda").args[1]
    (mark,) = first.marks
    assert mark.name == "skip"
    assert mark.args[0].startswith("Device 'cuda' is not available to torch")
    with pytest.raises(UsageError, match="No device 'cida'"):
        parametrize_with_checks(["defense:ce"], device="cida")
    with pytest.raises(UsageError, match="is not available"):
        checks_for(resolve("defense", "ce"), device="cuda")


@pytest.mark.gpu
@parametrize_with_checks(
    [INVERSIONS[0], *QUICK, "defense:selena:models=3,held_out=1", "audit:privacy-levels", toy_task()], device="cuda"
)
def test_the_builtin_components_keep_their_contract_on_a_card(check):
    check()


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["mlp", "cnn", "mobilenet_v3_small", "resnet18", "hivit_tiny"])
def test_the_builtin_networks_train_to_the_same_bits_on_a_card(name):
    rng = np.random.default_rng(0)
    examples = Examples(rng.integers(0, 256, (70, 32, 32, 3), dtype=np.uint8), np.arange(70) % 10)
    shape = (3, 32, 32)
    blueprint = Blueprint(
        name, Recipe(epochs=3, batch_size=16, crop=4, flip=0.5), shape, 10, lambda: build(name, shape, 10)
    )
    models = [train(blueprint, examples, Context(device="cuda")) for _ in range(2)]
    for one, other in zip(*(model.state_dict().values() for model in models), strict=True):
        assert torch.equal(one, other)


def test_importing_the_checks_imports_neither_torch_nor_pytest():
    code = "import sys, privbench.testing; sys.exit(bool({'torch', 'pytest'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr or "torch or pytest was imported"
