"""Steps: work that waits for calls in other processes, written as if it did not.

    def steps():
        outcome = yield Call(function, job)
        return record

A run resumes each with the outcome of its call (`making.py`); `now` runs them here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from privbench.executors import Call, inline
from privbench.options.fields import parts_of, spec

if TYPE_CHECKING:
    from collections.abc import Generator

    from privbench.executors import Outcome, Port
    from privbench.population.population import Population

T = TypeVar("T")


@dataclass(frozen=True)
class Ready:
    """Wait until no release of some populations remains to be made; resumed with the reason of a failure, or None."""

    populations: frozenset[Population]


Steps: TypeAlias = "Generator[Call[Any] | Ready, Any, T]"


def serves(*components: Any) -> str:
    """Return the components, of several, whose code is not privbench's own, for `Call.serves`."""
    parts = (part for component in components for part in parts_of(component))
    return ", ".join(dict.fromkeys(spec(part) for part in parts if not _built_in(part)))


def result(outcome: Outcome[Any]) -> Any:
    """Return the result of a call. Raises its error."""
    if outcome.error is not None:
        raise outcome.error
    return outcome.result


def now(steps: Steps[T]) -> T:
    """Run all calls of steps here, one after another; releases are made already."""
    answer: Any = None
    try:
        while True:
            wanted = steps.send(answer)
            answer = inline.run(wanted) if isinstance(wanted, Call) else None
    except StopIteration as end:
        found: T = end.value
        return found


def make(job: Any, report: Port) -> None:
    """Make one release; see `privbench.population.releases`, which imports torch."""
    from privbench.population import releases

    releases.make(job, report)


def _built_in(part: Any) -> bool:
    return type(part).__module__.partition(".")[0] == "privbench"
