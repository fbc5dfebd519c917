"""Audit of a model by its predictions alone: the results of each attack, and the most exposed examples."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from privbench import seeds
from privbench.api import Needs
from privbench.contracts.answers import Answers
from privbench.contracts.attack import MembershipAttack
from privbench.contracts.evidence import Evidence
from privbench.errors import UsageError
from privbench.escapes import printable
from privbench.external import columns, files
from privbench.external.answers import Predictions, predictions
from privbench.external.result import Audited, about, above, attacks, exposure, judge, judged, strongest
from privbench.grid.cell import CALIBRATORS, threshold_of
from privbench.population.membership import shadow_order
from privbench.records.parts import Data, Utility
from privbench.stats import intervals, metrics, signals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import pandas as pd

    from privbench.aliases import Array
    from privbench.records.record import Record

SIGNALS: dict[str, Callable[[Array, Array], Array]] = {
    "confidence": signals.log_confidence,
    "entropy": signals.neg_entropy,
    "m-entropy": signals.neg_modified_entropy,
}
"""Signals of the threshold attacks; without shadows they are used without a threshold."""
NO_SHADOWS = "without shadow models no threshold can be calibrated; the score is the signal itself"
ONE_KIND = (
    "no threshold can be calibrated if all shadow models were trained on all examples, or all on none; "
    "the score is the signal itself"
)
SHADOWLESS = (
    "Without shadow models no attack can tell an example that the model memorised from one that is easy: attacks that "
    "compare each example with its shadows, such as LiRA, may find leaks where these find none. An AUC near 0.5 "
    "then means that this is not tested; give shadow_logits and shadow_membership to test it."
)


def audit_predictions(
    source: str | Path | Mapping[str, Any] | None = None,
    /,
    *,
    attack: Iterable[Any] | str = "all",
    seed: int = 0,
    name: str = "",
    command: str = "",
    **arrays: Any,
) -> Audited:
    """Run every attack that the predictions of a model support, and return records, scores and most exposed members.

    source: a .npz file, a mapping of arrays, or the arrays themselves as keywords: NumPy's, lists, data frames,
        tensors; or a table with a column per class: a .csv, .tsv or .parquet file, or a data frame.

        logits, or probabilities            (n, c), or (n, q, c) for q aligned queries, the first of them the
                                            unmodified example
        labels                              (n,) integers, 0 to c - 1, or names of the columns of predictions
        membership                          (n,) booleans, or 0 and 1: True for training examples
        shadow_logits, or shadow_probabilities, and shadow_membership        (s, n, c) or (s, n, q, c); (s, n)

    attack: one or several attacks, as texts ("lira:mode=offline") or objects.
    seed: seed of all random numbers.
    name: name of the data in the records.
    Raises DataError for arrays that do not match, UsageError if no attack can be run.
    """
    if source is not None and arrays:
        raise UsageError("Give a file, or a mapping, or arrays as keywords; not several of these.")
    files.check_keywords(arrays, ("attack", "seed", "name", "command"))
    found, notes = columns.arrays_of(source if source is not None else arrays)
    name = name or (Path(source).stem if isinstance(source, (str, Path)) else "predictions")
    given = Given(predictions(found, name), name, seed)
    chosen, left_out = attacks(attack, given.lacks)
    records, scores = judged(chosen, lambda each: given.judged(each, command), seed)
    exposed = given.exposed(strongest(records), scores)
    notes = (*notes, *given.arrays.notes, *given.notes)
    return Audited(records, given.arrays.member, scores, exposed, left_out, given.arrays.warnings, notes)


@dataclass(frozen=True)
class RawSignal:
    """Threshold attack without shadows of both kinds: the signal ranks examples, but there are no decisions."""

    signal: Callable[[Array, Array], Array]
    needs: ClassVar[Needs] = Needs()
    threshold: ClassVar[None] = None

    def score(self, evidence: Evidence) -> Array:
        """Return (n,) float64."""
        return evidence.signals(self.signal)[:, 0]


@dataclass(frozen=True, eq=False)
class Given:
    """Checked predictions, and their form as evidence of attacks, the same as for model 0 in `privbench run`."""

    arrays: Predictions
    name: str
    seed: int

    @property
    def queries(self) -> int:
        """Number of aligned queries per example."""
        return int(self.arrays.logits.shape[1])

    def lacks(self, attack: Any) -> str:
        """Return what an attack needs but the predictions lack, or ""."""
        needs: Needs = attack.needs
        wanted = {
            "the model itself": needs.model or not isinstance(attack, MembershipAttack),
            "published synthetic examples (privbench audit dataset)": needs.synthetic or needs.answers == "none",
            "queries of its choice": needs.query,
            "the examples themselves": needs.examples,
            "reference examples": needs.reference,
            "the architecture": needs.training,
            "answers to transformed inputs": needs.inputs != "original",
            f"{needs.queries} queries per example, not {self.queries}": needs.queries not in (1, "task", self.queries),
            "shadow models (shadow_logits and shadow_membership)": (
                needs.shadows != "none" and not len(self.arrays.shadow_logits) and attack.name not in SIGNALS
            ),
        }
        return next((what for what, lacking in wanted.items() if lacking), "")

    def judged(self, attack: Any, command: str) -> tuple[Record, dict[str, Array]]:
        """Return an attack's record, and its raw arrays where it did not fail."""
        shadows, acting = len(self.arrays.shadow_logits), attack
        known = self.arrays.shadow_member
        if attack.name in SIGNALS and (known.all() or not known.any()):  # no shadows, or shadows of one kind
            acting = RawSignal(SIGNALS[attack.name])
        needs = replace(acting.needs, queries=1 if acting.needs.queries == 1 else self.queries)
        base = about("predictions", self.data, attack, needs, shadows=shadows, seed=self.seed, command=command)
        base = base.model_copy(update={"utility": self.utility})

        def decide(scores: Array) -> tuple[Array | None, str]:
            return above(threshold_of(acting), scores, self._calibration(acting))

        return judge(acting, base, self.evidence(acting.needs), self.arrays.member, decide, order=self.order)

    def evidence(self, needs: Needs, posing: int | None = None, without: Iterable[int] = ()) -> Evidence:
        """Return the evidence on the target, or on a shadow that poses as the target, without the given shadows."""
        queries = 1 if needs.queries == 1 else self.queries
        # In a run, the target is model 0, its partner model 1, followed by the shadows.
        model, models = 0 if posing is None else posing + CALIBRATORS, len(self.arrays.shadow_logits) + CALIBRATORS
        out = {-2, -1, *without}
        order = (index - CALIBRATORS for index in shadow_order(self.seed, model, models))
        kept = [i for i in order if i not in out] if needs.shadows != "none" else []
        return Evidence(
            needs,
            self.arrays.labels[self.order],
            self._answers[queries][model],
            [self._answers[queries][i + CALIBRATORS] for i in kept],
            shadow_member=self.arrays.shadow_member[kept][:, self.order],
            classes=self.arrays.logits.shape[-1],
            seed=seeds.derive(self.seed, "evidence", model),
        )

    @cached_property
    def order(self) -> Array:
        """Order of the examples in the evidence; not that of the file, in which members often come first.

        It depends on the content of the file, including memberships, so that an attack cannot redraw it.
        """
        return seeds.numpy_generator(self.seed, "given", "order", self.arrays.fingerprint).permutation(
            len(self.arrays.labels)
        )

    @cached_property
    def _answers(self) -> dict[int, dict[int, Answers]]:
        """Predictions by number of queries, and by the index that the model would have in a run."""
        models = dict(enumerate(self.arrays.shadow_logits, start=CALIBRATORS))
        models[0] = self.arrays.logits

        def answers(logits: Array, queries: int) -> Answers:
            return Answers(lambda: logits[self.order, :queries], self.arrays.labels[self.order])

        return {q: {i: answers(logits, q) for i, logits in models.items()} for q in {1, self.queries}}

    def _calibration(self, attack: Any) -> Callable[[], float] | str:
        """Return a function that calibrates the threshold as a run does, or the reason why that is impossible.

        The first two shadows pose as targets, and are attacked without each other and without their partners.
        """
        member = self.arrays.shadow_member
        posing = list(range(CALIBRATORS))
        if isinstance(attack, RawSignal):
            return ONE_KIND if len(member) else NO_SHADOWS
        if len(member) < CALIBRATORS:
            return "calibrating one takes 2 shadow models or more"
        complements = (member[:, None] != member[None, posing]).all(axis=2).any(axis=1)
        without = {*posing, *(int(i) for i in np.flatnonzero(complements))}
        if attack.needs.shadows != "none" and len(member) - len(without) < CALIBRATORS:
            return "calibrating one takes 4 shadow models or more, in pairs"

        def calibrated() -> float:
            shape = self.arrays.member.shape
            tried = [metrics.check_scores(attack.score(self.evidence(attack.needs, i, without)), shape) for i in posing]
            return metrics.best_threshold(
                np.concatenate(tried), np.concatenate([member[i][self.order] for i in posing])
            )

        return calibrated

    @cached_property
    def data(self) -> Data:
        """The arrays in the form of a record; only the pool is known, without its inputs."""
        n, classes = len(self.arrays.labels), self.arrays.logits.shape[-1]
        roles = {"pool": n, "reference": 0, "validation": 0, "test": 0}
        name, fingerprint = printable(self.name), self.arrays.fingerprint
        return Data(name=name, fingerprint=fingerprint, classes=classes, duplicates=0, **roles)

    @cached_property
    def correct(self) -> Array:
        """Whether each prediction is correct, (n,) bool."""
        return np.asarray(self.arrays.logits[:, 0].argmax(axis=-1) == self.arrays.labels)

    @cached_property
    def utility(self) -> Utility:
        """Accuracy on members and on non-members; the latter are also the test examples, unseen in training."""
        member = self.arrays.member
        return Utility(
            train_accuracy=intervals.accuracy(self.correct[None], member[None]),
            nonmember_accuracy=intervals.accuracy(self.correct[None], ~member[None]),
            test_accuracy=intervals.accuracy(self.correct[None], ~member[None]),
            test_accuracy_sd=None,
        )

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """Notes on the accuracy of the model, and on the limits of an audit without shadows."""
        member = self.arrays.member
        said = f"The model classifies {self._share(member)} members and {self._share(~member)} non-members correctly."
        return (said,) if len(self.arrays.shadow_logits) else (said, SHADOWLESS)

    def _share(self, rows: Array) -> str:
        right, count = int(self.correct[rows].sum()), int(rows.sum())
        return f"{right} of {count} ({100 * right / count:.1f} %)"

    def exposed(self, record: Record | None, scores: Mapping[str, Array]) -> pd.DataFrame:
        """Return all members sorted by the scores of one attack, with the share of non-members scored as high."""
        import pandas as pd

        names = ["index", "label", "correct", "score", "nonmembers_as_high", "fpr"]
        if record is None:
            none: pd.DataFrame = pd.DataFrame(columns=names)
            return none
        own = scores[record.attack.spec]
        order, as_high = exposure(own, self.arrays.member)
        share = as_high / int((~self.arrays.member).sum())
        values = (order, self.arrays.labels[order], self.correct[order], own[order], as_high, share)
        table: pd.DataFrame = pd.DataFrame(dict(zip(names, values, strict=True)))
        return table
