"""Steps: work that waits for calls in other processes, written as if it did not.

    def steps():
        outcome = yield Call(function, job)
        return record

A run resumes each with the outcome of its call (`making.py`); `now` runs them here.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from privbench.errors import ENDS_THE_RUN, CellFailed
from privbench.executors import Call, inline
from privbench.executors.local import LocalProcesses
from privbench.executors.worker import is_worker
from privbench.options.fields import spec
from privbench.options.named import all_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from privbench.executors import J, Outcome, Port
    from privbench.population.population import Population

T = TypeVar("T")
PATIENCE = 120.0
"""Seconds that a component may take for what is needed before training, such as to build a model."""
BUILT_IN = "built-in"
"""Lane of the calls that make releases with privbench's own code alone."""


@dataclass(frozen=True)
class Ready:
    """Wait until no release of some populations remains to be made; resumed with the reason of a failure, or None."""

    populations: frozenset[Population]


@dataclass(frozen=True)
class Here:
    """Run a call in this process, for its components cannot be sent; resumed with its outcome."""

    call: Call[Any]


Steps: TypeAlias = "Generator[Call[Any] | Here | Ready, Any, T]"


def serves(*components: Any) -> str:
    """Return the components, of several, whose code is not privbench's own, for `Call.serves`."""
    parts = (part for component in components for part in all_parts(component))
    return ", ".join(dict.fromkeys(spec(part) for part in parts if not _built_in(part)))


def sendable(*components: Any) -> bool:
    """Return whether components can run elsewhere: classes of modules, not of a function, a notebook or a script.

    A script is the user's own code, and to import it elsewhere would run it again. The same holds for a module that
    was loaded from a file and is on no path, such as a test's: another process would not find it.
    """
    return all(_importable(type(part)) for component in components for part in all_parts(component))


def own(call: Call[Any], *components: Any) -> Steps[Outcome[Any]]:
    """Return the steps of a call that runs components' code: elsewhere, or here if they cannot be sent."""
    outcome: Outcome[Any] = yield call if sendable(*components) else Here(call)
    if call.serves and isinstance(outcome.error, ENDS_THE_RUN):  # a component's own word: it writes nothing itself
        return replace(outcome, error=CellFailed(str(outcome.error)))
    return outcome


def result(outcome: Outcome[Any]) -> Any:
    """Return the result of a call. Raises its error."""
    if outcome.error is not None:
        raise outcome.error
    return outcome.result


def now(steps: Steps[T], run: Callable[[Call[Any]], Outcome[Any]] = inline.run) -> T:
    """Run all calls of steps, one after another; releases are made already.

    run: returns the outcome of a call that can be sent
    """
    answer: Any = None
    try:
        while True:
            wanted = steps.send(answer)
            if isinstance(wanted, Here):
                answer = inline.run(wanted.call)
            else:
                answer = run(wanted) if isinstance(wanted, Call) else None
    except StopIteration as end:
        found: T = end.value
        return found


def apart(function: Callable[[J, Port], T], job: J, *components: Any, patience: float = PATIENCE) -> T:
    """Return function(job, report), run in a process of its own if it runs code of components that are not privbench's.

    patience: seconds after which it is stopped; 0: never

    Raises PrivbenchError for whatever is raised, or ends the process.
    """
    call = Call(function, job, serves(*components))
    if not call.serves or is_worker() or not sendable(*components):
        found: T = result(inline.run(call))
        return found
    with LocalProcesses(1, timeout=patience).pool() as pool:
        pool.submit(call)
        (outcome,) = pool.outcomes()
    found = result(outcome)
    return found  # noqa: RET504 - typed


def make(job: Any, report: Port) -> None:
    """Make one release; see `privbench.population.releases`, which imports torch."""
    from privbench.learn.lanes import lane
    from privbench.population import releases

    beside = is_worker() and threading.current_thread() is not threading.main_thread()
    with lane(job.population.device) if beside else contextlib.nullcontext():
        releases.make(job, report)


def _importable(cls: type) -> bool:
    return "<locals>" not in cls.__qualname__ and cls.__module__ != "__main__" and _is_found(cls.__module__)


def _is_found(module: str) -> bool:
    """Return whether an import would find a module of this process, in the file from which it was loaded."""
    path, spec = None, None
    for name in itertools.accumulate(module.split("."), "{}.{}".format):
        found = (finder.find_spec(name, path) for finder in sys.meta_path)
        spec = next((each for each in found if each is not None), None)
        if spec is None:
            return False
        path = spec.submodule_search_locations
    return spec is not None and spec.origin == getattr(sys.modules.get(module), "__file__", None)


def _built_in(part: Any) -> bool:
    return type(part).__module__.partition(".")[0] == "privbench"
