"""A record: one (task, defense, attack) result as versioned JSON, beside its raw per-example scores.

The JSON schema of a record is `docs/record.schema.json`. On the same processor or card model with the same versions
the record's command reproduces everything but `cost`, `environment` and `created` bit for bit, and `digest` is the
SHA-256 of that, without what hangs on other attacks. Another machine gives other last bits; metrics agree within their
intervals.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from privbench.atomic import atomic_write, writing_into
from privbench.errors import UsageError
from privbench.intervals import Estimate
from privbench.likeness import Reconstruction
from privbench.metrics import Metrics
from privbench.roc import OperatingPoint
from privbench.seeds import salted
from privbench.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from typing_extensions import Self

SCHEMA_VERSION: Final = 2
"""The version that is written."""
READABLE = (1, 2)
"""The versions that are read: a record of version 1 stays one, and keeps its digest."""
AUDIT = "audit"
"""The `kind` of a record of an audit (privbench.audit); the other records have none."""
AUDIT_PREFIX = f"{AUDIT}-"
"""How the names of the records of audits begin; an attack may be called so too, so that `kind` decides."""
PER_EXAMPLE_LIMIT = 5000
"""Largest pool whose per-example results go into the record; of larger ones they are in the raw scores only."""

NOT_REPRODUCED = {"cost", "environment", "created", "digest", "command", "selection"}
"""What a digest leaves out. `selection` tells of the other attacks of the run as well, and a cell is one attack's."""
LATER = {"findings", "family", "reconstruction", "canaries", "claims", "salt"}
"""Fields that came after the first records: they count in a digest only where they differ from their default."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Component(_Part):
    """A task, defense or attack: enough to build it again, and to tell one version from another."""

    spec: str = Field(description="text that builds it again, name:option=value, but for where files lie")
    name: str
    version: int = 1
    plugin: str = Field(description="distribution that registered it")
    plugin_version: str = ""
    source: str = Field(description="SHA-256 of its source and all that this imports")


class Data(_Part):
    """The examples behind a record."""

    name: str
    fingerprint: str = Field(description="SHA-256 of all examples and their roles")
    classes: int
    pool: int
    reference: int
    validation: int
    test: int
    duplicates: int = Field(description="examples whose input occurs more than once, in whatever roles")


class Utility(_Part):
    """How good the released models are at their task; canaries and their twins do not count."""

    train_accuracy: Estimate = Field(description="on members")
    nonmember_accuracy: Estimate = Field(description="on non-members of the pool")
    test_accuracy: Estimate
    test_accuracy_sd: float | None = Field(description="standard deviation over the models; null of a single one")


class PerExample(_Part):
    """How often the attack flagged each pool example (per-example attack success R)."""

    member_hits: list[int] = Field(description="flagged, over the targets that were trained on it")
    member_trials: int | list[int] = Field(description="one number where it is the same for all")
    nonmember_hits: list[int] = Field(description="flagged, over the targets that were not")
    nonmember_trials: int | list[int]


class Canaries(_Part):
    """What an attack finds among the canaries of the pool, their own non-members being the false positives."""

    kind: str = Field(description="clean, mislabelled, ood or duplicate, or what a task calls its own")
    count: int = Field(description="canaries in the pool")
    tpr_at_fpr: list[OperatingPoint]
    auc: Estimate


class Claims(_Part):
    """The epsilons that the releases claim. One that depends on the data, as a searched noise does, is no promise."""

    release: int = Field(description="the one with the weakest claim, whose facts the record has")
    releases: int = Field(description="that state an epsilon")
    epsilon_smallest: float
    epsilon_median: float
    epsilon_largest: float


class Cost(_Part):
    """What the defense cost, measured while each release was made; not reproducible."""

    seconds_per_model: float = Field(description="median")
    relative_to_ce: float | None = Field(
        None, description="ratio to the median of the same task, seed and device, where that is in the store"
    )
    relative_low: float | None = Field(None, description="lower end of where it lies, as wall-clock time varies")
    relative_high: float | None = Field(None, description="upper end; a ratio whose interval holds 1 is noise")


class Record(_Part):
    """One cell of the grid."""

    schema_version: Literal[1, 2] = SCHEMA_VERSION
    family: Literal["membership", "reconstruction"] = Field("membership", description="of the attack")
    task: Component
    data: Data
    defense: Component
    attack: Component
    threat_model: str
    threshold: str = Field("", description="where the decisions behind balanced accuracy come from")
    models: int
    targets: int
    shadows: int = Field(description="per target")
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
    facts: dict[str, float] = Field(
        default_factory=dict,
        description="the releases' own numbers: with `claims`, all of the one release whose privacy claim is weakest "
        "(largest epsilon, then largest delta); without, the mean of each. Records from before `claims`: the mean of "
        "each, but of epsilon and delta the largest, which may be another release's",
    )
    claims: Claims | None = Field(None, description="where releases state an epsilon among their facts")
    per_example: PerExample | None = None
    selection: Selection | None = Field(None, description="for the strongest of several attacks that ran together")
    scores_sha256: str = ""
    command: str = ""
    cost: Cost | None = None
    environment: dict[str, str] = Field(default_factory=dict)
    created: dt.datetime | None = None
    digest: str = ""

    def compute_digest(self) -> str:
        """Return the SHA-256 of what the record's command reproduces on the same machine."""
        return digest_of(self, NOT_REPRODUCED, LATER)

    @property
    def identity(self) -> tuple[str, ...]:
        """What makes two records results of the same cell: components with options, data, and the run's settings."""
        parts = (self.task.spec, self.data.fingerprint, self.defense.spec, self.attack.spec)
        settings = (self.models, self.targets, self.seed, self.device, *salted(self.salt))
        return (*parts, *(str(part) for part in settings))

    def path(self, out: Path) -> Path:
        """Return where the record lies in a folder of records: <task>/<defense>/<attack>-<hash of identity>.json."""
        short = hashlib.sha256(canonical(list(self.identity))).hexdigest()[:8]
        return out / self.task.name / self.defense.name / f"{self.attack.name}-{short}.json"


def digest_of(record: BaseModel, not_reproduced: set[str], later: set[str]) -> str:
    """Return the SHA-256 of a record's canonical JSON, without some fields, and without later ones that say nothing."""
    content = json.loads(record.model_dump_json(exclude=not_reproduced))
    absent = {name: type(record).model_fields[name].get_default(call_default_factory=True) for name in later}
    content = {name: value for name, value in content.items() if name not in later or value != absent[name]}
    return hashlib.sha256(canonical(content)).hexdigest()


class Digested(Protocol):
    """A record of either kind: it knows the digest of what its command reproduces."""

    def compute_digest(self) -> str:
        """Return the SHA-256 of what the record's command reproduces on the same machine."""
        ...

    def model_copy(self, *, update: Mapping[str, Any] | None = None) -> Self:
        """Return the same record with other fields."""
        ...


Sealed = TypeVar("Sealed", bound=Digested)


def sealed(record: Sealed, **found: Any) -> Sealed:
    """Return a record with what was found, and with the digest of all of it."""
    record = record.model_copy(update=found)
    return record.model_copy(update={"digest": record.compute_digest()})


def scores_sha256(scores: npt.NDArray[np.float64], member: npt.NDArray[np.bool_]) -> str:
    """Return the SHA-256 of raw scores (targets, examples) as little-endian float64, then memberships as bytes."""
    content = np.ascontiguousarray(scores, dtype="<f8").tobytes() + np.ascontiguousarray(member, dtype="u1").tobytes()
    return hashlib.sha256(content).hexdigest()


def images_sha256(images: npt.NDArray[np.float32]) -> str:
    """Return the SHA-256 of reconstructed images (targets, classes, h, w, channels) as little-endian float32."""
    return hashlib.sha256(np.ascontiguousarray(images, dtype="<f4").tobytes()).hexdigest()


def save(record: Record, out: Path, raw: Mapping[str, npt.NDArray[Any]] | None = None) -> Path:
    """Write a record, and its raw arrays as `<record>.scores.npz`; return the record's path. Raises CannotWrite."""
    path = record.path(out)
    with writing_into(out, "records"):
        path.parent.mkdir(parents=True, exist_ok=True)
        if raw:
            save_arrays(path.with_suffix(".scores.npz"), raw)
        atomic_write(path, readable(json.loads(record.model_dump_json())).encode())
    return path


def save_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write arrays as a compressed .npz, at once or not at all."""
    import io

    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    atomic_write(path, buffer.getvalue())


def load(paths: Iterable[Path]) -> list[Record]:
    """Return the records in files and folders, sorted by path, without those of audits.

    Raises UsageError for a file that is no record.
    """
    return [record for _, record in located(paths)]


def located(paths: Iterable[Path]) -> list[tuple[Path, Record]]:
    """Return the same records, each with the file that holds it."""
    found: list[tuple[Path, Record]] = []
    for path in paths:
        files = [(file, json_of(file)) for file in files_at(path, "*.json", "`privbench run --out` writes them.")]
        mixed = path.is_dir()
        found += [(file, _record(file, content)) for file, content in files if not (mixed and is_audit(content))]
    return found


def files_at(path: Path, pattern: str, source: str) -> list[Path]:
    """Return the files of a folder that match a pattern, sorted, or the one file.

    Raises UsageError where there is nothing; `source` says where records come from.
    """
    if not path.exists():
        raise UsageError(f"No records at {path}: no such file or folder. {source}")
    return sorted(path.rglob(pattern)) if path.is_dir() else [path]


def json_of(file: Path) -> Any:
    """Return what a file of JSON holds. Raises UsageError where it is none."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is no record: {error}.") from None


def is_audit(content: Any) -> bool:
    """Return whether the JSON of a record is that of an audit."""
    return isinstance(content, dict) and content.get("kind") == AUDIT


def check_version(file: Path, content: Any) -> None:
    """Raise UsageError for a record of a version that this privbench does not read."""
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version not in READABLE:
        readable_versions = " and ".join(map(str, READABLE))
        raise UsageError(f"{file}: schema_version is {version!r}; this privbench reads versions {readable_versions}.")


def _record(file: Path, content: Any) -> Record:
    check_version(file, content)
    if is_audit(content):
        raise UsageError(f"{file} is the record of an audit: `privbench audit show` reads it.")
    try:
        return Record.model_validate(content)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise UsageError(f"{file} is no record: {where}: {problem['msg']}.") from None


def readable(content: Any) -> str:
    """Return indented JSON with each list of numbers on one line."""
    text = json.dumps(content, indent=1, allow_nan=False)
    return re.sub(r"\[[^\[\]{}\"]*\]", lambda found: re.sub(r"\s+", "", found[0]), text) + "\n"


def canonical(content: Any) -> bytes:
    """Return JSON that is the same for the same content: sorted names, no spaces."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
