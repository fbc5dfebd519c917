"""Lending of stored answers to processes of attacks: without their place in the store, which tells their membership."""

from __future__ import annotations

import itertools
import os
import shutil
from typing import TYPE_CHECKING

import numpy as np

from privbench.contracts.answers import Answers, Held, Mapped

if TYPE_CHECKING:
    from pathlib import Path

LARGEST = 64 * 2**20
"""Bytes of answers that are sent as they are, and not as files."""


class Lending:
    """Answers as sent to other processes, each once: as arrays if they are few, else as links in a folder.

    folder: made if it is needed; None: every answer is sent as it is here
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._lent: dict[int, tuple[Answers, Answers]] = {}
        self._sent = 0
        self._names = itertools.count()

    def lend(self, answers: Answers) -> Answers:
        """Return answers that another process can read."""
        if self._folder is None:
            return answers
        if id(answers) not in self._lent:
            self._lent[id(answers)] = answers, self._sendable(answers, self._folder)
        return self._lent[id(answers)][1]

    def close(self) -> None:
        """Remove the links."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _sendable(self, answers: Answers, folder: Path) -> Answers:
        logits = answers.logits
        self._sent += logits.nbytes
        if self._sent <= LARGEST or not isinstance(logits, np.memmap):
            return Answers(Held(logits), answers.labels)
        link = folder / f"{next(self._names)}.npy"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            os.link(str(logits.filename), link)
        except OSError:  # no links there, or a store that is only read
            return Answers(Held(logits), answers.labels)
        return Answers(Mapped(str(link)), answers.labels)
