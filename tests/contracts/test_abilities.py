"""What a component can do shows in its class, whatever its properties do."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import ClassVar

import pytest

import privbench
from privbench.api import MembershipAttack, Needs, ReconstructionAttack, Release, Traits, component
from privbench.contracts.abilities import Filters, Fits, HasThreshold, HasTraits, Prepares, Reuses, traits_of
from privbench.errors import CellFailed
from privbench.grid import threshold_of
from privbench.plugins.registration import CONTRACTS, TRAITS, contract


@component
class Bare:
    """A training stage and nothing else."""

    name: ClassVar[str] = "bare"

    def fit(self, task, examples, ctx):
        return Release(None)


@component
class Rich(Bare):
    """A training stage that says more of itself."""

    name: ClassVar[str] = "rich"
    traits: ClassVar[Traits] = Traits(relative_cost=2)
    reuse = None

    def prepare(self, task, members, ctx):
        return members


@component
class Attack:
    """An attack whose properties have a mistake in them."""

    name: ClassVar[str] = "attack"

    @property
    def needs(self):
        return Needs(model=self.white_box)

    @property
    def threshold(self):
        return self.thresholds[0]

    def score(self, evidence):
        return evidence.labels


def test_a_stage_is_there_or_not():
    assert [isinstance(Bare(), each) for each in (Fits, Prepares, Filters, HasTraits)] == [True, False, False, False]
    assert [isinstance(Rich(), each) for each in (Fits, Prepares, HasTraits)] == [True] * 3
    assert not isinstance(Rich(), Reuses), "it is switched off"


def test_what_is_not_declared_has_defaults():
    assert traits_of(Bare()) == Traits()
    assert traits_of(Rich()) == Traits(relative_cost=2)


def test_a_property_with_a_mistake_is_there_and_is_told():
    attack = Attack()
    assert isinstance(attack, MembershipAttack)
    assert isinstance(attack, HasThreshold)
    assert not isinstance(attack, ReconstructionAttack)
    with pytest.raises(CellFailed, match=r"AttributeError: 'Attack' object has no attribute 'thresholds'"):
        threshold_of(attack)


def test_no_module_probes_components_by_name():
    declared = {name for kind in CONTRACTS for names in contract(kind) for name in names} - {"name"} | {*TRAITS}
    found = []
    for path in Path(privbench.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in {"getattr", "hasattr"}
            ):
                asked = node.args[1]
                if isinstance(asked, ast.Constant) and asked.value in declared:
                    found.append(f"{path.name}:{node.lineno}: {asked.value}")
    assert found == [], "ask with isinstance (privbench/contracts/abilities.py)"
