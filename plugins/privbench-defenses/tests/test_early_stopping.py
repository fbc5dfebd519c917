import dataclasses

import pytest
from privbench_defenses.early_stopping import EarlyStopping

from privbench import learn
from privbench.api import Blueprint, Context, Examples
from privbench.errors import BadOption
from privbench.learn import mean_loss, train
from privbench.testing import toy_task


@pytest.fixture(scope="module")
def toy():
    """A task of 8 epochs, its members, and a context with validation examples."""
    task = toy_task(epochs=8)
    data = task.load()
    shape, classes = data.shape, data.classes
    blueprint = Blueprint(task.name, task.recipe, shape, classes, lambda: task.network(shape, classes))
    return blueprint, data.role("pool"), Context(seed=1, validation=data.role("validation"))


def weights(model):
    return b"".join(tensor.numpy().tobytes() for tensor in model.state_dict().values())


@pytest.fixture(scope="module")
def curve(toy):
    """The weights and the validation loss of plain training after each epoch."""
    task, examples, ctx = toy
    points = []

    def watch(model, _epoch):
        points.append((weights(model), mean_loss(model, ctx.validation, device="cpu")))
        return False

    train(task, examples, ctx, stop=watch)
    return points


@pytest.mark.parametrize(
    ("defense", "epochs"),
    [
        (EarlyStopping(), 2),
        (EarlyStopping(share=0.3), 3),
        (EarlyStopping(share=0.01), 1),
        (EarlyStopping(epochs=5), 5),
        (EarlyStopping(epochs=8), 8),
    ],
)
def test_each_release_is_a_point_of_one_training(toy, curve, defense, epochs):
    release = defense.fit(*toy)
    assert release.facts["epochs"] == epochs
    assert weights(release.model) == curve[epochs - 1][0]


def test_all_of_it_is_plain_training(toy):
    assert weights(EarlyStopping(share=1.0).fit(*toy).model) == weights(train(*toy))


@pytest.mark.parametrize(("share", "total", "epochs"), [(0.07, 100, 7), (0.25, 30, 8), (0.29, 100, 29), (0.1, 1, 1)])
def test_shares_are_rounded_up_but_not_by_rounding_errors(share, total, epochs, toy, monkeypatch):
    task, examples, ctx = toy
    task = dataclasses.replace(task, recipe=dataclasses.replace(task.recipe, epochs=total))
    model, ended = task.build(), []

    def until_stopped(*_, stop):
        ended.append(next(epoch + 1 for epoch in range(total) if stop(model, epoch)))
        return model

    monkeypatch.setattr(learn, "train", until_stopped)
    monkeypatch.setattr(learn, "mean_loss", lambda *_, **__: 0.0)
    assert EarlyStopping(share=share).fit(task, examples, ctx).facts["epochs"] == epochs
    assert ended == [epochs]


def test_more_epochs_than_there_are_stop_nothing(toy):
    with pytest.raises(BadOption, match="epochs = 9, but the recipe has only 8"):
        EarlyStopping(epochs=9).fit(*toy)


@pytest.mark.parametrize("patience", [1, 3, 100])
def test_patience_releases_the_best_of_the_epochs_that_it_waited_for(toy, curve, patience):
    release = EarlyStopping(patience=patience).fit(*toy)
    losses, best = [loss for _, loss in curve], 0
    for epoch, loss in enumerate(losses):
        best = epoch if loss < losses[best] else best
        if epoch - best >= patience:
            break
    assert release.facts["epochs"] == best + 1
    assert weights(release.model) == curve[best][0]
    assert not release.model.training


def test_patience_waits_no_longer_than_it_says(toy, monkeypatch):
    from privbench import learn

    losses = iter([3.0, 1.0, 2.0, 1.5])  # a fifth epoch would raise StopIteration

    real = learn.mean_loss
    monkeypatch.setattr(
        learn,
        "mean_loss",
        lambda model, examples, device: next(losses, None) or real(model, examples, device=device),
    )
    assert EarlyStopping(patience=2).fit(*toy).facts["epochs"] == 2


@pytest.mark.parametrize("validation", [None, "empty"])
def test_patience_needs_validation_examples(toy, validation):
    task, examples, _ = toy
    empty = None if validation is None else Examples(examples.x[:0], examples.y[:0])
    with pytest.raises(BadOption, match="patience needs validation examples"):
        EarlyStopping(patience=1).fit(task, examples, Context(seed=1, validation=empty))


def test_two_ends_are_refused():
    with pytest.raises(ValueError, match="'epochs' and 'patience' both say"):
        EarlyStopping(epochs=3, patience=2)


def test_its_cost_is_its_share():
    assert [made.traits.relative_cost for made in (EarlyStopping(), EarlyStopping(epochs=2))] == [0.25, 1.0]
