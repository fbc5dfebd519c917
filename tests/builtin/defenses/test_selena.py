"""SELENA: who answers for whom, what the answers are, and that nothing seen is ever answered for."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from privbench import learn
from privbench.api import Blueprint, Context, Defense
from privbench.builtin.defenses import selena
from privbench.builtin.defenses.relaxloss import RelaxLoss
from privbench.builtin.defenses.selena import Selena, draw, softmax, split_ai, twins
from privbench.builtin.models import build as build_model
from privbench.contracts.recipe import Recipe
from privbench.data.dataset import Examples
from privbench.errors import BadOption, CellFailed, DataError
from privbench.learn.inference import mean_loss, predict
from privbench.options.fields import build
from privbench.population.composition import chain
from privbench.testing import parametrize_with_checks


def problem(n=40, classes=4, seed=0, **recipe):
    rng = np.random.default_rng(seed)
    examples = Examples(rng.integers(0, 256, (n, 8, 8, 1), dtype=np.uint8), np.arange(n) % classes)
    settings = Recipe(**{"epochs": 2, "batch_size": 16, "lr": 0.05, **recipe})
    return Blueprint("t", settings, (1, 8, 8), classes, lambda: build_model("mlp", (1, 8, 8), classes)), examples


def rows_of(part, whole):
    """Return where the examples of a part stand in the whole, by their content."""
    place = {row.tobytes(): i for i, row in enumerate(whole.x)}
    return np.array([place[row.tobytes()] for row in part.x])


@pytest.fixture
def watched(monkeypatch):
    """Replace training and predicting; return what each sub-model was trained on, and asked."""
    trained, asked = [], []

    def train(_task, examples, _ctx):
        trained.append(examples)
        return len(trained) - 1

    def ask(model, x, *, device):
        assert device == "cpu"
        asked.append(x)
        return np.log(np.array([[1.0, 3.0], [1.0, 1.0], [9.0, 1.0]], dtype=np.float32))[[model] * len(x)]

    monkeypatch.setattr(learn, "train", train)
    monkeypatch.setattr(learn, "predict", ask)
    return trained, asked


@parametrize_with_checks([Selena(models=3, held_out=1)])
def test_contract(check):
    check()


@given(st.integers(2, 30), st.data())
def test_each_example_draws_exactly_its_number_of_sub_models(models, data):
    held_out = data.draw(st.integers(1, models - 1))
    answering = draw(50, models, held_out, np.random.default_rng(data.draw(st.integers(0, 99))))
    assert answering.dtype == bool
    assert (answering.sum(axis=1) == held_out).all()


def test_every_sub_model_learns_from_about_six_tenths_and_pairs_are_drawn_independently():
    n, models, held_out = 4000, 25, 10
    answering = draw(n, models, held_out, np.random.default_rng(0))
    shares = (~answering).mean(axis=0)
    assert np.abs(shares - 0.6).max() < 4 * np.sqrt(0.6 * 0.4 / n)
    assert shares.mean() == pytest.approx(0.6)
    together = (answering.T.astype(float) @ answering / n)[np.triu_indices(models, 1)]
    expected = held_out * (held_out - 1) / models / (models - 1)
    assert np.abs(together - expected).max() < 5 * np.sqrt(expected / n)


def test_the_soft_label_is_the_mean_answer_of_those_that_never_saw_the_example(watched):
    trained, asked = watched
    task, examples = problem(30, classes=2)
    soft = split_ai(task, examples, Context(), models=3, held_out=2)["soft_labels"]
    answers = {(0, 1): (0.375, 0.625), (0, 2): (0.575, 0.425), (1, 2): (0.7, 0.3)}  # by hand, of 1/4, 1/2 and 9/10
    unseen = [sorted(set(range(30)) - set(rows_of(part, examples))) for part in trained]
    assert [len(x) for x in asked] == [len(rows) for rows in unseen]
    by_example = [tuple(k for k in range(3) if i in unseen[k]) for i in range(30)]
    assert set(by_example) == set(answers)
    np.testing.assert_allclose(soft, [answers[ks] for ks in by_example], rtol=1e-6)
    assert soft.dtype == np.float64


def test_a_subset_keeps_labels_and_says_what_may_be_augmented(watched):
    trained, _ = watched
    task, examples = problem(30, classes=2)
    may = np.arange(30) % 3 == 0
    sizes = split_ai(task, Examples(examples.x, examples.y, may), Context(), models=3, held_out=1)["subset_sizes"]
    assert sizes.tolist() == [len(part) for part in trained]
    for part in trained:
        rows = rows_of(part, examples)
        assert (part.y == examples.y[rows]).all()
        assert (part.augment == may[rows]).all()


@pytest.mark.parametrize("more", [1, None])
def test_nothing_is_released_where_a_sub_model_has_seen_what_it_answers_for(monkeypatch, more):
    task, examples = problem(epochs=1)

    def too_many(answering, k):
        return np.union1d(np.flatnonzero(~answering[:, k]), np.flatnonzero(answering[:, k])[:more])

    monkeypatch.setattr(selena, "learnt", too_many)
    with pytest.raises(CellFailed, match=r"sub-model 1 has seen \d+ of the \d+ examples .*; nothing is released"):
        Selena(models=3, held_out=1).fit(task, examples, Context())


def test_equal_inputs_are_kept_from_the_same_sub_models(watched):
    trained, asked = watched
    task, examples = problem(20, classes=2)
    again = np.concatenate([np.arange(20), [3, 3, 7]])
    doubled = Examples(examples.x[again], np.concatenate([examples.y, [1, 0, 1]]))
    split_ai(task, doubled, Context(), models=3, held_out=1)
    for part, questions in zip(trained, asked, strict=True):
        assert not {row.tobytes() for row in part.x} & {row.tobytes() for row in questions}
        assert len(part) + len(questions) == 23
    assert twins(doubled.x).tolist() == [*range(20), 3, 3, 7]


def test_twins_of_tables_and_of_nothing():
    table = np.array([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0], [0.0, 1.0], [-0.0, 1.0]], dtype=np.float32)
    assert twins(table).tolist() == [0, 1, 0, 3, 3]
    assert twins(table[:2]).tolist() == [0, 1]


def test_a_twin_that_was_seen_is_noticed(monkeypatch):
    """The check goes by content: a draw that forgets about equal inputs does not get past it."""
    task, examples = problem(20, epochs=1)
    doubled = Examples(np.concatenate([examples.x, examples.x]), np.concatenate([examples.y, examples.y]))
    apart = [draw(40, 3, 1, np.random.default_rng(0))]
    monkeypatch.setattr(selena, "learnt", lambda _answering, k: np.flatnonzero(~apart[0][:, k]))
    with pytest.raises(CellFailed, match="has seen"):
        split_ai(task, doubled, Context(), models=3, held_out=1)


def test_sub_models_that_know_the_truth_make_it_cross_entropy(monkeypatch):
    task, examples = problem(epochs=5)
    label = {row.tobytes(): y for row, y in zip(examples.x, examples.y, strict=True)}

    def know(_model, x, *, device):
        assert device == "cpu"
        return 1e3 * np.eye(4, dtype=np.float32)[[label[row.tobytes()] for row in x]]

    monkeypatch.setattr(learn, "predict", know)
    release = Selena(models=3, held_out=2).fit(task, examples, Context())
    plain = learn.train(task, examples, Context().stage("distillation"))
    for distilled, trained in zip(release.model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(distilled, trained, rtol=1e-5, atol=1e-6)
    assert release.facts["split_ai_accuracy"] == 1
    logits = 5 * torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor(examples.y)
    hard = learn.cross_entropy(logits, labels)
    soft = learn.cross_entropy(logits, torch.nn.functional.one_hot(labels, 4).float())
    torch.testing.assert_close(soft, hard, rtol=1e-6, atol=0)


def test_confidences_and_losses_are_finite_at_the_ends():
    shares = softmax(np.array([[100, -100, 0], [-100, -100, -100]], dtype=np.float32))
    assert np.isfinite(shares).all()
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-15)
    assert 0 < shares[0, 1] < 1e-80
    logits = torch.tensor([[100.0, -100, 0], [-100, 100, 0]], requires_grad=True)
    loss = learn.cross_entropy(logits, torch.tensor([[0.0, 1, 0], [0.5, 0.5, 0]]))
    loss.backward()
    assert loss.item() == pytest.approx(150)
    assert torch.isfinite(logits.grad).all()


def test_the_facts_are_those_of_the_release():
    task, examples = problem(epochs=30)
    defense = Selena(models=4, held_out=2)
    assert isinstance(defense, Defense)
    release = defense.fit(task, examples, Context())
    assert release.facts["train_loss"] == pytest.approx(mean_loss(release.model, examples, device="cpu"))
    assert 0.2 < release.facts["smallest_subset"] <= 0.5
    assert release.facts["split_ai_accuracy"] < 0.7  # noise, which no sub-model can know of another's
    assert (predict(release.model, examples.x, device="cpu").argmax(axis=1) == examples.y).mean() < 0.8
    assert release.synthetic is None


def test_the_answers_are_kept_and_used_again():
    task, examples = problem()
    store, keys = {}, []

    def keep(name, key, make, inner):
        keys.append((name, key["options"], key["model_free"]))
        if name not in store:
            store[name] = make(inner)
        return store[name]

    defense = Selena(models=3, held_out=1)
    releases = [defense.fit(task, examples, context) for context in (Context(), Context(keep=keep), Context(keep=keep))]
    assert keys == [("split-ai", {"models": 3, "held_out": 1}, False)] * 2
    weights = [[tensor.numpy().tobytes() for tensor in release.model.state_dict().values()] for release in releases]
    assert weights[0] == weights[1] == weights[2]


def test_progress_rises_to_one_and_names_the_sub_model(monkeypatch):
    monkeypatch.setattr(learn, "REPORT_SECONDS", -1.0)
    seen = []
    task, examples = problem()
    Selena(models=3, held_out=1).fit(task, examples, Context(report=lambda *told: seen.append(told)))
    done = [each[0] for each in seen]
    assert done == sorted(done)
    assert done[-1] == 1
    assert {"sub-model 2", "distillation"} <= {
        word for _, stage in seen for word in ("sub-model 2", "distillation") if word in stage
    }
    assert max(at for at, stage in seen if "sub-model" in stage) == pytest.approx(2 / 3)


def test_a_sub_model_that_nobody_trains_is_an_error_in_one_line():
    task, examples = problem(1)
    with pytest.raises(DataError, match=r"selena: 1 examples leave sub-model \d of 2 none to learn from; .*held_out"):
        Selena(models=2, held_out=1).fit(task, examples, Context())


def test_a_handful_of_examples_is_enough_even_where_a_class_is_missing():
    task, examples = problem(9, classes=4)
    release = Selena(models=5, held_out=2).fit(task, examples, Context())
    assert np.isfinite(predict(release.model, examples.x, device="cpu")).all()


def test_resnet18_trains():
    """Which crashed in the fake-data paper; the authors' logarithm of a softmax may be why."""
    rng = np.random.default_rng(0)
    examples = Examples(rng.integers(0, 256, (12, 8, 8, 3), dtype=np.uint8), np.arange(12) % 4)
    recipe = Recipe(epochs=1, batch_size=16, lr=0.1)
    task = Blueprint("t", recipe, (3, 8, 8), 4, lambda: build_model("resnet18", (3, 8, 8), 4))
    release = Selena(models=3, held_out=1).fit(task, examples, Context())
    assert np.isfinite(predict(release.model, examples.x, device="cpu")).all()
    assert np.isfinite(list(release.facts.values())).all()


def test_it_stands_last_in_a_chain():
    for parts, name in (([Selena(), RelaxLoss()], "selena"), ([RelaxLoss(), Selena()], "relaxloss")):
        with pytest.raises(
            BadOption, match=rf"^'\w+\+\w+': '{name}' trains the released model, so it must stand last;"
        ):
            chain(parts)


def test_the_defaults_are_the_papers_and_cost_sixteen_trainings():
    assert (Selena().models, Selena().held_out) == (25, 10)
    assert Selena().traits.relative_cost == 25 * 15 / 25 + 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"held_out": "25"}, r"'selena': option 'held_out' = 25 must be below models = 25"),
        ({"models": "4"}, r"'held_out' = 10 must be below models = 4"),
        ({"held_out": "0"}, r"'held_out'"),
        ({"models": "1", "held_out": "1"}, r"'models'"),
    ],
)
def test_impossible_options_are_refused(options, told):
    with pytest.raises(BadOption, match=told):
        build(Selena, options)
