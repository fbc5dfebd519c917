"""What a class declares is read, or it is refused with what was meant."""

from __future__ import annotations

import functools
from importlib.metadata import EntryPoint
from typing import ClassVar

import numpy as np
import pytest

from privbench.api import Needs, Traits, component, option
from privbench.errors import PluginError
from privbench.plugins.loading import catalogue, load
from privbench.plugins.registration import CONTRACTS, check, fault
from privbench.population.composition import chain
from privbench.run import Grid

METHODS = {
    "task": {"load": lambda _self: None, "network": lambda _self, _shape, _classes: None, "recipe": None},
    "defense": {"fit": lambda _self, _task, _examples, _ctx: None},
    "attack": {"needs": Needs(), "score": lambda _self, _evidence: None},
    "audit": {"measure": lambda _self, _population, _ctx: None},
}


def made(kind, **attributes):
    """Return a component class with what its kind must have, and more."""
    return component(type("Mine", (), {"name": "mine", "__doc__": "For a test.", **METHODS[kind], **attributes}))


def method(*_arguments):
    return None


@pytest.mark.parametrize(
    ("kind", "name", "value", "meant"),
    [
        ("defense", "prepar", method, "'prepare'"),
        ("defense", "preprae", method, "'prepare'"),
        ("defense", "filterd", method, "'filtered'"),
        ("defense", "emtpy", method, "'empty'"),
        ("defense", "re_use", method, "'reuse'"),
        ("defense", "transform_input", method, "'transform_inputs'"),
        ("defense", "prepare_", staticmethod(method), "'prepare'"),
        ("defense", "trait", Traits(), "'traits'"),
        ("defense", "traits_", property(method), "'traits'"),
        ("defense", "publish_synthetic", False, "traits = Traits(publishes_synthetic=...)"),
        ("defense", "relativ_cost", property(method), "traits = Traits(relative_cost=...)"),
        ("defense", "trains_on_member", functools.cached_property(method), "traits = Traits(trains_on_members=...)"),
        ("attack", "thresold", 0.5, "'threshold'"),
        ("attack", "tresholds", property(method), "'threshold'"),
        ("attack", "finding", method, "'findings'"),
        ("audit", "compare", method, "'compared'"),
        ("task", "depict", "faces", "'depicts'"),
        ("task", "preset", {}, "'presets'"),
        ("audit", "versions", 2, "'version'"),
        ("attack", "papers", "none", "'paper'"),
    ],
)
def test_a_misspelt_part_of_the_contract_is_refused_with_what_was_meant(kind, name, value, meant):
    told = fault(kind, made(kind, **{name: value}))
    assert told == f"{kind} 'mine' has {name!r}, which is not read. Did you mean {meant}?"


@pytest.mark.parametrize(
    ("kind", "part"), [("attack", "needs"), ("attack", "score"), ("defense", "fit"), ("task", "load")]
)
def test_a_misspelt_part_that_must_be_there_is_refused_with_what_was_meant(kind, part):
    parts = {name: value for name, value in METHODS[kind].items() if name != part}
    misspelt = {"needs": "need", "score": "scor", "fit": "fitt", "load": "laod"}[part]
    bare = type("Mine", (), {"name": "mine", "__doc__": "For a test.", **parts, misspelt: METHODS[kind][part]})
    told = fault(kind, component(bare))
    assert told.startswith(f"{kind} 'mine' has ")
    assert repr(part) in told
    assert repr(misspelt) in told


@pytest.mark.parametrize("kind", CONTRACTS)
def test_a_helper_of_its_own_passes(kind):
    helpers = {
        "distance": method,
        "train": method,
        "split": staticmethod(method),
        "scores": property(method),
        "settings": 3,
        "names": ("a", "b"),
        "generator": functools.cached_property(method),
        "_prepar": method,
        "_thresold": 0.5,
        "SCALE": 2.0,
    }
    assert fault(kind, made(kind, **helpers)) == ""


def test_what_resembles_a_part_that_is_there_passes():
    assert fault("defense", made("defense", fits=method, fitted=3)) == ""
    assert fault("defense", made("defense", prepare=method, prepared=property(method), prepares=method)) == ""
    assert fault("attack", made("attack", threshold=0.5, thresholds=(0.1, 0.5))) == ""


def test_an_option_may_have_any_name():
    class Mine:
        """For a test."""

        name: ClassVar[str] = "mine"
        needs: ClassVar[Needs] = Needs()
        thresold: float = option(0.5, "its own")
        relative_cost: float = option(0.5, "its own")

        def score(self, evidence):
            return evidence.labels

    assert fault("attack", component(Mine)) == ""


@pytest.mark.parametrize(
    ("old", "told"),
    [
        (
            {"relative_cost": 2.0},
            "has 'relative_cost', which is not read any more: write traits = Traits(relative_cost=2.0).",
        ),
        (
            {"publishes_synthetic": False, "from_members": True},
            (
                "has 'from_members', which is not read any more: "
                "write traits = Traits(from_members=True, publishes_synthetic=False)."
            ),
        ),
        (
            {"relative_cost": property(method), "from_members": True},
            (
                "has 'relative_cost', which is not read any more: "
                "write a property traits that returns Traits(relative_cost=..., from_members=True)."
            ),
        ),
        (
            {"trains_on_members": method},
            (
                "has 'trains_on_members', which is not read any more: "
                "write a property traits that returns Traits(trains_on_members=...)."
            ),
        ),
    ],
)
def test_traits_as_attributes_are_refused_with_what_to_write(old, told):
    assert fault("defense", made("defense", **old)) == f"defense 'mine' {told}"
    assert fault("defense", made("defense", traits=Traits(), **old)) == f"defense 'mine' {told}"
    inheriting = component(type("Heir", (made("defense", **old),), {"name": "heir"}))
    assert fault("defense", inheriting) == f"defense 'heir' {told}"


def test_needs_and_traits_are_no_options():
    class Attack:
        """For a test."""

        name: ClassVar[str] = "mine"
        needs: Needs = Needs()
        score = method

    class Defense:
        """For a test."""

        name: ClassVar[str] = "mine"
        traits: Traits = Traits()
        fit = method

    assert fault("attack", component(Attack)) == "attack 'mine' has an option 'needs': annotate it as ClassVar[Needs]."
    assert fault("defense", component(Defense)).endswith("'traits': annotate it as ClassVar[Traits].")


def test_a_preset_sets_options_that_are_there():
    class Mine:
        """For a test."""

        name: ClassVar[str] = "mine"
        presets: ClassVar[dict] = {"paper": {"alpha": 2.0}, "other": {"alhpa": 1.0}}
        alpha: float = option(1.0, "a number")
        fit = method

    told = "defense 'mine' has no option 'alhpa', which its preset 'other' sets. Did you mean 'alpha'?"
    assert fault("defense", component(Mine)) == told


def test_a_long_value_is_told_in_one_short_line():
    told = fault("attack", made("attack", threshold=np.zeros((50, 50))))
    assert "\n" not in told
    assert len(told) < 120


def test_an_annotation_without_classvar_does_not_hide_it():
    class Mine:
        """For a test."""

        name: ClassVar[str] = "mine"
        relative_cost: float = 2.0
        publish_synthetic: bool = False
        beta: float = 1.0

        def fit(self, task, examples, ctx):
            return None

    assert fault("defense", component(Mine)).endswith("write traits = Traits(relative_cost=2.0).")


@pytest.mark.parametrize(
    ("kind", "wrong", "told"),
    [
        ("attack", {"needs": "logits"}, "has the needs 'logits'; it must be privbench.api.Needs."),
        ("attack", {"needs": Traits}, "; it must be privbench.api.Needs."),
        ("attack", {"needs": method}, "has a method 'needs', which must be a property: put @property above it."),
        ("attack", {"threshold": "0.5"}, "has the threshold '0.5'; it must be a number."),
        ("attack", {"score": 3}, "has the score 3; it must be a method."),
        (
            "defense",
            {"traits": {"relative_cost": 2}},
            "has the traits {'relative_cost': 2}; it must be privbench.api.Traits.",
        ),
        ("defense", {"traits": Needs()}, "it must be privbench.api.Traits."),
        ("defense", {"traits": method}, "has a method 'traits', which must be a property: put @property above it."),
        ("defense", {"prepare": "noise"}, "has the prepare 'noise'; it must be a method."),
        (
            "defense",
            {"filter": method},
            "has 'filter' but no 'filtered', without which its model cannot be loaded again.",
        ),
        ("task", {"depicts": 3}, "has the depicts 3; it must be text."),
        ("task", {"recipe": method}, "has a method 'recipe', which must be a property: put @property above it."),
        ("audit", {"version": "2"}, "has the version '2'; it must be a whole number."),
        ("audit", {"presets": ["a"]}, "has the presets ['a']; it must be options by the name of a preset."),
        ("audit", {"paper": 2022}, "has the paper 2022; it must be text."),
    ],
)
def test_a_value_of_a_wrong_type_is_refused(kind, wrong, told):
    found = fault(kind, made(kind, **wrong))
    assert found.startswith(f"{kind} 'mine' has ")
    assert found.endswith(told)


def test_properties_and_what_is_switched_off_pass():
    assert fault("attack", made("attack", needs=property(method), threshold=property(method))) == ""
    assert fault("attack", made("attack", threshold=None, findings=None)) == ""
    assert fault("defense", made("defense", traits=property(method), reuse=None)) == ""


def test_one_such_class_spares_those_beside_it_and_is_told_in_one_line(plugin):
    bad, good = made("defense", prepar=method), component(type("Good", (), {"name": "good", "fit": method}))
    found = load([plugin("mixed", register_defenses=lambda: [bad, good])])
    assert [*found.of("defense")] == ["good"]
    assert [each.reason for each in found.problems] == [
        "register_defenses: defense 'mine' has 'prepar', which is not read. Did you mean 'prepare'?"
    ]


def test_a_field_that_does_not_exist_is_told_with_its_file_and_line(tmp_path, monkeypatch):
    lines = ["from privbench.api import Traits", "", "class Mine:", "    traits = Traits(relativ_cost=2)"]
    (tmp_path / "declares_wrongly.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    (problem,) = load([EntryPoint("wrong", "declares_wrongly", "privbench")]).problems
    assert problem.reason == (
        "TypeError: Traits has no 'relativ_cost'. Did you mean 'relative_cost'? Fields: relative_cost, from_members, "
        "publishes_synthetic, trains_on_members. (declares_wrongly.py:4)"
    )


def test_all_that_is_installed_keeps_its_contract():
    assert [each.reason for each in catalogue().problems] == []


def test_components_that_are_not_registered_are_held_to_it_too(task):
    misspelt, outdated = made("attack", thresold=0.5)(), made("defense", relative_cost=2.0)()
    with pytest.raises(
        PluginError, match=r"^Attack 'mine' has 'thresold', which is not read\. Did you mean 'threshold'\?$"
    ):
        Grid([task], [], [misspelt])
    with pytest.raises(
        PluginError, match=r"^Defense 'mine' has 'relative_cost', which is not read any more: write traits"
    ):
        Grid([task], [chain([made("defense", prepare=method)(), outdated])], [])
    check("audit", [made("audit")()])
