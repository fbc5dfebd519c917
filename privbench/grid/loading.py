"""Data of tasks: loaded in a process of their own where a task is not privbench's, and sent as files of plain arrays.

A task that fails spoils its own cells, if another task of the grid does not; see `load_all`.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from privbench.contracts.recipe import Recipe
from privbench.data.dataset import Dataset, Examples
from privbench.errors import CellFailed, PrivbenchError, TimedOut, UsageError, WorkerDied, blamed, note
from privbench.executors import Call, inline
from privbench.grid.calls import apart, result, serves

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from privbench.aliases import Array
    from privbench.contracts.task import Task

LARGE = 64 * 2**20
"""Bytes of an array from which it is mapped into memory, and not read."""
Failures: TypeAlias = "dict[Task, PrivbenchError]"
"""Tasks that cannot be used, with the reason."""


@dataclass(frozen=True)
class Loading:
    """A task, and an empty folder for its arrays."""

    task: Task
    folder: Path


def load_all(tasks: Sequence[Task], timeout: float = 0.0) -> tuple[list[tuple[Task, Dataset]], Failures]:
    """Return tasks with their data, and those whose code fails, with the reason.

    timeout: seconds after which the loading of a task that is not privbench's own is stopped; 0: never

    Raises UsageError for data that are missing or unsuitable, which the person can mend before anything is trained;
    and the first error if all tasks fail.
    """
    found, failed = [], {}
    for task in tasks:
        try:
            found.append((task, load(task, timeout)))
        except UsageError:  # noqa: PERF203 - the others are loaded
            raise
        except PrivbenchError as error:
            note(error)
            failed[task] = error
    if failed and not found:
        raise first_of(failed)
    return found, failed


def first_of(failed: Failures) -> PrivbenchError:
    """Return the first error for the person; one that says nothing of the task with its name."""
    task, error = next(iter(failed.items()))
    if isinstance(error, WorkerDied | TimedOut):
        return type(error)(f"{task.name}: {error}")
    return error


def load(task: Task, timeout: float = 0.0) -> Dataset:
    """Return the data of a task. Raises PrivbenchError."""
    if serves(task):
        with tempfile.TemporaryDirectory(prefix="privbench-data-", ignore_cleanup_errors=True) as folder:
            sent = apart(_send, Loading(task, Path(folder)), task, patience=timeout)
            if sent is not None:
                return _received(Path(folder), sent)
    dataset: Dataset = result(inline.run(Call(_loaded, task)))
    return dataset


def _loaded(task: Task, _port: object) -> Dataset:
    with blamed(task):
        dataset, recipe = task.load(), task.recipe
    for name, found, kind in (("load", dataset, Dataset), ("recipe", recipe, Recipe)):
        if not isinstance(found, kind):
            what = f"`{name}` gives {type(found).__name__}; expected privbench.api.{kind.__name__}."
            raise CellFailed(f"{task.name!r}: {what}")
    return dataset


def _send(job: Loading, port: object) -> dict[str, Any] | None:
    """Write the arrays of a task's data to files; return the rest of it.

    None: they are not plain arrays in memory, but read on demand, say; whoever needs them loads them itself.
    """
    dataset = _loaded(job.task, port)
    if type(dataset) is not Dataset or type(dataset.examples) is not Examples:
        return None
    arrays = dict(_arrays(dataset))
    if any(type(array) is not np.ndarray for array in arrays.values()):
        return None
    try:
        for name, array in arrays.items():
            np.save(job.folder / f"{name}.npy", array, allow_pickle=False)
    except OSError as error:
        reason = f"Cannot write its data to {job.folder.parent}: {error.strerror or error}."
        raise CellFailed(f"{reason} Set TMPDIR to a folder with more room.") from error
    return {"classes": int(dataset.classes), "name": str(dataset.name), "canary_kind": str(dataset.canary_kind)}


def _received(folder: Path, sent: dict[str, Any]) -> Dataset:
    """Return the data whose arrays are in a folder, which may be removed then."""
    arrays: dict[str, Any] = {}
    for file in folder.glob("*.npy"):
        large = file.stat().st_size > LARGE
        # A copy of the pages that are written: nobody can change the data of others, and none is read twice.
        found = np.load(file, mmap_mode="c" if large else None, allow_pickle=False)
        arrays[file.stem] = np.asarray(found)
    examples = Examples(arrays.pop("x"), arrays.pop("y"), arrays.pop("augment", None))
    return Dataset(examples, **arrays, **sent)


def _arrays(dataset: Dataset) -> Iterator[tuple[str, Array]]:
    """Yield the arrays of data by name."""
    for part in (dataset.examples, dataset):
        for field in fields(part):
            value = getattr(part, field.name)
            if field.name not in ("examples", "classes", "name", "canary_kind") and value is not None:
                yield field.name, value
