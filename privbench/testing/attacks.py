"""Contract checks of membership attacks, and the base class of the checks of all attacks."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from privbench.api import Needs
from privbench.errors import InvalidScores, UndeclaredEvidence
from privbench.grid.cell import threshold_of
from privbench.stats.metrics import check_scores
from privbench.testing.base import Check, auc, auc_se, digest, generators, rank_correlation, require
from privbench.testing.planted import Planted
from privbench.testing.unseen import unseen_checks

if TYPE_CHECKING:
    from collections.abc import Callable

    from privbench.aliases import Array

STRONG, WEAK = 5.0, 1.0
FOUND = 0.8
NULL_SETS = 6
SIGMAS = 3.5
SLACK = 0.1
CHANCE = 0.5
CLASSES = 4


def attack_checks(attack: Any, salt: str, device: str) -> list[Check]:
    """Return the checks of a membership attack. salt, device: of the population in which it must find nothing."""
    return [*_Scores(attack, device).checks(), *unseen_checks(attack, salt, device)]


class Tried:
    """An attack that is run on planted evidence, with the checks common to all attacks."""

    def __init__(self, attack: Any, device: str) -> None:
        self.attack, self.device = attack, device

    @cached_property
    def needs(self) -> Needs:
        needs = self.attack.needs
        require(isinstance(needs, Needs), f"`needs` is {needs!r}; it must be privbench.api.Needs, the threat model.")
        assert isinstance(needs, Needs)
        return needs

    def planted(self, leak: float, **options: Any) -> Planted:
        return Planted(self.needs, leak, classes=CLASSES, device=self.device, **options)

    def result(self, planted: Planted) -> Array:
        """Run the attack. Raises AssertionError if it accesses undeclared evidence or writes into the evidence."""
        raise NotImplementedError

    def attempt(self, method: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return method(*arguments)
        except UndeclaredEvidence as error:
            raise AssertionError(f"The attack accesses evidence that its `needs` do not declare: {error}") from error
        except ValueError as error:
            if "read-only" in str(error):
                raise AssertionError(
                    "The attack writes into the evidence, which other attacks see too; work on a copy."
                ) from error
            raise

    def declared(self) -> None:
        self.result(self.planted(STRONG))

    def deterministic(self) -> None:
        results = []
        for state, watched in ((1, ""), (2, "The attack")):
            with generators(state, watched, self.device):
                results.append(self.result(self.planted(WEAK)))
        unequal = int((results[0] != results[1]).reshape(len(results[0]), -1).any(axis=1).sum())
        require(
            unequal == 0,
            f"{unequal} of {len(results[0])} results differ when the same evidence is attacked again; "
            "draw random numbers from evidence.rng() only.",
        )

    def unmutated(self) -> None:
        planted = self.planted(WEAK)
        evidence = planted.evidence()
        before, labels = digest(planted.used), evidence.labels
        self.call(evidence)
        require(
            digest(planted.used) == before and evidence.labels is labels,
            "The attack changed the evidence, which other attacks see too; work on a copy.",
        )

    def call(self, evidence: Any) -> Array:
        raise NotImplementedError


class _Scores(Tried):
    def checks(self) -> list[Check]:
        checks = [
            Check("declared-needs", "It uses the evidence declared in its `needs`, and nothing else.", self.declared),
            Check("one-score-each", "One finite score per example.", self.one_score_each),
            Check(
                "deterministic",
                "The same evidence gives the same result, bit for bit; no global generator is used.",
                self.deterministic,
            ),
            Check("evidence-unmutated", "The evidence is not modified.", self.unmutated),
            Check("example-order", "Permuting the examples permutes the scores.", self.example_order),
            Check("shadow-order", "The scores do not depend on the order of the shadows.", self.shadow_order),
            Check("finds-a-leak", "It detects a strong leak, with the right sign.", self.finds_a_leak),
            Check("finds-no-leak", "Its AUC is 0.5 without a leak.", self.finds_no_leak),
            Check(
                "constant-answers",
                "Its AUC is 0.5 on models that give the same answer to every query.",
                self.constant_answers,
            ),
        ]
        if threshold_of(self.attack) is not None:
            checks.append(
                Check("threshold", "Its threshold separates better than chance on a strong leak.", self.threshold)
            )
        return checks

    def call(self, evidence: Any) -> Array:
        return np.asarray(self.attempt(self.attack.score, evidence))

    def result(self, planted: Planted) -> Array:
        """Return (n,) scores. Raises AssertionError for a wrong shape first, then for NaN and infinity."""
        scores, expected = self.call(planted.evidence()), (planted.examples,)
        try:
            return check_scores(scores, expected)
        except InvalidScores as error:
            raise AssertionError(str(error)) from error

    def one_score_each(self) -> None:
        for examples in (50, 200):
            self.result(self.planted(WEAK, examples=examples))

    @cached_property
    def reseeded(self) -> float:
        """Agreement of the scores of the same evidence under different seeds; 1 for a deterministic attack."""
        planted = self.planted(WEAK)
        scores = self.result(planted)
        return _agreement(scores, [self.result(planted.shown(attack_seed=seed)) for seed in (1, 2, 3)])

    def require_agreement(self, expected: Array, found: Array, fault: str) -> None:
        """Require equal scores; for a randomised attack, scores that agree as well as under another seed."""
        agreement = _agreement(expected, [found])
        least = 1.0 if self.reseeded == 1 else self.reseeded - SLACK
        require(agreement >= least, f"{fault} (rank correlation {agreement:.3f}; expected at least {least:.3f}).")

    def example_order(self) -> None:
        planted = self.planted(WEAK)
        order = np.random.default_rng(0).permutation(planted.examples)
        self.require_agreement(
            self.result(planted)[order],
            self.result(planted.shown(order=order)),
            "The scores depend on the order of the examples",
        )

    def shadow_order(self) -> None:
        planted = self.planted(WEAK)
        order = np.random.default_rng(0).permutation(planted.models - 2)
        self.require_agreement(
            self.result(planted),
            self.result(planted.shown(shadow_order=order)),
            "The scores depend on the order of the shadows",
        )

    def mean_auc(self, leak: float, sets: int, **options: Any) -> tuple[float, float]:
        """Return the mean AUC over several independent targets, and its standard error without a leak."""
        tried = [self.planted(leak, seed=seed, **options) for seed in range(sets)]
        aucs = [auc(self.result(planted), planted.member) for planted in tried]
        return float(np.mean(aucs)), auc_se(tried[0].member) / sets**0.5

    def finds_a_leak(self) -> None:
        reached, _ = self.mean_auc(STRONG, 2)
        require(
            reached > 1 - FOUND,
            f"AUC {reached:.3f} on a strong planted leak: the sign is flipped; higher must mean more likely a member.",
        )
        require(reached > FOUND, f"AUC {reached:.3f} on a strong planted leak; expected more than {FOUND}.")

    def finds_no_leak(self) -> None:
        reached, se = self.mean_auc(0.0, NULL_SETS)
        require(
            abs(reached - CHANCE) <= SIGMAS * se,
            f"AUC {reached:.3f} without a leak; expected 0.5 within {SIGMAS * se:.3f}: the attack cheats.",
        )

    def constant_answers(self) -> None:
        reached, se = self.mean_auc(0.0, NULL_SETS, constant=True)
        require(
            abs(reached - CHANCE) <= SIGMAS * se,
            f"AUC {reached:.3f} on models that give the same answer to every query; "
            f"expected 0.5 within {SIGMAS * se:.3f}.",
        )

    def threshold(self) -> None:
        planted, at = self.planted(STRONG), self.attack.threshold
        said, member = self.result(planted) >= at, planted.member
        accuracy = (said[member].mean() + (~said[~member]).mean()) / 2
        chance = CHANCE + 3 * CHANCE / len(member) ** 0.5
        require(
            accuracy > chance,
            f"At the attack's threshold {at:g}, the balanced accuracy on a strong planted leak is {accuracy:.3f}; "
            f"expected more than {chance:.3f}.",
        )


def _agreement(scores: Array, others: list[Array]) -> float:
    """Return the lowest rank correlation with the others; exactly 1 if all are equal up to rounding."""
    near = 1e-6 * float(np.abs(scores).max(initial=0))
    if all(np.allclose(other, scores, rtol=1e-6, atol=near) for other in others):
        return 1.0
    return min([1 - 1e-9, *(rank_correlation(scores, other) for other in others)])
