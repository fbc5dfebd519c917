import types

import numpy as np
import pytest
from scipy import stats

from privbench.api import Blueprint, Context
from privbench.builtin.audits import students, validation_transfer
from privbench.builtin.audits.validation_transfer import ValidationTransfer, correlate, run
from privbench.builtin.models import build
from privbench.contracts.recipe import Recipe
from privbench.data.dataset import Dataset, Examples
from privbench.errors import BadOption, CellFailed, Diverged
from privbench.grid.audits import measure
from privbench.learn.inference import mean_loss
from privbench.learn.training import train
from privbench.plugins.loading import resolve
from privbench.population.composition import chain
from privbench.population.population import Population
from privbench.testing import toy_task


def draw(n, seed, classes=3):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    return Examples((rng.normal(size=(n, 4)) + 1.5 * np.eye(classes, 4)[y]).astype(np.float32), y)


def population(generated, epochs=4):
    examples, sizes = draw(540, 0), [30, 30, 240, 240]
    dataset = Dataset(examples, 3, *np.split(np.arange(540), np.cumsum(sizes)[:-1]))
    task = Blueprint("fake", Recipe(epochs=epochs, batch_size=16), (4,), 3, lambda: build("mlp", (4,), 3))
    return types.SimpleNamespace(
        dataset=dataset,
        blueprint=task,
        models=2,
        skipped=(),
        defense=types.SimpleNamespace(name="fake"),
        synthetic=lambda index: generated,
    )


@pytest.mark.parametrize("student", ["mlp", "logistic"])
def test_generated_examples_as_good_as_real_ones_rank_settings_as_they_do(student):
    found = ValidationTransfer(student=student).measure(population(draw(300, 1)), Context())
    assert found.values["pearson"].low > 0.9
    assert found.values["spearman"].value > 0.7
    assert found.values["real_pearson"].low > 0.9
    generated, real = (found.values[f"accuracy_selected_on_{each}"] for each in ("generated", "real"))
    assert abs(generated.value - real.value) < 0.05
    assert found.values["configurations"] == len(found.tables["Settings"]) == 24
    assert (found.values["generated_examples"], found.values["validation_examples"]) == (60, 240)
    assert found.notes == []


def test_labels_at_random_select_nothing():
    broken = draw(600, 1)
    broken = Examples(broken.x, np.random.default_rng(0).permutation(broken.y))
    found = ValidationTransfer(student="logistic").measure(population(broken), Context())
    assert found.values["accuracy_selected_on_generated"].value < 0.5
    assert found.values["real_pearson"].value > 0.9


def test_the_numbers_are_those_of_the_table():
    """As scipy has them, from what is printed and from the curves."""
    found = ValidationTransfer(configurations=6).measure(population(draw(300, 1)), Context())
    rows, curves = found.tables["Settings"], found.arrays["loss_curves"]
    generated, real, test = ([row[f"{each} loss"] for row in rows] for each in ("generated", "validation", "test"))
    assert found.values["pearson"].value == pytest.approx(stats.pearsonr(generated, real).statistic)
    assert found.values["spearman"].value == pytest.approx(stats.spearmanr(generated, real).statistic)
    assert found.values["real_pearson"].value == pytest.approx(stats.pearsonr(test, real).statistic)
    np.testing.assert_array_equal(found.arrays["validation_loss"], real)
    by_epoch = []
    for row, curve in zip(rows, curves, strict=True):
        ended = curve[: row["epochs"]]
        assert np.isfinite(ended).all()
        assert np.isnan(curve[row["epochs"] :]).all()
        np.testing.assert_array_equal(ended[-1], [row[f"{each} loss"] for each in ("generated", "validation", "test")])
        if len(ended) >= 3:
            by_epoch.append(stats.pearsonr(ended[:, 0], ended[:, 1]).statistic)
            assert row["Pearson over epochs"] == pytest.approx(by_epoch[-1])
        else:
            assert row["Pearson over epochs"] is None
    assert found.values["epoch_pearson"].value is None  # of fewer than four runs
    assert "fewer than 4 runs" in found.values["epoch_pearson"].note
    assert found.notes == ["6 settings are few for a correlation; take 20 or more."]


def test_the_student_that_is_selected_by_hand(monkeypatch):
    """On generated examples the third looks best, on real ones the first; they are right on 2 and 3 of 4."""
    losses = [[0.9, 0.1, 0.2], [0.8, 0.2, 0.3], [0.1, 0.7, 0.5], [0.5, 0.6, 0.9]]
    right = [[1, 1, 1, 0], [0, 0, 0, 0], [1, 0, 0, 1], [0, 0, 0, 0]]
    made = iter(zip(losses, right, strict=True))

    def by_hand(*_args, **_kwargs):
        loss, hits = next(made)
        return {"losses": np.array([loss]), "right": np.array(hits, bool), "converged": np.array(True)}

    monkeypatch.setattr(validation_transfer, "run", by_hand)
    found = ValidationTransfer(configurations=4).measure(population(draw(100, 1)), Context())
    assert found.values["accuracy_selected_on_generated"].value == 0.5
    assert found.values["accuracy_selected_on_real"].value == 0.75
    assert found.values["spearman"].value == -1
    assert found.values["real_spearman"].value == pytest.approx(0.8)


def test_correlations_over_epochs_are_averaged_over_runs():
    found = ValidationTransfer(configurations=16).measure(population(draw(60, 1), epochs=4), Context())
    each = [row["Pearson over epochs"] for row in found.tables["Settings"] if row["Pearson over epochs"] is not None]
    assert 4 <= len(each) < 16
    value = found.values["epoch_pearson"]
    assert value.value == pytest.approx(np.mean(each))
    assert found.values["epoch_pearson_lowest"] == min(each) <= value.low <= value.high <= max(each)
    assert found.values["epoch_pearson_highest"] == max(each)


def test_a_run_is_the_training_that_its_settings_say():
    pop, training = population(None), draw(100, 1)
    tests = tuple(draw(50, seed) for seed in (2, 3, 4))
    settings = {"hidden": (8,), "lr": 0.01, "epochs": 2, "weight_decay": 0.0}
    found = run("mlp", pop.blueprint, settings, Context(), training=training, tests=tests)
    task = Blueprint("fake", pop.blueprint.recipe, (4,), 3, lambda: build("mlp", (4,), 3, hidden=(8,)))
    recipe = Recipe(epochs=2, batch_size=16, lr=0.01, weight_decay=0.0)
    model = train(task, training, Context(), recipe=recipe)
    assert found["losses"].shape == (2, 3)
    np.testing.assert_array_equal(found["losses"][-1], [mean_loss(model, each, device="cpu") for each in tests])
    assert found["right"].shape == (50,)


def test_a_regression_has_no_epochs():
    found = ValidationTransfer(student="logistic", configurations=5).measure(population(draw(100, 1)), Context())
    assert found.values["epoch_pearson"].value is None
    assert found.arrays["loss_curves"].shape == (5, 1, 3)
    assert [row["c"] for row in found.tables["Settings"]] == sorted(row["c"] for row in found.tables["Settings"])


def test_a_regression_that_was_stopped_is_noted(monkeypatch):
    monkeypatch.setattr(students, "ITERATIONS", 1)
    found = ValidationTransfer(student="logistic", configurations=20).measure(population(draw(100, 1)), Context())
    assert found.notes == ["20 of 20 logistic regressions were stopped before they converged."]


def test_what_diverges_is_left_out_and_said(monkeypatch):
    def fit(kind, *args, c, original=students.fit, **kwargs):
        if c > 1:
            raise Diverged("far away")
        return original(kind, *args, c=c, **kwargs)

    monkeypatch.setattr(students, "fit", fit)
    tried = ValidationTransfer(student="logistic", configurations=24)
    found = tried.measure(population(draw(100, 1)), Context())
    assert found.values["configurations"] == 16
    assert [row["test loss"] is None for row in found.tables["Settings"]] == [False] * 16 + [True] * 8
    assert found.notes[1] == "8 of 24 trainings diverged, and are left out."
    monkeypatch.setattr(students, "fit", lambda *_, **kwargs: fit("logistic", *_[1:], **{**kwargs, "c": 2.0}))
    with pytest.raises(CellFailed, match="every student diverged"):
        tried.measure(population(draw(100, 1)), Context())


@pytest.mark.parametrize(
    ("audit", "generated", "error", "message"),
    [
        (ValidationTransfer(), None, CellFailed, "publishes no generated examples"),
        (ValidationTransfer(), draw(1, 0), CellFailed, "publishes 1 generated examples, too few"),
        (ValidationTransfer(release=2), draw(9, 0), BadOption, "release=2: there are 2 models"),
        (ValidationTransfer(student="cnn"), draw(9, 0), BadOption, "'cnn' needs images"),
    ],
)
def test_what_does_not_apply_is_told(audit, generated, error, message):
    with pytest.raises(error, match=message):
        audit.measure(population(generated), Context())


def test_correlations_of_equal_losses_are_not_numbers():
    assert np.isnan(correlate(np.ones(5), np.arange(5.0))).all()
    assert correlate(np.arange(5.0), 3 - 2 * np.arange(5.0)) == (-1.0, -1.0)


def test_students_are_kept_and_never_trained_twice(store, monkeypatch, make_all):
    from privbench.testing.audits import Leaky

    task = toy_task(epochs=1)
    real = make_all(Population(task, task.load(), chain([Leaky()]), 2, 0, "cpu", store))
    audit = ValidationTransfer(configurations=4)
    first, arrays = measure(audit, real)
    assert first.status == "ok", first.reason
    assert set(arrays) == {"generated_loss", "validation_loss", "test_loss", "loss_curves"}
    monkeypatch.setattr(validation_transfer, "run", None)
    again, _ = measure(audit, real)
    assert again.digest == first.digest
    other, _ = measure(ValidationTransfer(configurations=4, release=1), real)
    assert other.status == "failed"  # it would have to train


@pytest.mark.parametrize("kind", ["task", "logistic", "cnn", "mlp"])
def test_the_option_names_every_kind_of_student(kind):
    assert resolve("audit", f"validation-transfer:student={kind}").student == kind
