"""Noise in place of absent data: for the time that training takes, and for nothing else."""

import pytest

from privbench.builtin.tasks.cifar import Cifar100
from privbench.builtin.tasks.stand_in import Extent, StandIn, with_stand_ins
from privbench.options.fields import build, spec
from privbench.plugins.loading import resolve
from privbench.store.fingerprint import component_key

SMALL = Extent(400, 100, (32, 32, 3), 100)


@pytest.fixture
def task():
    return build(Cifar100, {"model": "mlp", "limit": "200", "epochs": "1"})


def test_it_has_the_shapes_and_roles_of_the_task(task):
    stand_in = StandIn(task, SMALL)
    dataset = stand_in.load()
    assert (dataset.shape, dataset.classes) == ((3, 32, 32), 100)
    assert (len(dataset.examples), len(dataset.test)) == (300, 100)
    assert dataset.fingerprint == StandIn(task, SMALL).load().fingerprint
    assert (stand_in.name, spec(stand_in), stand_in.recipe) == ("cifar100", spec(task), task.recipe)
    assert stand_in.network(dataset.shape, dataset.classes)


def test_nothing_that_is_stored_has_its_key(task):
    key = component_key(StandIn(task, SMALL))
    assert (key["stands in"], key["spec"]) == (True, spec(task))
    assert "options" not in key


def test_absent_data_of_known_size_are_replaced_and_no_others(root, task):
    tasks = [task, resolve("task", "digits"), resolve("task", "celeba")]
    replaced, (reason,) = with_stand_ins(tasks)
    assert replaced == [StandIn(task, Cifar100.extent), *tasks[1:]]
    assert reason.startswith(f"cifar100 is not in {root}; fetch it with: privbench data fetch cifar100. Until then")


def test_data_that_are_here_are_taken(root, task):
    (root / "cifar-100-python").mkdir(parents=True)
    for name in ("train", "test"):
        (root / "cifar-100-python" / name).touch()
    assert with_stand_ins([task]) == ([task], [])


@pytest.mark.parametrize(
    ("name", "extent"),
    [
        ("mnist", (60_000, 10_000, (28, 28, 1), 10)),
        ("fashion-mnist", (60_000, 10_000, (28, 28, 1), 10)),
        ("svhn", (73_257, 26_032, (32, 32, 3), 10)),
        ("cifar10", (50_000, 10_000, (32, 32, 3), 10)),
        ("cifar100", (50_000, 10_000, (32, 32, 3), 100)),
        ("tiny-imagenet", (100_000, 10_000, (64, 64, 3), 200)),
        ("celeba", None),
    ],
)
def test_the_published_sizes(name, extent):
    assert resolve("task", name).extent == extent
