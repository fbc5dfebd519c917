"""Record: one (task, defense, attack) result as versioned JSON, next to its raw per-example scores.

The JSON schema of a record is `docs/record.schema.json`. On the same processor or card model with the same versions
the record's command reproduces everything but `cost`, `environment` and `created` bit for bit, and `digest` is the
SHA-256 of that, without the parts that depend on other attacks. Another machine gives other last bits; metrics agree
within their intervals.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from privbench.records.files import ATTACK, SCHEMA_VERSION, Filed, images_sha256, scores_sha256
from privbench.records.parts import Canaries, Claims, Component, Cost, Data, Facts, PerExample, Selection, Utility
from privbench.records.reading import read, refuse
from privbench.seeds import salted
from privbench.stats.intervals import Estimate
from privbench.stats.likeness import Reconstruction
from privbench.stats.metrics import Metrics
from privbench.stats.ranges import AtLeastOne, Count
from privbench.store.hashing import json_sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from privbench.aliases import Array
    from privbench.errors import InvalidRecord

MASKS = ("ordinary", "canary")
"""Raw arrays that say which examples of the pool are meant."""
PER_EXAMPLE_LIMIT = 5000
"""Largest pool with per-example results in the record; for larger ones they are in the raw scores only."""


class Record(Filed):
    """One cell of the grid."""

    ARRAYS: ClassVar = "scores"
    NOT_REPRODUCED: ClassVar = frozenset({"cost", "environment", "created", "digest", "command", "selection", "files"})
    """`selection` tells of the other attacks of the run as well, and a cell is one attack's."""
    KIND: ClassVar = ATTACK
    WRITTEN_BY: ClassVar = "`privbench run --out` writes them."
    LATER: ClassVar = frozenset({"findings", "family", "reconstruction", "canaries", "claims", "salt", "unmet"})

    schema_version: Literal[1, 2] = SCHEMA_VERSION
    family: Literal["membership", "reconstruction"] = Field("membership", description="of the attack")
    task: Component
    data: Data
    defense: Component
    attack: Component
    threat_model: str
    threshold: str = Field("", description="where the decisions behind balanced accuracy come from")
    models: AtLeastOne
    targets: AtLeastOne
    shadows: Count = Field(description="per target")
    seed: int
    salt: str = Field("", description="of the halves, trainings and evidence; empty: the public one")
    device: str
    status: Literal["ok", "failed", "n/a"] = Field(description="n/a: the attack does not apply to the defense")
    reason: str = ""
    metrics: Metrics | None = Field(None, description="of the pool without its canaries and their twins")
    canaries: Canaries | None = Field(None, description="of the canaries by themselves, where the pool has some")
    findings: dict[str, Estimate] = Field(
        default_factory=dict, description="the attack's own numbers, mean over targets with its interval"
    )
    reconstruction: Reconstruction | None = Field(None, description="of an attack that reconstructs images")
    utility: Utility | None = None
    facts: Facts = Field(
        default_factory=dict,
        description="the releases' own numbers: with `claims`, all of the one release whose privacy claim is weakest "
        "(largest epsilon, then largest delta); without, the mean of each. Records from before `claims`: the mean of "
        "each, but of epsilon and delta the largest, which may be another release's",
    )
    unmet: list[str] = Field(
        default_factory=list,
        description="the defense's criteria that `facts` miss: it did not do what it is meant to do",
    )
    claims: Claims | None = Field(None, description="where releases state an epsilon among their facts")
    per_example: PerExample | None = None
    selection: Selection | None = Field(None, description="for the strongest of several attacks that ran together")
    scores_sha256: str = ""
    command: str = ""
    cost: Cost | None = None
    environment: dict[str, str] = Field(default_factory=dict)
    created: dt.datetime | None = None

    @property
    def raw_digest(self) -> str:
        """The SHA-256 of the raw scores or images; empty: there are none."""
        return self.scores_sha256

    def own(self, arrays: Mapping[str, Array]) -> bool:
        """Return whether raw arrays are those of the record: scores with memberships, or images."""
        if self.family == "reconstruction":
            return images_sha256(arrays["images"]) == self.scores_sha256
        scores, member = arrays["scores"], arrays["member"]
        shapes = {"member": scores.shape, "decisions": scores.shape, **dict.fromkeys(MASKS, scores.shape[1:])}
        fits = scores.shape == (self.targets, self.data.pool) and all(
            arrays[name].shape == shape and arrays[name].dtype == bool
            for name, shape in shapes.items()
            if name in arrays
        )
        return fits and scores_sha256(scores, member) == self.scores_sha256

    @property
    def identity(self) -> tuple[str, ...]:
        """The key of results for the same cell: components with options, data, and the run's settings."""
        parts = (self.task.spec, self.data.fingerprint, self.defense.spec, self.attack.spec)
        settings = (self.models, self.targets, self.seed, self.device, *salted(self.salt))
        return (*parts, *(str(part) for part in settings))

    def path(self, out: Path) -> Path:
        """Return the location in a folder of records: <task>/<defense>/<attack>-<hash of identity>.json."""
        file = f"{self.attack.name}-{json_sha256(self.identity)[:8]}.json"
        return out / self.task.name / self.defense.name / file


def load(paths: Iterable[Path], invalid: Callable[[InvalidRecord], None] = refuse) -> list[Record]:
    """Return the records in files and folders, sorted by path, without those of audits; each is verified.

    invalid: called for each file that is no valid record, which is left out; by default it raises

    Raises UsageError where there is no such file or folder.
    """
    return [record for _, record in located(paths, invalid)]


def located(paths: Iterable[Path], invalid: Callable[[InvalidRecord], None] = refuse) -> list[tuple[Path, Record]]:
    """Return the same records, each with its file."""
    return read(Record, paths, invalid)
