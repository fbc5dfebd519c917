import dataclasses
import warnings

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from privbench.api import Blueprint, Context
from privbench.builtin.audits import students
from privbench.builtin.audits.students import budget, fit, split, steps
from privbench.builtin.models import build
from privbench.contracts.recipe import Recipe
from privbench.data.dataset import Examples
from privbench.errors import BadOption, DataError
from privbench.learn import predict, train, training
from privbench.learn.batches import lr_at
from privbench.learn.inference import Normalised, as_float, to_inputs
from privbench.testing.tape import one_by_one, taped


def blueprint(model="mlp", shape=(1, 8, 8), classes=4, **recipe):
    settings = Recipe(**{"epochs": 3, "batch_size": 16, "lr": 0.05, **recipe})
    return Blueprint("task", settings, shape, classes, lambda: build(model, shape, classes))


def images(n=64, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    x = np.clip(rng.normal(60 + 40 * y[:, None, None, None], 60, (n, 8, 8, 1)), 0, 255).astype(np.uint8)
    return Examples(x, y)


def table(n=120, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    x = rng.normal(size=(n, 5)) * [1, 2, 5, 1, 3] + [0, 1, 9, 0, -5] + np.eye(classes, 5)[y] * 3
    return Examples(x.astype(np.float32), y)


def weights(model):
    return b"".join(tensor.cpu().numpy().tobytes() for tensor in model.state_dict().values())


def probabilities(model, x):
    return torch.softmax(torch.from_numpy(predict(model, x, device="cpu")).double(), dim=1).numpy()


# Logistic regression


def standardised(x, like):
    """Return what scikit-learn gets: one mean and deviation per channel or feature, float32 as in a module."""
    model = Normalised(torch.nn.Identity(), (1, 8, 8) if x.ndim == 4 else x.shape[1:])
    model.fit(like)
    return model.standardise(as_float(to_inputs(x))).flatten(1).numpy().astype(np.float64)


@pytest.mark.parametrize(
    ("shape", "examples"), [((5,), table(classes=2)), ((5,), table()), ((1, 8, 8), images())], ids=["two", "three", "x"]
)
def test_logistic_regression_says_what_scikit_learn_says(shape, examples):
    task, half = blueprint(shape=shape, classes=int(examples.y.max()) + 1), len(examples) // 2
    model, others = fit("logistic", task, examples[:half], Context(), c=0.5), examples[half:].x
    x, y = standardised(examples[:half].x, examples[:half].x), examples[:half].y
    theirs = LogisticRegression(C=0.5, max_iter=1000).fit(x, y)
    expected = theirs.predict_proba(standardised(others, examples[:half].x))
    np.testing.assert_allclose(probabilities(model, others), expected, atol=1e-6)
    assert model.converged


@pytest.mark.parametrize("present", [(0, 2, 3), (1, 3), (2,)])
def test_a_class_without_examples_is_never_answered(present):
    examples = images(200)
    examples = examples[np.isin(examples.y, present)]
    logits = predict(fit("logistic", blueprint(), examples, Context()), images(300, seed=1).x, device="cpu")
    absent = np.setdiff1d(np.arange(4), present)
    assert np.isfinite(logits).all()
    assert np.isin(logits.argmax(axis=1), present).all()
    assert (logits[:, absent] == students.UNSEEN).all()
    assert (logits.max(axis=1) >= -1e-5).all()


def test_a_regression_that_was_stopped_says_so_and_warns_nobody(monkeypatch):
    monkeypatch.setattr(students, "ITERATIONS", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = fit("logistic", blueprint(), images(), Context())
    assert not model.converged


def test_no_examples_are_said():
    for kind in ("logistic", "mlp"):
        with pytest.raises(DataError, match="no examples to train on"):
            fit(kind, blueprint(), images()[:0], Context())


# Nets


def test_the_tasks_own_student_is_what_train_makes():
    assert weights(fit("task", blueprint(), images(), Context())) == weights(train(blueprint(), images(), Context()))


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_other_students_are_trained_by_the_tasks_recipe(kind):
    other = "cnn" if kind == "mlp" else "mlp"
    model = fit(kind, blueprint(other), images(), Context())
    assert weights(model) == weights(train(blueprint(kind), images(), Context()))


def test_an_mlps_layers_are_chosen():
    model = fit("mlp", blueprint(), images(), Context(), hidden=(7, 5))
    assert [layer.out_features for layer in model.net if isinstance(layer, torch.nn.Linear)] == [7, 5, 4]


def test_a_cnn_refuses_tables_in_one_line():
    with pytest.raises(BadOption, match=r"^model 'cnn' needs images") as refused:
        fit("cnn", blueprint(shape=(5,), classes=3), table(), Context())
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", ["task", "logistic", "cnn"])
def test_no_global_generator_is_touched(kind):
    before = torch.random.get_rng_state(), np.random.get_state()[1].tobytes()  # noqa: NPY002 - what must stay
    fit(kind, blueprint(), images(), Context())
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert before[1] == np.random.get_state()[1].tobytes()  # noqa: NPY002


# Being watched


@pytest.mark.parametrize(("model", "recipe"), [("mlp", {}), ("cnn", {}), ("cnn", {"crop": 1})])
def test_the_watcher_sees_each_epoch_as_it_ends(model, recipe):
    """Of a constant learning rate, the first epochs of a long training are those of a short one, bit for bit."""
    task, examples = blueprint(model, schedule="constant", **recipe), images(70)
    seen = []
    fit("task", task, examples, Context(), watch=lambda each: seen.append(predict(each, examples.x, device="cpu")))
    assert len(seen) == 3
    for epochs, logits in enumerate(seen, start=1):
        short = train(task, examples, Context(), recipe=dataclasses.replace(task.recipe, epochs=epochs))
        np.testing.assert_array_equal(logits, predict(short, examples.x, device="cpu"))


def test_being_watched_changes_nothing():
    examples = images(70)
    watched = fit("cnn", blueprint(), examples, Context(), watch=lambda each: predict(each, examples.x, device="cpu"))
    assert weights(watched) == weights(fit("cnn", blueprint(), examples, Context()))


def test_the_watcher_sees_what_replayed_steps_have_done(device):
    examples = images(70)

    def seen():
        shown = []

        def watch(model):
            shown.append((weights(model), predict(model, examples.x, device=device).tobytes()))

        fit("mlp", blueprint(), examples, Context(device=device), watch=watch)
        return shown

    with one_by_one():
        plain = seen()
    with taped(device) as tape:
        assert seen() == plain
    assert len(set(plain)) == 3
    assert tape.replayed > 0
    assert not tape.refused


@pytest.mark.parametrize("kind", ["task", "cnn", "mlp"])
def test_students_of_replayed_steps_are_those_of_steps(kind, device):
    ctx, like = Context(device=device), 100
    with one_by_one():
        plain = weights(fit(kind, blueprint(), images(70), ctx, like=like))
    with taped(device) as tape:
        assert weights(fit(kind, blueprint(), images(70), ctx, like=like)) == plain
    assert tape.replayed > 0
    assert not tape.refused


def test_a_regression_is_shown_once():
    seen = []
    model = fit("logistic", blueprint(), images(), Context(), watch=seen.append)
    assert seen == [model]


# Equal steps


@given(
    n=st.integers(1, 300),
    like=st.integers(1, 300),
    epochs=st.integers(1, 40),
    size=st.integers(1, 64),
    copies=st.sampled_from([0, 2, 5]),
)
def test_the_budget_is_exact_whatever_the_sizes(n, like, epochs, size, copies):
    recipe = Recipe(epochs=epochs, batch_size=size, copies=copies, warmup=1.0)
    planned, rows = budget(recipe, n, like, np.random.default_rng(0))
    rows = np.arange(n) if rows is None else rows
    assume(steps(recipe, like) <= 20000)
    total = steps(recipe, like)
    assert steps(planned, len(rows)) == total
    used = np.bincount(rows, minlength=n)
    assert used.max() - used.min() <= 1
    assert planned.batch_size == size
    for step in {0, total // 3, total - 1}:
        before, after = lr_at(recipe, step, total // epochs), lr_at(planned, step, total // planned.epochs)
        assert before == pytest.approx(after, rel=1e-9, abs=1e-15)


def test_as_many_examples_take_the_recipe_as_it_is():
    assert budget(Recipe(), 100, 100, np.random.default_rng(0)) == (Recipe(), None)


def test_examples_are_used_about_equally_often():
    for n in (100, 519, 650, 700, 1298, 3000):
        planned, rows = budget(Recipe(epochs=40, batch_size=32), n, 649, np.random.default_rng(0))
        used = np.bincount(rows, minlength=n) * planned.epochs
        assert used.std() / used.mean() <= 0.06


def test_large_examples_are_not_repeated_beyond_memory():
    recipe, big = Recipe(epochs=40, batch_size=32), students.REPEATED_BYTES
    _, rows = budget(recipe, 519, 649, np.random.default_rng(0), nbytes=big)
    assert len(rows) <= 649


@pytest.mark.parametrize(("n", "like"), [(52, 64), (200, 64), (17, 33), (33, 33)])
def test_training_takes_the_steps_of_its_like(monkeypatch, n, like):
    taken = []

    def step(*args, original=training.step, **kwargs):
        taken.append(len(args[2]))
        return original(*args, **kwargs)

    monkeypatch.setattr(training, "step", step)
    fit("mlp", blueprint(), images(like), Context())
    expected = len(taken)
    taken.clear()
    fit("mlp", blueprint(), images(n), Context(), like=like)
    assert len(taken) == expected
    assert max(taken) <= 17


# The generated set


def test_a_fifth_of_each_class_is_held_out():
    y = np.repeat(np.arange(3), [50, 30, 20])
    generated = Examples(np.arange(100, dtype=np.float32)[:, None], y)
    training_part, held_out = split(generated)
    np.testing.assert_array_equal(np.bincount(held_out.y), [10, 6, 4])
    assert sorted([*training_part.x[:, 0], *held_out.x[:, 0]]) == list(range(100))
    np.testing.assert_array_equal(split(generated)[1].x, held_out.x)
