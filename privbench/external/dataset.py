"""Audit of a synthetic data set made elsewhere: what it reveals about its generator's training data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from privbench import seeds
from privbench.contracts.attack import MembershipAttack
from privbench.contracts.evidence import Answered, Evidence
from privbench.data.dataset import Examples
from privbench.data.duplicates import duplicated
from privbench.escapes import printable
from privbench.external.measures import OneRelease, measured
from privbench.external.measures import chosen as measurements_of
from privbench.external.result import Audited, about, above, attacks, exposure, judge, judged, strongest
from privbench.external.scale import dominated, encoder
from privbench.external.sets import Sets, sets
from privbench.grid.cell import threshold_of
from privbench.records.files import save
from privbench.records.parts import Data
from privbench.store.atomic import writing_into

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd
    from PIL.Image import Image

    from privbench.aliases import Array
    from privbench.api import Needs
    from privbench.external.reading import Given
    from privbench.records.audit_record import AuditRecord
    from privbench.records.record import Record

NO_SHADOWS = "calibrating one takes shadow generators"


@dataclass(frozen=True, eq=False, repr=False)
class AuditedDataset(Audited):
    """Results of an audit of a synthetic data set: one record per attack, measurements and pictures."""

    audits: tuple[AuditRecord, ...] = ()
    """Records of the measurements other than attacks: expected privacy loss, generation quality."""
    arrays: tuple[Mapping[str, Array], ...] = ()
    """Arrays of each measurement, for figures."""
    page: Image | None = None
    """Nearest pairs of real and synthetic images, next to those of held-out images."""

    def save(self, out: Path | str) -> list[Path]:
        """Write records, raw scores and measurements, the exposed examples, and the page of nearest pairs."""
        out = Path(out)
        paths = super().save(out)
        for each, arrays in zip(self.audits, self.arrays, strict=True):
            paths.append(save(each, out, arrays))
        best = self.strongest or self.records[0]
        if self.page is not None:
            with writing_into(Path(out), "records"):
                self.page.save(best.path(out).with_suffix(".pairs.png"))
        return paths


def audit_dataset(
    real: Given,
    synthetic: Given,
    holdout: Given,
    *,
    attack: Iterable[Any] | str = "all",
    audit: Iterable[Any] | str | None = "all",
    label: str | None = None,
    seed: int = 0,
    name: str = "",
    command: str = "",
) -> AuditedDataset:
    """Run every attack on a synthetic data set, and return records, scores and the most exposed real examples.

    real: training set of the generator; all its examples are members.
    synthetic: output of the generator.
    holdout: real examples that the generator never saw. Half of them, at most as many as there are real ones, are the
        non-members; the others are reference data of the attacker.
    attack: one or several attacks, as texts or objects.
    audit: further measurements of the sets, likewise; "all": those in MEASURES.
    label: column of labels, not used as a feature, for tables with named columns.
    seed: seed of all random numbers.
    name: name of the data in the records.

    Each set is a .npz file with x and optionally y, a .npy, .csv, .tsv or .parquet file, a folder of images, an array,
    a data frame, a tensor, a list, a pair (x, y), or a mapping. Named columns are matched by name.

    Raises DataError for sets that do not match, UsageError if no attack can be run, UnknownName for unknown names.
    """
    chosen, left_out = attacks(attack, lacks)
    audits = measurements_of(audit)
    given = Published(sets(real, synthetic, holdout, seed, label), name or "dataset", seed)
    records, scores = judged(chosen, lambda each: given.judged(each, command), seed)
    best = strongest(records)
    exposed = given.exposed(None if best is None else scores[best.attack.spec])
    measurements = measured(audits, given.release, given.data, command)
    return AuditedDataset(
        records,
        given.member,
        scores,
        exposed,
        left_out,
        (*given.sets.warnings, *dominated(given.sets, chosen)),
        given.sets.notes,
        tuple(measurement for measurement, _ in measurements),
        tuple(arrays for _, arrays in measurements),
        given.page(),
    )


def lacks(attack: Any) -> str:
    """Return what an attack needs but a synthetic set lacks, or ""."""
    needs: Needs = attack.needs
    if needs.answers != "none":
        return "predictions of a model (privbench audit predictions)"
    wanted = {
        "a model": needs.model or needs.query or needs.training or not isinstance(attack, MembershipAttack),
        "shadow generators": needs.shadows != "none",
        "transformed inputs": needs.inputs != "original",
    }
    return next((what for what, lacking in wanted.items() if lacking), "")


@dataclass(frozen=True, eq=False)
class Published:
    """Three checked sets, and their form as evidence of attacks."""

    sets: Sets
    name: str
    seed: int

    @cached_property
    def _order(self) -> Array:
        """Order of the candidates, which does not reveal membership and cannot be redrawn without knowing it."""
        total = len(self.sets.real) + len(self.sets.outside)
        return seeds.numpy_generator(self.seed, "given", "order", self.sets.fingerprint).permutation(total)

    @cached_property
    def member(self) -> Array:
        """(n,) bool."""
        return np.asarray(self._order < len(self.sets.real))

    @cached_property
    def candidates(self) -> Examples:
        """Members and non-members, shuffled."""
        inside, outside = self.sets.real, self.sets.holdout[self.sets.outside]
        x, y = np.concatenate([inside.x, outside.x]), np.concatenate([inside.y, outside.y])
        return Examples(x[self._order], y[self._order])

    @cached_property
    def rows(self) -> Array:
        """Row of each candidate in its set, (n,)."""
        rows: Array = np.concatenate([np.arange(len(self.sets.real)), self.sets.outside])[self._order]
        return rows

    def evidence(self, needs: Needs) -> Evidence:
        """Return the evidence of an attack with these needs."""
        reference, pool = self.sets.holdout[self.sets.reference], self.candidates

        return Evidence(
            needs,
            pool.y,
            None,
            classes=self.data.classes,
            x=pool.x,
            reference=Answered(needs, reference.y, None, x=reference.x),
            synthetic=self.sets.synthetic,
            seed=seeds.derive(self.seed, "evidence", 0),
        )

    @property
    def release(self) -> OneRelease:
        """The sets in the form that audits use."""
        reference = self.sets.holdout[self.sets.reference]
        return OneRelease(self.candidates, self.member, self.sets.synthetic, reference, self.seed)

    def judged(self, attack: Any, command: str) -> tuple[Record, dict[str, Array]]:
        """Return an attack's record, and its raw arrays where it did not fail."""
        base = about("dataset", self.data, attack, attack.needs, shadows=0, seed=self.seed, command=command)

        def decide(scores: Array) -> tuple[Array | None, str]:
            return above(threshold_of(attack), scores, NO_SHADOWS)

        return judge(attack, base, self.evidence(attack.needs), self.member, decide)

    @cached_property
    def data(self) -> Data:
        """The sets in the form of a record."""
        given = self.sets
        real, holdout = given.exact
        classes = 1 + max(int(each.y.max()) for each in (given.real, given.synthetic, given.holdout))
        return Data(
            name=printable(self.name),
            fingerprint=given.fingerprint,
            classes=classes,
            pool=len(self.member),
            reference=len(given.reference),
            validation=0,
            test=0,
            duplicates=int(duplicated(np.concatenate([real, holdout[given.outside]])).sum()),
        )

    @cached_property
    def _nearest(self) -> tuple[Array, Array]:
        """Distance of each candidate to its nearest synthetic example, (n,), and the row of that example."""
        from privbench.stats.neighbours import nearest

        encode = encoder(self.sets)
        distances, rows = nearest(encode(self.candidates.x), encode(self.sets.synthetic.x))
        return distances[:, 0], rows[:, 0]

    def exposed(self, scores: Array | None) -> pd.DataFrame:
        """Return all members sorted by score, each with its nearest synthetic example."""
        import pandas as pd

        names = ["index", "label", "score", "nonmembers_as_high", "fpr", "nearest", "distance"]
        columns: Mapping[str, Any] = dict.fromkeys(names, ())
        if scores is not None:
            order, as_high = exposure(scores, self.member)
            label = None if self.sets.labels is None else self.sets.labels[self.rows[order]]
            found = (self.rows[order], label, scores[order], as_high, as_high / int((~self.member).sum()))
            nearest = (self._nearest[1][order], self._nearest[0][order])
            columns = dict(zip(names, (*found, *nearest), strict=True))
        table: pd.DataFrame = pd.DataFrame(columns)
        return table

    def page(self) -> Image | None:
        """Return the nearest pairs of real and synthetic images, and of held-out and synthetic ones for comparison."""
        from privbench.external.pictures import PAIRS, pairs

        if not self.sets.is_image:
            return None
        sides = {}
        for title, rows in (("real", self.member), ("held out", ~self.member)):
            distances, found = self._nearest
            order = np.flatnonzero(rows)[np.argsort(distances[rows], kind="stable")][:PAIRS]
            sides[title] = self.candidates.x[order], self.sets.synthetic.x[found[order]], distances[order]
        return pairs(sides)
