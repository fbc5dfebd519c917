"""Attacks that cheat by the public API alone are caught, and a salt takes away what they cheat with."""

from __future__ import annotations

import inspect
import re
from typing import ClassVar

import numpy as np
import pytest

from privbench.api import Needs, component
from privbench.population import identity
from privbench.population.membership import members
from privbench.seeds import derive, fresh_salt, numpy_generator
from privbench.testing import CountOnly, GuessedSeed, RememberedShadows, checks_for
from privbench.testing.cheats import honest
from privbench.testing.unseen import find_nothing

SALT = fresh_salt()
"""A fresh one at every run: the right answer must not depend on it."""


@component
class ReadsTheOrder:
    """Takes the shadows for models 0, 1, 2, ... up to the first that is not: there the target's pair is missing."""

    name: ClassVar[str] = "reads-the-order"
    paper: ClassVar[str] = "none"
    needs: ClassVar[Needs] = Needs(shadows="adaptive")

    def score(self, evidence):
        shadows = evidence.shadow_member
        own = [members(0, index, shadows.shape[1]) for index in range(len(shadows) + 2)]
        missing = next((i for i, row in enumerate(shadows) if (row != own[i]).any()), len(shadows))
        after = own[missing + 2 :]
        if not all(map(np.array_equal, shadows[missing:], after)):
            return honest(evidence)
        drawn = evidence.rng("which").random()
        second = numpy_generator(derive(0, "evidence", missing + 1), "attack", "which").random() == drawn
        return own[missing + second].astype(float)


@component
class KeepsShadows:
    """Keeps every shadow's membership in the store, under its answers, and looks the target up there."""

    name: ClassVar[str] = "keeps-shadows"
    paper: ClassVar[str] = "none"
    needs: ClassVar[Needs] = Needs(shadows="adaptive", reference=True, training=True)

    def score(self, evidence):
        from dataclasses import replace

        from privbench.api import Examples

        examples = Examples(evidence.reference.x, evidence.reference.labels)
        ctx = replace(evidence.ctx, seed=0)  # not the one that it was lent

        def looked_up(logits, found):
            name = str(np.asarray(logits, dtype=np.float64).sum())
            return ctx.kept("shadows", examples, {"of": name}, lambda _ctx: {"found": found})["found"]

        for logits, member in zip(evidence.shadow_logits, evidence.shadow_member, strict=True):
            looked_up(logits, member.astype(np.float64))
        return looked_up(evidence.logits, honest(evidence))


@component
class GuessedPair:
    """Draws the missing pair of halves again, and takes the first: a model that leaks would tell which is its own."""

    name: ClassVar[str] = "guessed-pair"
    paper: ClassVar[str] = "none"
    needs: ClassVar[Needs] = Needs(shadows="adaptive")

    def score(self, evidence):
        shadows, n = evidence.shadow_member.shape
        seen = {row.tobytes() for row in evidence.shadow_member}
        for seed in range(2):
            halves = [half for i in range(shadows + 2) if (half := members(seed, i, n)).tobytes() not in seen]
            if len(halves) == 2:
                return halves[0].astype(float)
        return honest(evidence)


@component
class ShowsMembers:
    """Returns members that it finds by drawing the halves again; without any, what comes to hand."""

    name: ClassVar[str] = "shows-members"
    paper: ClassVar[str] = "none"
    needs: ClassVar[Needs] = Needs(shadows="adaptive", examples=True)

    def reconstruct(self, evidence, classes):
        scores = GuessedSeed().score(evidence)
        of_class = [np.flatnonzero(evidence.labels == label) for label in classes]
        rows = [each[scores[each].argmax()] for each in of_class]
        return evidence.x[rows].astype(np.float32) / 255


@component
class WalksTheFrames:
    """Looks for the population among the variables of whoever called it."""

    name: ClassVar[str] = "walks-the-frames"
    paper: ClassVar[str] = "none"
    needs: ClassVar[Needs] = Needs(answers="labels")

    def score(self, evidence):
        for frame in inspect.stack():
            cell, target = (frame.frame.f_locals.get(name) for name in ("cell", "target"))
            if cell is not None and target is not None:
                return cell.population.members(target).astype(float)
        return (evidence.predictions[:, 0] == evidence.labels).astype(float)


def test_drawing_the_halves_again_is_caught_by_the_check_of_the_public_ones_alone(failures):
    found = failures(GuessedSeed())
    assert found.keys() == {"nothing-to-find"}
    assert "AUC 1.000 on models that saw no data; expected 0.5" in found["nothing-to-find"]
    assert "(the public salt)" in found["nothing-to-find"]


def test_remembering_shadows_is_caught_under_any_salt_and_the_message_names_it():
    checks = {check.name: check for check in checks_for(RememberedShadows(), salt=SALT)}
    for name, words in {"nothing-to-find": "the public salt", "nothing-to-find-salted": f"check --salt {SALT}"}.items():
        with pytest.raises(AssertionError, match=words):
            checks[name]()
    others = set(checks) - {"nothing-to-find", "nothing-to-find-salted"}
    for name in others:
        checks[name]()


@pytest.mark.parametrize(
    "attack", [GuessedSeed(), GuessedPair(), CountOnly(), KeepsShadows()], ids=lambda each: each.name
)
def test_a_salt_takes_away_what_they_cheat_with(attack):
    find_nothing(attack, SALT)


def test_knowing_a_pair_of_halves_is_caught_though_it_is_of_no_use_where_nothing_leaks():
    with pytest.raises(AssertionError, match=r"^AUC of one target [01]\.000 on models that saw no data"):
        find_nothing(GuessedPair(), "")


def test_what_is_kept_of_shadows_is_caught_under_the_public_salt():
    with pytest.raises(AssertionError, match="on models that saw no data; expected"):
        find_nothing(KeepsShadows(), "")


def test_showing_members_instead_of_reconstructing_any_is_caught():
    find_nothing(ShowsMembers(), SALT)
    with pytest.raises(
        AssertionError, match=r"Share of members among the examples nearest to its images 1\.000 on models that saw"
    ):
        find_nothing(ShowsMembers(), "")


def test_the_order_of_the_shadows_says_nothing(monkeypatch):
    find_nothing(ReadsTheOrder(), "")
    find_nothing(ReadsTheOrder(), SALT)
    monkeypatch.setattr(identity, "shadow_order", lambda _seed, _target, models, _salt: list(range(models)))
    with pytest.raises(AssertionError, match="on models that saw no data"):
        find_nothing(ReadsTheOrder(), "")


def test_reaching_around_the_evidence_is_caught():
    with pytest.raises(AssertionError, match=r"AUC 1\.000 on models that saw no data"):
        find_nothing(WalksTheFrames(), SALT)


@component
class Silent(CountOnly):
    """It never answers."""

    name: ClassVar[str] = "silent"

    def score(self, evidence):
        raise ZeroDivisionError("no\nreason")


def test_an_attack_that_fails_says_why_in_one_line():
    with pytest.raises(AssertionError) as caught:
        find_nothing(Silent(), "")
    expected = r"It fails on models that saw no data: ZeroDivisionError: no reason \(.*test_cheats\.py:\d+\)"
    assert re.fullmatch(expected, str(caught.value))


@pytest.mark.parametrize("needs", [Needs(inputs="transformed", shadows="adaptive"), Needs(shadows="released")])
def test_an_attack_on_defenses_of_another_kind_is_left_alone(needs):
    made = component(type("Elsewhere", (Silent,), {"needs": needs, "__doc__": "Elsewhere.", "__module__": __name__}))
    find_nothing(made(), "")
