"""Parts of a record: components, data, and results."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from privbench.stats.intervals import Share
from privbench.stats.ranges import AtLeastOne, Band, Count, NonNegative
from privbench.stats.roc import OperatingPoint

if TYPE_CHECKING:
    from typing_extensions import Self


def _facts(facts: dict[str, float]) -> dict[str, float]:
    """Return the facts of releases. Raises what pydantic reports for those that say nothing, or what cannot be."""
    for name, value in facts.items():
        least, most = {"epsilon": (0.0, math.inf), "delta": (0.0, 1.0)}.get(name, (-math.inf, math.inf))
        if not least <= value <= most:  # NaN lies nowhere
            raise PydanticCustomError("range", f"{name} is {value:g}, outside [{least:g}, {most:g}]")
    return facts


FileName = Annotated[str, Field(pattern=r"^[^./\\\x00-\x1f\x7f][^/\\\x00-\x1f\x7f]{0,254}$")]
"""A name that is a part of a file's: no path, no control characters."""
Facts = Annotated[dict[str, float], AfterValidator(_facts)]
"""Numbers of releases by name. An epsilon may be infinite, which is no guarantee."""
Epsilon = Annotated[float, Field(ge=0)]
"""An epsilon; infinite if there is no guarantee."""


class Part(BaseModel):
    """Base of all parts of records: frozen, no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Component(Part):
    """A task, defense or attack: enough to rebuild it, and to distinguish its versions."""

    spec: str = Field(description="text that rebuilds it, name:option=value, without the locations of files")
    name: FileName
    version: int = 1
    plugin: str = Field(description="distribution that registered it")
    plugin_version: str = ""
    source: str = Field(description="SHA-256 of its source and of everything it imports")


class Data(Part):
    """Examples of a record; without a fingerprint and without any of them where its task could not be loaded."""

    name: str
    fingerprint: str = Field(description="SHA-256 of all examples and their roles; empty: they could not be loaded")
    classes: Count
    pool: Count
    reference: Count
    validation: Count
    test: Count
    duplicates: Count = Field(description="examples whose input occurs more than once, in any roles")

    @model_validator(mode="after")
    def _all_or_nothing(self) -> Self:
        sizes = (self.classes, self.pool)
        if not (all(sizes) if self.fingerprint else sizes == (0, 0)):
            raise PydanticCustomError("range", "classes and pool are at least 1, and 0 without a fingerprint")
        return self


class Utility(Part):
    """The accuracy of the released models; without canaries and their twins."""

    train_accuracy: Share = Field(description="on members")
    nonmember_accuracy: Share = Field(description="on non-members of the pool")
    test_accuracy: Share
    test_accuracy_sd: NonNegative | None = Field(
        description="standard deviation over the models; null for a single one"
    )


class PerExample(Part):
    """Number of times that the attack flagged each pool example (per-example attack success R)."""

    member_hits: list[Count] = Field(description="number of flags by the targets trained on it")
    member_trials: Count | list[Count] = Field(description="one number if it is the same for all")
    nonmember_hits: list[Count] = Field(description="number of flags by the other targets")
    nonmember_trials: Count | list[Count]


class Canaries(Part):
    """The results of an attack on the canaries of the pool, with non-member canaries as false positives."""

    kind: str = Field(description="clean, mislabelled, ood or duplicate, or a kind defined by the task")
    count: Count = Field(description="number of canaries in the pool")
    tpr_at_fpr: list[OperatingPoint]
    auc: Share


class Claims(Part):
    """The epsilons that the releases claim. One that depends on the data, as after a noise search, is no guarantee."""

    release: Count = Field(description="index of the release with the weakest claim, whose facts the record has")
    releases: AtLeastOne = Field(description="number of releases that state an epsilon")
    epsilon_smallest: Epsilon
    epsilon_median: Epsilon
    epsilon_largest: Epsilon


class Files(Part):
    """The files of a record as they were written, to notice changes and damage."""

    raw_sha256: str = Field(description="of the file of raw arrays beside it; empty: there was none")


class Cost(Part):
    """The cost of the defense, measured while each release was made; not reproducible."""

    seconds_per_model: NonNegative = Field(description="median")
    relative_to_ce: NonNegative | None = Field(
        None, description="ratio to the median of ce for the same task, seed and device, if that is in the store"
    )
    relative_low: NonNegative | None = Field(
        None, description="lower end of its interval, because wall-clock time varies"
    )
    relative_high: NonNegative | None = Field(None, description="upper end; a ratio whose interval contains 1 is noise")


class Selection(BaseModel):
    """Simultaneous confidence bands for several attacks on one population."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    attacks: list[str]
    """The attacks among which the strongest is selected, including this one."""
    resamples: AtLeastOne
    """Number of bootstrap samples of examples, common to all these attacks."""
    bands: dict[str, Band]
    """Limits of this attack's 95 % simultaneous band, by the names of ranking columns."""
    critical: dict[str, NonNegative]
    """Half-width of a band in standard errors; 1.96 for a single attack."""
