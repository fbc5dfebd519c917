"""What the parts of a defense declare, taken together."""

from __future__ import annotations

from typing import ClassVar

import pytest

from privbench.api import Criterion, Prepared, Release, Traits, component, option
from privbench.plugins.loading import resolve
from privbench.population.composition import chain
from privbench.population.population import Population
from privbench.population.released import ReleasedShadows
from privbench.population.traits import publishes, relative_cost, transforms_inputs, unmet, why_not_reused


@component
class Data:
    """A data stage that says nothing."""

    name: ClassVar[str] = "data"

    def prepare(self, task, members, ctx):
        return Prepared(members)


@component
class Generator(Data):
    """A data stage that an attacker can imitate."""

    name: ClassVar[str] = "generator"
    takes: float = option(5.0, "trainings")
    alone: bool = option(False, "trains on synthetic examples alone")

    @property
    def traits(self):
        return Traits(relative_cost=self.takes, from_members=True, trains_on_members=not self.alone)

    def reuse(self, task, members, synthetic, ctx):
        return members

    def transform_inputs(self, task, notes, x, device):
        return x


@component
class Quiet(Data):
    """A data stage that publishes nothing."""

    name: ClassVar[str] = "quiet"
    traits: ClassVar[Traits] = Traits(publishes_synthetic=False)


@component
class Train:
    """A training stage that says nothing."""

    name: ClassVar[str] = "train"

    def fit(self, task, examples, ctx):
        return Release(None)


@component
class Ensemble(Train):
    """A training stage that takes several trainings."""

    name: ClassVar[str] = "ensemble"
    traits: ClassVar[Traits] = Traits(relative_cost=3.0, publishes_synthetic=False)


@pytest.mark.parametrize(
    ("parts", "cost"),
    [
        ([Train()], 1),
        ([Ensemble()], 3),
        ([Data()], 1),
        ([Data(), Train()], 1),
        ([Generator(), Train()], 6),
        ([Generator(takes=0)], 1),
        ([Generator(takes=2.5), Ensemble()], 5.5),
    ],
    ids=lambda value: "+".join(part.name for part in value) if isinstance(value, list) else None,
)
def test_the_parts_costs_add_up_and_a_training_counts_once(parts, cost):
    assert relative_cost(chain(parts)) == cost


def test_a_shadow_on_released_data_takes_the_training_stage_alone(task, store):
    population = Population(task, task.load(), chain([Generator(), Ensemble()]), 6, 0, "cpu", store)
    assert relative_cost(ReleasedShadows(population, 0)) == 3


@pytest.mark.parametrize(
    ("parts", "may"),
    [
        ([Train()], True),
        ([Ensemble()], False),
        ([Data(), Ensemble()], True),
        ([Quiet(), Ensemble()], False),
        ([Quiet(), Train()], True),
        ([Quiet()], False),
    ],
)
def test_a_defense_may_publish_synthetic_examples_unless_every_stage_says_not(parts, may):
    assert publishes(chain(parts)) is may


def test_inputs_are_transformed_where_a_part_does_it():
    assert transforms_inputs(chain([Generator(), Train()]))
    assert not transforms_inputs(chain([Data(), Train()]))
    assert not transforms_inputs(Train())


def test_why_shadows_cannot_reuse_what_is_published():
    assert why_not_reused(chain([Generator()])) == ""
    assert "on nothing but what it publishes" in why_not_reused(chain([Generator(alone=True)]))
    assert why_not_reused(Ensemble()) == "ensemble publishes no synthetic examples"
    assert why_not_reused(resolve("defense", "fake-data")) == ""
    assert "on nothing but what it publishes" in why_not_reused(resolve("defense", "fake-data:only=true"))
    assert why_not_reused(resolve("defense", "relaxloss")) == "relaxloss publishes no synthetic examples"


def test_criteria_of_all_parts_are_compared_with_facts():
    class Meant(Data):
        criteria = (Criterion("rank", "low ranks", most=0.5), Criterion("kept", "classes", least=0.9))

    both = chain([Meant(), resolve("defense", "ce")])
    assert unmet(both, {"rank": 0.5, "kept": 0.9}) == []
    assert unmet(both, {"rank": 0.75}) == ["rank is 0.75, where at most 0.5 would mean: low ranks"]
    assert len(unmet(both, {"rank": 0.75, "kept": 0.1})) == 2
    assert unmet(both, {"rank": 0.5}) == ["kept was not measured: classes"]
    assert unmet(resolve("defense", "ce"), {"rank": 0.75}) == []
