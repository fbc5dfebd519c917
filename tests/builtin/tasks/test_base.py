"""What all built-in tasks share: options, recipes, roles, limits, and errors that say what to do."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from privbench.api import Recipe, Task, component
from privbench.builtin.tasks import BUILTIN
from privbench.builtin.tasks.base import DataTask
from privbench.data.dataset import ROLES
from privbench.data.source import Part, Source
from privbench.errors import BadOption, DataError
from privbench.options import fields as options

NAMES = ["digits", "mnist", "fashion-mnist", "svhn", "cifar10", "cifar100", "celeba", "tiny-imagenet", "faces", "npz"]
FILE = {"npz": {"path": "x.npz"}, "faces": {"path": "x.npz"}}


def make(n=200, classes=4, test=40, x=None, y=None, **given):
    """Return a task over arrays."""
    x = np.arange(n * 16, dtype=np.float32).reshape(n, 4, 4, 1) / (n * 16) if x is None else x
    y = np.arange(n) % classes if y is None else np.asarray(y)
    held = Part(x[:test], y[:test]) if test else None

    @component
    class Arrays(DataTask):
        """Arrays."""

        name = "arrays"

        def source(self):
            return Source(Part(x, y), held, classes, "arrays")

    return options.build(Arrays, given)


def test_the_built_in_tasks_are_these():
    assert [cls.name for cls in BUILTIN] == NAMES
    for cls in BUILTIN:
        task = options.build(cls, FILE.get(cls.name, {}))
        assert isinstance(task, Task)
        assert hash(task) == hash(options.build(cls, options.options_of(task)))


def test_importing_them_loads_neither_torch_nor_scikit_learn():
    code = "import sys, privbench.builtin.tasks, privbench.builtin.models\n"
    code += "print({'torch', 'sklearn', 'pandas', 'PIL'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("cls", BUILTIN, ids=NAMES)
def test_every_field_of_the_recipe_is_an_option_of_every_task_and_reaches_it(cls):
    given = FILE.get(cls.name, {})
    names = [info.name for info in options.option_infos(cls)]
    assert {field.name for field in dataclasses.fields(Recipe)} < set(names)
    assert len(names) == len(set(names))
    task = options.build(cls, {**given, "epochs": "7", "lr": "0.25", "milestones": "0.2/0.4", "optimizer": "adamw"})
    assert type(task.recipe) is Recipe
    assert (task.recipe.epochs, task.recipe.lr, task.recipe.milestones) == (7, 0.25, (0.2, 0.4))
    assert task.recipe.optimizer == "adamw"


@pytest.mark.parametrize("cls", BUILTIN, ids=NAMES)
def test_every_preset_builds_and_its_text_builds_it_again(cls):
    for preset in cls.presets:
        task = options.build(cls, {"preset": preset})
        _, _, text = options.spec(task).partition(":")
        given = dict(part.split("=") for part in text.split(",") if part)
        assert options.build(cls, given) == task


def test_roles_have_the_documented_sizes_and_no_row_in_common():
    dataset = make(n=400, test=40).load()
    assert {role: len(dataset.rows(role)) for role in ROLES} == {
        "pool": 340, "reference": 40, "validation": 20, "test": 40,
    }  # fmt: skip
    assert np.array_equal(dataset.role("test").x, make(n=400, test=40).source().test.x)


def test_without_an_official_test_part_15_percent_of_each_class_are_the_test_part():
    dataset = make(n=400, test=0).load()
    assert {role: len(dataset.rows(role)) for role in ROLES} == {
        "pool": 289, "reference": 34, "validation": 17, "test": 60,
    }  # fmt: skip
    assert np.bincount(dataset.role("test").y).tolist() == [15, 15, 15, 15]
    assert len(np.unique(dataset.examples.x.reshape(400, -1), axis=0)) == 400


def test_loading_twice_gives_the_same_data():
    assert make().load().fingerprint == make().load().fingerprint


def test_inputs_keep_their_labels():
    dataset = make(n=200, test=0).load()
    rows = np.rint(dataset.examples.x[:, 0, 0, 0] * 200).astype(int)
    assert np.array_equal(rows % 4, dataset.examples.y)


def test_a_limit_is_class_balanced_and_leaves_the_test_part_whole():
    y = np.r_[np.zeros(150), np.ones(30), np.full(20, 2)].astype(int)
    dataset = make(y=y, classes=3, test=200, limit=60).load()
    chosen = np.concatenate([dataset.rows(role) for role in ROLES if role != "test"])
    assert np.bincount(dataset.examples.y[chosen]).tolist() == [20, 20, 20]
    assert len(dataset.rows("test")) == 200


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        (201, "arrays: limit=201, but there are only 200 training examples."),
        (3, "arrays: limit=3 is below one for each of 4 classes."),
    ],
)
def test_a_limit_that_cannot_be_met_is_refused(limit, message):
    with pytest.raises(BadOption, match=message):
        make(limit=limit).load()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"y": np.arange(200) % 5}, "labels run from 0 to 4, but must lie in 0 to 3"),
        ({"y": np.arange(200) % 4 - 1}, "labels run from -1 to 2, but must lie in 0 to 3"),
        ({"y": np.zeros(200, int)}, "all 200 labels are the same class"),
        ({"x": np.where(np.arange(200)[:, None] == 7, np.nan, 0).astype(np.float32)}, "2 of 240 inputs hold NaN"),
        ({"classes": 300, "y": np.arange(200)}, "200 examples for 300 classes; at least one per class"),
        ({"x": np.zeros((200, 3)), "test": 0}, "inputs are float64; convert them"),
        ({"x": np.zeros((190, 3), np.float32)}, "190 inputs, but 200 labels"),
        ({"n": 9, "test": 3}, "9 training examples leave none for validation; 20 are enough"),
    ],
)
def test_unfit_data_are_refused_in_one_line_that_says_what_to_do(given, message):
    with pytest.raises(DataError, match=message) as caught:
        make(**given).load()
    assert "\n" not in str(caught.value)


def test_twenty_examples_are_enough():
    assert [len(make(n=20, test=4).load().rows(role)) for role in ROLES] == [17, 2, 1, 4]


def test_the_network_is_the_chosen_model():
    assert len(list(make(hidden="50/20").network((1, 4, 4), 4).children())) == 6
    with pytest.raises(BadOption, match="model 'cnn' needs images"):
        make(model="cnn").network((16,), 4)


@pytest.mark.parametrize(
    "given", [{"hidden": "0"}, {"hidden": "10/x"}, {"hidden": "9", "model": "cnn"}, {"model": "vgg"}]
)
def test_bad_options_are_refused_in_one_line(given):
    with pytest.raises(BadOption, match=r"^'arrays': .*(hidden|model).*$"):
        make(**given)


def test_one_hidden_layer_needs_no_slash():
    assert make(hidden="64").hidden == (64,)


def test_the_base_class_has_no_data_of_its_own():
    @component
    class Empty(DataTask):
        """Nothing."""

        name = "empty"

    with pytest.raises(NotImplementedError):
        options.build(Empty, {}).load()
