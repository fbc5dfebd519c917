"""Defenses: data stage, training stage, output filter."""

from __future__ import annotations

from typing import ClassVar, Protocol, runtime_checkable


@runtime_checkable
class Defense(Protocol):
    """The whole way from private data to what is published; a class with one or more of three stages.

    `a+b+c` on the command line chains: the parts' `prepare`, one `fit`, the `filter` of what comes after it. Where no
    part trains, plain cross-entropy training is put in.

        def prepare(self, task: Blueprint, members: Examples, ctx: Context) -> Examples | Prepared  (data stage)
        def fit(self, task: Blueprint, examples: Examples, ctx: Context) -> Release                 (training stage)
        def filter(self, task, model: nn.Module, examples, ctx) -> nn.Module                        (output filter)
                                                    the released model around the trained one, which it owns; the same
                                                    answer to the same query, whatever else is in its batch. With it:
        def filtered(self, task, model) -> nn.Module
                                                    the same around a model whose weights are not loaded yet

    What else it may have:

        from_members: ClassVar[bool] = True         its data stage must get the members themselves: it stands first
        relative_cost: float                        trainings of the task's model that it takes, for `--dry-run`
        def empty(self, task) -> nn.Module          the released model before its weights are loaded, where it is
                                                    not `training.classifier(task)`
        def reuse(self, task, members, synthetic, ctx) -> Examples
                                                    the data stage of an attacker who has no generator but the
                                                    published synthetic examples (`lira:shadows=released`)
        publishes_synthetic: ClassVar[bool] = True  False where `fit` publishes no synthetic examples: then attacks on
                                                    them are known to be n/a before anything is trained
        trains_on_members: bool                     False where models see generated examples only: then there is
                                                    nothing to reuse them for
        def transform_inputs(self, task, notes, x, device) -> Array
                                                    inputs as this release's data stage moved those of members, from
                                                    the release's notes (`lira:inputs=transformed`)
    """

    name: ClassVar[str]
