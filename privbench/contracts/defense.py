"""Defenses: data stage, training stage, output filter."""

from __future__ import annotations

from typing import ClassVar, Protocol, runtime_checkable


@runtime_checkable
class Defense(Protocol):
    """The whole way from private data to what is published; a class with one or more of three stages.

        def prepare(self, task: Blueprint, members: Examples, ctx: Context) -> Examples | Prepared  (data stage)
        def fit(self, task: Blueprint, examples: Examples, ctx: Context) -> Release                 (training stage)
        def filter(self, task, model: nn.Module, examples, ctx) -> nn.Module                        (output filter)
        def filtered(self, task, model) -> nn.Module            with `filter`: the same before weights are loaded

    `a+b+c` on the command line chains: the parts' `prepare`, one `fit`, the `filter` of what comes after it. Where no
    part trains, plain cross-entropy training is put in.

    It may declare `traits` (`Traits`), and have `empty`, `reuse` and `transform_inputs`; each stage and method is
    described in `privbench/contracts/abilities.py`.
    """

    name: ClassVar[str]
