"""Test of claimed epsilons: the attack on each release against its own claim, at the claim's delta."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from privbench.api import Measurement
from privbench.population import Claim, weakest
from privbench.stats import epsilon_bounds as auditing
from privbench.stats.intervals import rounded

if TYPE_CHECKING:
    from collections.abc import Sequence

DIGITS = 6
JUDGED = (
    "Each release is compared with its own claim, at the claim's delta. A claim is for adding or removing one "
    "example unless the fact replace_one is 1; (2 epsilon, (1 + e^epsilon) delta) for replacing one follows from it."
)
BROKEN = f"The results contradict the claims of the releases: claim_p is at most {auditing.ALPHA:g}."
NOT_BROKEN = "The results do not contradict the claims of the releases, which does not prove the claims."
NO_DELTA = "n/a: the claim has no delta"
WITHOUT_DELTA = (
    "An epsilon claimed without a delta cannot be contradicted: a mechanism that reveals an example with some "
    "probability has epsilon 0 at that delta. State delta among the facts; 0 for pure differential privacy."
)
NOT_RANDOMISED = "n/a: membership was not randomised"


def judged(claims: Sequence[Claim | None], guesses: Sequence[auditing.Matched]) -> Measurement:
    """Return whether the guesses on each target contradict what its release claims; n/a without guesses.

    values: epsilon_claimed and delta_claimed, of the weakest claim; claim_violated; claim_p, the p-value of all claims
    that state a delta. tables: the claims "By target".
    """
    made = [claim for claim in claims if claim is not None]
    worst = made[weakest([claim.facts for claim in made]) or 0]
    values: dict[str, Any] = {"epsilon_claimed": worst.epsilon, "delta_claimed": worst.delta}
    if not guesses:
        return Measurement({**values, "claim_violated": NOT_RANDOMISED})
    tested = [_p(*each) for each in zip(claims, guesses, strict=True)]
    known = [p for p in tested if p is not None]
    rows = [
        {
            "claimed epsilon": claim.epsilon if claim else None,
            "claimed delta": claim.delta if claim else None,
            "claim's p": None if p is None else rounded(p, DIGITS),
        }
        for claim, p in zip(claims, tested, strict=True)
    ]
    notes = [WITHOUT_DELTA] if len(known) < len(made) else []
    if not known:
        return Measurement({**values, "claim_violated": NO_DELTA}, {"By target": rows}, notes=notes)
    notes += _differing(claims, tested)
    p = auditing.p_of_many(known)
    broken = p <= auditing.ALPHA
    values |= {"claim_violated": "yes" if broken else "no", "claim_p": rounded(p, DIGITS)}
    return Measurement(values, {"By target": rows}, notes=[JUDGED, BROKEN if broken else NOT_BROKEN, *notes])


def _differing(claims: Sequence[Claim | None], tested: Sequence[float | None]) -> list[str]:
    """Return a note if releases claim different epsilons: the contradicted claim may not be the weakest one."""
    if len(set(claims)) == 1:
        return []
    epsilons = [claim.epsilon for claim in claims if claim]
    none = f"; {claims.count(None)} of {len(claims)} releases claim nothing" if None in claims else ""
    p, target = min((p, target) for target, p in enumerate(tested) if p is not None)
    least = claims[target]
    worst = f"target {target}, which claims {least.epsilon:.3g}" if least else ""
    span = (
        f"Releases claim epsilon {min(epsilons):.3g} to {max(epsilons):.3g}, and epsilon_claimed is the largest{none}."
    )
    return [f"{span} claim_violated says whether all hold; the smallest p, {p:.2g}, is that of {worst}."]


def _p(claim: Claim | None, guesses: auditing.Matched) -> float | None:
    if claim is None or claim.delta is None:
        return None
    return auditing.claim_p(guesses.right, *claim.replacing())
