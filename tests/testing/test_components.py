"""Every check of a component's outside bites."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import pytest

from privbench.api import Needs, component, option


@component
class Honest:
    """A component as it should be."""

    name: ClassVar[str] = "honest"
    paper: ClassVar[str] = "none"
    needs: ClassVar[Needs] = Needs()
    weight: float = option(1.0, "factor of the scores", gt=0)
    limits: tuple[int, ...] = option((), "several")
    path: str = option("", "where it lies", keyed=False)

    def score(self, evidence):
        return evidence.labels * self.weight


@pytest.mark.parametrize("made", [Honest(), Honest(weight=0.1, limits=(3,), path="a/b.npz")])
@pytest.mark.parametrize("check", ["frozen", "options", "picklable", "declared", "documented"])
def test_an_honest_component_passes(failure_of, made, check):
    assert failure_of(made, check) == ""


class Bare:
    """Not a component."""

    name = "bare"
    paper = "none"

    def score(self, evidence):
        return evidence.labels


@component
class Undocumented(Honest):
    name: ClassVar[str] = "Un documented"


@component
class Helpless(Honest):
    """An option that nobody can understand."""

    paper: ClassVar[str] = ""
    depth: int = option(1, "")


@component
class Listing(Honest):
    """An option that cannot be a key."""

    sizes: list[int] = option([1], "sizes")


@component
class Carrying(Honest):
    """State beside the options."""

    def __post_init__(self):
        object.__setattr__(self, "model", 3)


@dataclasses.dataclass(frozen=True)
class Table:
    """What has no text."""


@component
class Tabled(Honest):
    """An option that text cannot hold."""

    table: Table | None = option(None, "a table")


@component
class Rounding(Honest):
    """An option that is kept only in part."""

    text: str = option("", "text")

    def __post_init__(self):
        object.__setattr__(self, "text", self.text[1:])


@component
class Needless:
    """An attack without a threat model."""

    name: ClassVar[str] = "needless"

    def score(self, evidence):
        return evidence.labels


@component
class Misspelt(Honest):
    """An attribute that nobody reads."""

    thresold: ClassVar[float] = 0.5


def _local():
    @component
    class Local(Honest):
        """A class that a worker process cannot find."""

    return Local()


@pytest.mark.parametrize(
    ("made", "check", "message"),
    [
        (Bare(), "frozen", "decorate it with @privbench.api.component"),
        (Undocumented(), "documented", "named 'Un documented'"),
        (Helpless(), "documented", "It has no `paper`"),
        (Listing(), "frozen", "use tuples"),
        (Carrying(), "frozen", "carries model in addition to its options"),
        (Tabled(table=Table()), "options", "cannot be rebuilt from its options"),
        (Rounding(text="ab"), "options", "does not rebuild the same"),
        (Misspelt(), "declared", "Attack 'honest' has 'thresold', which is not read. Did you mean 'threshold'?"),
        (Bare(), "declared", "Bare is no component"),
        (Needless(), "declared", "Attack 'needless' has no 'needs'; see privbench.api."),
        (_local(), "picklable", "at the top level of a module"),
    ],
)
def test_a_faulty_component_is_caught(failure_of, made, check, message):
    assert message in failure_of(made, check)
