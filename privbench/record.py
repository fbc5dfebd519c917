"""A record: one (task, defense, attack) result as versioned JSON, beside its raw per-example scores.

The JSON schema of a record is `docs/record.schema.json`. Everything but `cost`, `environment` and `created` is
reproduced bit for bit by the record's command, and `digest` is the SHA-256 of just that.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from privbench.atomic import atomic_write, writing_into
from privbench.errors import UsageError
from privbench.intervals import Estimate
from privbench.likeness import Reconstruction
from privbench.metrics import Metrics
from privbench.roc import OperatingPoint

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from typing_extensions import Self

SCHEMA_VERSION = 1
AUDIT_PREFIX = "audit-"
"""How the names of the records of audits begin (privbench.audit)."""
PER_EXAMPLE_LIMIT = 5000
"""Largest pool whose per-example results go into the record; of larger ones they are in the raw scores only."""

NOT_REPRODUCED = {"cost", "environment", "created", "digest", "command"}
LATER = {"findings", "family", "reconstruction", "canaries"}
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
    """How often the attack flagged each pool example (per-example attack success R, METHODS M3)."""

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


class Cost(_Part):
    """What the defense cost, measured while each release was made; not reproducible."""

    seconds_per_model: float = Field(description="median")
    relative_to_ce: float | None = Field(
        None, description="of the same task, seed and device, where it is in the store"
    )


class Record(_Part):
    """One cell of the grid."""

    schema_version: Literal[1] = SCHEMA_VERSION  # type: ignore[assignment]
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
    device: str
    status: Literal["ok", "failed", "n/a"] = Field(description="n/a: the attack does not apply to the defense")
    reason: str = ""
    metrics: Metrics | None = Field(None, description="of the pool without its canaries and their twins")
    canaries: Canaries | None = Field(None, description="of the canaries by themselves, where the pool has some")
    findings: dict[str, Estimate] = Field(
        default_factory=dict, description="the attack's own numbers, mean over targets with its t interval"
    )
    reconstruction: Reconstruction | None = Field(None, description="of an attack that reconstructs images")
    utility: Utility | None = None
    facts: dict[str, float] = Field(
        default_factory=dict, description="the releases' own numbers, averaged; of epsilon and delta the largest"
    )
    per_example: PerExample | None = None
    scores_sha256: str = ""
    command: str = ""
    cost: Cost | None = None
    environment: dict[str, str] = Field(default_factory=dict)
    created: dt.datetime | None = None
    digest: str = ""

    def compute_digest(self) -> str:
        """Return the SHA-256 of what the record's command reproduces bit for bit."""
        content = json.loads(self.model_dump_json(exclude=NOT_REPRODUCED))
        absent = {name: type(self).model_fields[name].get_default(call_default_factory=True) for name in LATER}
        content = {name: value for name, value in content.items() if name not in LATER or value != absent[name]}
        return hashlib.sha256(canonical(content)).hexdigest()

    @property
    def identity(self) -> tuple[str, ...]:
        """What makes two records results of the same cell: components with options, data, and the run's settings."""
        parts = (self.task.spec, self.data.fingerprint, self.defense.spec, self.attack.spec)
        return (*parts, *(str(part) for part in (self.models, self.targets, self.seed, self.device)))

    def path(self, out: Path) -> Path:
        """Return where the record lies in a folder of records: <task>/<defense>/<attack>-<hash of identity>.json."""
        short = hashlib.sha256(canonical(list(self.identity))).hexdigest()[:8]
        return out / self.task.name / self.defense.name / f"{self.attack.name}-{short}.json"


class Digested(Protocol):
    """A record of either kind: it knows the digest of what its command reproduces."""

    def compute_digest(self) -> str:
        """Return the SHA-256 of what the record's command reproduces bit for bit."""
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
    """Return the records in files and folders, sorted by path, without those of audits (`audit-*.json`).

    Raises UsageError for a file that is no record.
    """
    return [record for _, record in located(paths)]


def located(paths: Iterable[Path]) -> list[tuple[Path, Record]]:
    """Return the same records, each with the file that holds it."""
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise UsageError(f"No records at {path}: no such file or folder. `privbench run --out` writes them.")
        found = sorted(path.rglob("*.json")) if path.is_dir() else [path]
        files += [file for file in found if not (path.is_dir() and file.name.startswith(AUDIT_PREFIX))]
    return [(file, _read(file)) for file in files]


def _read(file: Path) -> Record:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        version = content.get("schema_version") if isinstance(content, dict) else None
        if version != SCHEMA_VERSION:
            raise UsageError(f"{file}: schema_version is {version!r}; this privbench reads version {SCHEMA_VERSION}.")
        return Record.model_validate(content)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is no record: {error}.") from None
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
