"""Every check of an attack bites: there are cheats that it, and where possible nothing else, catches."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch

from privbench.api import Needs, component, option
from privbench.testing import checks_for
from privbench.testing.planted import Planted


def margin(evidence):
    """The honest signal: the true class's logit, relative to the shadows' mean."""
    rows = np.arange(len(evidence.labels))
    shadows = np.mean([logits[rows, 0, evidence.labels] for logits in evidence.shadow_logits], axis=0)
    return (evidence.logits[rows, 0, evidence.labels] - shadows).astype(np.float64)


@component
class Honest:
    """An attack that does as it should."""

    name: ClassVar[str] = "honest"
    paper: ClassVar[str] = "none"
    needs: ClassVar[Needs] = Needs(shadows="adaptive")
    threshold: ClassVar[float | None] = 0.0

    weight: float = option(1.0, "factor of the scores", gt=0)

    def score(self, evidence):
        return self.weight * margin(evidence)


@component
class Trains(Honest):
    """An attack that draws random numbers, as one does that trains a model."""

    def score(self, evidence):
        return margin(evidence) + 0.3 * evidence.rng("noise").normal(size=len(evidence.labels))


def cheat(function, **attributes):
    """Make an attack that scores with a function; pickle finds it by its name."""

    def score(_self, evidence):
        return function(evidence)

    body = {"score": score, "__module__": __name__, "__doc__": "A cheat.", **attributes}
    made = component(type(f"Cheat{len(globals())}", (Honest,), body))
    globals()[made.__name__] = made
    return made()


def peeks_at_the_order(evidence):
    return margin(evidence) + 0.01 * np.arange(len(evidence.labels))


def draws_and_peeks_at_the_order(evidence):
    return Trains().score(evidence) + 0.02 * np.arange(len(evidence.labels))


def favours_the_first_shadow(evidence):
    return margin(evidence) + 0.5 * evidence.shadow_member[0]


def flips_the_sign(evidence):
    return -margin(evidence)


def looks_at_nothing(evidence):
    return np.zeros(len(evidence.labels))


def writes_into_the_evidence(evidence):
    evidence.logits[:, :, 0] = 0
    return margin(evidence)


def forces_its_way_into_the_evidence(evidence):
    logits, scores = evidence.logits, margin(evidence)
    logits.flags.writeable = True
    logits[0] += 1
    return scores


def replaces_the_labels(evidence):
    scores = margin(evidence)
    evidence.labels = evidence.labels + 0
    return scores


def draws_without_a_seed(evidence):
    return margin(evidence) + 1e-3 * np.random.default_rng().normal(size=len(evidence.labels))


def draws_from_numpys_generator(evidence):
    return margin(evidence) + 1e-3 * np.random.normal(size=len(evidence.labels))  # noqa: NPY002 - the cheat itself


def draws_from_torchs_generator(evidence):
    return margin(evidence) + 1e-3 * torch.rand(len(evidence.labels)).numpy()


def seeds_the_global_generator(evidence):
    torch.manual_seed(0)
    return margin(evidence)


def returns_nan(evidence):
    scores = margin(evidence)
    scores[[3, 5]] = np.nan
    return scores


def returns_a_column(evidence):
    return margin(evidence)[:, None]


def returns_text(evidence):
    return margin(evidence).astype(str)


def asks_for_the_model(evidence):
    assert evidence.model
    return margin(evidence)


def reaches_for_what_is_private(evidence):
    assert evidence._query
    return margin(evidence)


def knows_the_answer(evidence):
    """It has studied the benchmark rather than the model."""
    scores = margin(evidence)
    for seed in range(6):
        planted = Planted(Honest.needs, 0.0, seed=seed)
        if np.array_equal(planted.evidence().labels, evidence.labels):
            scores += planted.member
    return scores


def chokes_on_a_constant(evidence):
    logits = evidence.logits[:, 0]
    return margin(evidence) / logits.std()


EVERYTHING = None


@pytest.mark.parametrize(
    ("function", "caught", "message"),
    [
        (peeks_at_the_order, {"example-order"}, "depend on the order of the examples"),
        (draws_and_peeks_at_the_order, {"example-order"}, "depend on the order of the examples"),
        (favours_the_first_shadow, {"shadow-order"}, "depend on the order of the shadows"),
        (flips_the_sign, {"finds-a-leak", "threshold"}, "the sign is flipped; higher must mean more likely a member"),
        (looks_at_nothing, {"finds-a-leak", "threshold"}, "AUC 0.500 on a strong planted leak; expected more than 0.8"),
        (writes_into_the_evidence, EVERYTHING, "writes into the evidence"),
        (
            forces_its_way_into_the_evidence,
            {"evidence-unmutated", "nothing-to-find", "nothing-to-find-salted"},
            "changed the evidence",
        ),
        (replaces_the_labels, {"evidence-unmutated"}, "changed the evidence"),
        (draws_without_a_seed, {"deterministic"}, "200 of 200 results differ when the same evidence is attacked again"),
        (draws_from_numpys_generator, {"deterministic"}, "uses the global random generator of NumPy"),
        (draws_from_torchs_generator, {"deterministic"}, "uses the global random generator of torch"),
        (seeds_the_global_generator, {"deterministic"}, "uses the global random generator of torch"),
        (returns_nan, EVERYTHING, "2 of 200 scores are not finite (2 NaN"),
        (returns_a_column, EVERYTHING, "scores have shape (200, 1); expected (200,)"),
        (returns_text, EVERYTHING, "expected real numbers"),
        (asks_for_the_model, EVERYTHING, "does not declare Needs(model=True)"),
        (reaches_for_what_is_private, EVERYTHING, "accesses evidence._query"),
        (knows_the_answer, {"finds-no-leak", "constant-answers"}, "without a leak; expected 0.5"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_cheating_attack_is_caught(failures, function, caught, message):
    found = failures(cheat(function))
    assert any(message in told for told in found.values()), found
    if caught is EVERYTHING:
        assert {"declared-needs", "one-score-each", "example-order", "finds-a-leak"} <= found.keys()
    else:
        # What breaks more than one promise may be caught more than once.
        assert caught <= found.keys() <= caught | {"example-order", "shadow-order"}, found


def test_an_attack_that_fails_on_constant_answers_is_caught(failures):
    with np.errstate(all="ignore"):
        assert failures(cheat(chokes_on_a_constant)).keys() == {"constant-answers"}


def test_a_senseless_threshold_is_caught(failures):
    made = cheat(margin, threshold=1e9)
    assert failures(made).keys() == {"threshold"}
    assert "threshold" not in {check.name for check in checks_for(cheat(margin, threshold=None))}


def test_needs_must_be_needs(failures):
    assert "it must be privbench.api.Needs" in failures(cheat(margin, needs="logits"))["declared-needs"]


@pytest.mark.parametrize(
    "made", [Honest(), Honest(weight=0.1), Trains(), cheat(margin, needs=Needs(shadows="undefended"))]
)
def test_an_honest_attack_passes(failures, made):
    assert failures(made) == {}
