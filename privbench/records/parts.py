"""Parts of a record: components, data, and results."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from privbench.stats.intervals import Estimate
from privbench.stats.roc import OperatingPoint


class Part(BaseModel):
    """Base of all parts of records: frozen, no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Component(Part):
    """A task, defense or attack: enough to rebuild it, and to distinguish its versions."""

    spec: str = Field(description="text that rebuilds it, name:option=value, without the locations of files")
    name: str
    version: int = 1
    plugin: str = Field(description="distribution that registered it")
    plugin_version: str = ""
    source: str = Field(description="SHA-256 of its source and of everything it imports")


class Data(Part):
    """Examples of a record."""

    name: str
    fingerprint: str = Field(description="SHA-256 of all examples and their roles")
    classes: int
    pool: int
    reference: int
    validation: int
    test: int
    duplicates: int = Field(description="examples whose input occurs more than once, in any roles")


class Utility(Part):
    """The accuracy of the released models; without canaries and their twins."""

    train_accuracy: Estimate = Field(description="on members")
    nonmember_accuracy: Estimate = Field(description="on non-members of the pool")
    test_accuracy: Estimate
    test_accuracy_sd: float | None = Field(description="standard deviation over the models; null for a single one")


class PerExample(Part):
    """Number of times that the attack flagged each pool example (per-example attack success R)."""

    member_hits: list[int] = Field(description="number of flags by the targets trained on it")
    member_trials: int | list[int] = Field(description="one number if it is the same for all")
    nonmember_hits: list[int] = Field(description="number of flags by the other targets")
    nonmember_trials: int | list[int]


class Canaries(Part):
    """The results of an attack on the canaries of the pool, with non-member canaries as false positives."""

    kind: str = Field(description="clean, mislabelled, ood or duplicate, or a kind defined by the task")
    count: int = Field(description="number of canaries in the pool")
    tpr_at_fpr: list[OperatingPoint]
    auc: Estimate


class Claims(Part):
    """The epsilons that the releases claim. One that depends on the data, as after a noise search, is no guarantee."""

    release: int = Field(description="index of the release with the weakest claim, whose facts the record has")
    releases: int = Field(description="number of releases that state an epsilon")
    epsilon_smallest: float
    epsilon_median: float
    epsilon_largest: float


class Cost(Part):
    """The cost of the defense, measured while each release was made; not reproducible."""

    seconds_per_model: float = Field(description="median")
    relative_to_ce: float | None = Field(
        None, description="ratio to the median of ce for the same task, seed and device, if that is in the store"
    )
    relative_low: float | None = Field(None, description="lower end of its interval, because wall-clock time varies")
    relative_high: float | None = Field(None, description="upper end; a ratio whose interval contains 1 is noise")


class Selection(BaseModel):
    """Simultaneous confidence bands for several attacks on one population."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    attacks: list[str]
    """The attacks among which the strongest is selected, including this one."""
    resamples: int
    """Number of bootstrap samples of examples, common to all these attacks."""
    bands: dict[str, tuple[float, float]]
    """Limits of this attack's 95 % simultaneous band, by the names of ranking columns."""
    critical: dict[str, float]
    """Half-width of a band in standard errors; 1.96 for a single attack."""
