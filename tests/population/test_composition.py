from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest

from privbench.api import Prepared, Release, Traits
from privbench.contracts.context import Context
from privbench.data.dataset import Examples
from privbench.errors import BadOption, PluginError
from privbench.options.fields import component, option, spec
from privbench.plugins.loading import resolve
from privbench.population.composition import chain

EXAMPLES = Examples(np.zeros((2, 1), dtype=np.float32), np.array([0, 1]))


@component
class Add:
    """A data stage."""

    name: ClassVar[str] = "add"
    much: float = option(1.0, "what is added")

    def prepare(self, task, members, ctx):
        assert task == "task"
        return Examples(members.x * 2 + np.float32(self.much), members.y)


@component
class Train:
    """A training stage, whose release says what it was given."""

    name: ClassVar[str] = "train"

    def fit(self, task, examples, ctx):
        return Release((task, examples.x.tolist(), ctx.purpose))

    def empty(self, task):
        return f"empty {task}"


@component
class Whole(Train):
    """Both stages."""

    name: ClassVar[str] = "whole"

    def prepare(self, task, members, ctx):
        return Examples(members.x + 100, members.y)


def test_every_data_stage_runs_in_order_then_the_last_parts_training():
    made = chain([Add(much=1), Add(much=5), Train()])
    task, x, purpose = made.fit("task", EXAMPLES, Context()).model
    assert (task, x) == ("task", [[7.0], [7.0]])
    assert purpose == ("2.train",)
    assert made.empty("task") == "empty task"


def test_a_part_with_both_stages_prepares_then_fits():
    assert chain([Add(), Whole()]).fit("task", EXAMPLES, Context()).model[1] == [[101.0], [101.0]]
    assert chain([Whole()]).fit("task", EXAMPLES, Context()).model[1] == [[100.0], [100.0]]


def test_each_stage_has_seeds_of_its_own():
    drawn = []

    @component
    class Draw:
        name: ClassVar[str] = "draw"

        def prepare(self, task, members, ctx):
            drawn.append(ctx.rng("x").random())
            return members

    chain([Draw(), Draw(), Train()]).fit("task", EXAMPLES, Context())
    chain([Draw(), Draw(), Train()]).fit("task", EXAMPLES, Context())
    assert len(drawn) == 4
    assert drawn[:2] == drawn[2:]
    assert drawn[0] != drawn[1]


def test_a_single_training_stage_is_no_chain():
    train = Train()
    assert chain([train]) is train


def test_names_are_as_on_the_command_line():
    made = chain([Add(much=2.5), Train()])
    assert (made.name, spec(made)) == ("add+train", "add:much=2.5+train")
    assert made == chain([Add(much=2.5), Train()])
    assert hash(made) != hash(chain([Add(), Train()]))


def test_a_data_stage_alone_is_followed_by_plain_training():
    made = chain([Add(much=3)])
    assert [part.name for part in made.parts] == ["add", "ce"]
    assert made.name == "add"
    assert spec(made) == "add:much=3.0"
    assert chain([Add(much=3), resolve("defense", "ce")]) == made


def test_what_data_stages_publish_and_note_is_released():
    @component
    class Generate:
        name: ClassVar[str] = "generate"
        traits: ClassVar[Traits] = Traits(from_members=True)
        label: int = option(0, "of the fake")

        def prepare(self, task, members, ctx):
            ctx.progress(1.0)
            fake = Examples(members.x[:1], np.array([self.label]))
            return Prepared(members, fake, {"diversity": 0.5, "loss": 1.0}, {"levels": np.zeros(2)})

    @component
    class Fit:
        name: ClassVar[str] = "fit"

        def fit(self, task, examples, ctx):
            ctx.progress(0.5)
            return Release(None, facts={"loss": 2.0})

    heard = []
    ctx = Context(report=lambda done, stage: heard.append((round(done, 3), stage)))
    release = chain([Generate(label=1), Add(), Fit()]).fit("task", EXAMPLES, ctx)
    assert release.synthetic.y.tolist() == [1]
    assert release.facts == {"diversity": 0.5, "loss": 2.0}
    assert list(release.notes) == ["levels"]
    assert heard == [(0.4, "generate"), (0.9, "fit")]
    with pytest.raises(BadOption, match=r"'add\+generate\+fit': 'generate' trains a generator .* must stand first"):
        chain([Add(), Generate(), Fit()])


def test_a_training_stage_stands_last():
    with pytest.raises(BadOption, match=r"'train\+add': 'train' trains the released model, so it must stand last"):
        chain([Train(), Add()])


def test_a_part_without_any_stage_is_refused():
    @component
    class Idle:
        name: ClassVar[str] = "idle"

        def fitt(self, task, examples, ctx):
            """Misspelt."""

    for parts in ([Idle()], [Add(), Idle()], [Idle(), Train()]):
        with pytest.raises(PluginError, match="'idle' has neither 'prepare' nor 'fit'"):
            chain(parts)


@component
class Wrap:
    """An output filter, which says what it wrapped."""

    name: ClassVar[str] = "wrap"
    mark: str = option("w", "what it leaves")

    def filter(self, task, model, examples, ctx):
        return Wrapped(self.mark, model, examples.x.tolist(), ctx.purpose)

    def filtered(self, task, model):
        return Wrapped(self.mark, model)


class Wrapped:
    def __init__(self, mark, inner, x=None, purpose=None):
        self.mark, self.inner, self.x, self.purpose = mark, inner, x, purpose

    def eval(self):
        return self


@component
class TrainAndWrap(Wrap):
    """A training stage with a filter of its own."""

    name: ClassVar[str] = "train-and-wrap"
    mark: str = option("own", "what it leaves")

    def fit(self, task, examples, ctx):
        return Release(Wrapped("trained", None, examples.x.tolist()), facts={"epsilon": 1.0})

    def empty(self, task):
        return Wrapped("empty", None)


def marks(model):
    return [] if model is None else [model.mark, *marks(model.inner)]


def test_output_filters_wrap_what_was_trained_in_their_order():
    made = chain([Add(much=1), TrainAndWrap(), Wrap(mark="a"), Wrap(mark="b")])
    release = made.fit("task", EXAMPLES, Context())
    assert marks(release.model) == ["b", "a", "own", "trained"]
    assert marks(made.empty("task")) == ["b", "a", "own", "empty"]
    assert release.facts == {"epsilon": 1.0}
    assert release.model.x == release.model.inner.x == [[1.0], [1.0]], "a filter sees what the model was trained on"
    assert release.model.purpose == ("3.wrap filter",)
    assert made.trainer == TrainAndWrap()


def test_a_filter_alone_follows_plain_training_which_goes_without_saying():
    alone = chain([Wrap()])
    assert [part.name for part in alone.parts] == ["ce", "wrap"]
    assert (alone.name, spec(alone)) == ("wrap", "wrap")
    data_stage = chain([Add(), Wrap(mark="z")])
    assert [part.name for part in data_stage.parts] == ["add", "ce", "wrap"]
    assert spec(data_stage) == "add+wrap:mark=z"


def test_a_filter_cannot_stand_before_the_training():
    with pytest.raises(BadOption, match=r"'wrap' filters what the released model answers, so it must stand last"):
        chain([Wrap(), TrainAndWrap()])


def test_a_filter_that_cannot_be_loaded_again_is_refused():
    @component
    class Lost:
        name: ClassVar[str] = "lost"

        def filter(self, task, model, examples, ctx):
            return model

    with pytest.raises(PluginError, match="'lost' has neither 'prepare' nor 'fit' nor 'filter' with 'filtered'"):
        chain([Lost()])


def test_progress_of_the_stages_never_goes_back():
    seen = []

    @component
    class Report(TrainAndWrap):
        name: ClassVar[str] = "report"

        def fit(self, task, examples, ctx):
            ctx.progress(1.0)
            return super().fit(task, examples, ctx)

        def filter(self, task, model, examples, ctx):
            ctx.progress(1.0)
            return super().filter(task, model, examples, ctx)

    chain([Report(), Wrap()]).fit("task", EXAMPLES, Context(report=lambda done, _: seen.append(done)))
    assert seen == pytest.approx([0.9, 0.95])


def test_filters_stand_on_the_very_models_of_the_training_alone():
    class Model:
        def eval(self):
            return self

    @component
    class Drawing(Wrap):
        name: ClassVar[str] = "drawing"

        def fit(self, task, examples, ctx):
            drawn.append(ctx.rng("x").random())
            return Release(Model())

    drawn = []
    Drawing().fit("task", EXAMPLES, Context(3))
    chain([Drawing()]).fit("task", EXAMPLES, Context(3))
    chain([Drawing(), Wrap()]).fit("task", EXAMPLES, Context(3))
    assert drawn[0] == drawn[1] == drawn[2]
    chain([Add(), Drawing()]).fit("task", EXAMPLES, Context(3))
    assert drawn[3] != drawn[0]
