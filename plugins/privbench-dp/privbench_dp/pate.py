"""PATE: a student trained on the noisy votes of teachers with disjoint examples (Papernot et al. 2017, 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from privbench.api import Examples, Release, Traits, component, option
from privbench.errors import BadOption, DataError, Diverged

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from privbench.api import Blueprint, Context

    Array = npt.NDArray[Any]
    Make = Callable[[Context], dict[str, Array]]

MEMBERS_PER_TEACHER, MOST_TEACHERS = 13, 250
"""By default: what a teacher of digits learns about half of its classes from; as many as the papers have for MNIST."""
THRESHOLD, SIGMA1, SIGMA2, SCALE = 0.4, 0.3, 0.16, 0.08
"""Defaults as shares of the number of teachers; the last two are the papers' own on MNIST."""
GROUP = 10
"""Teachers that the store keeps together: what an interruption costs at most."""
NO_ANSWER = -1


@component
class Pate:
    """PATE: teachers trained on disjoint parts of the members, and a student on their noisy votes on public inputs.

    The public inputs are the validation examples; their labels are never used. mechanism=gnmax is Confident-GNMax: a
    query is answered if the largest count of votes, with noise, reaches a threshold, with the noisy winner;
    mechanism=lnmax answers every query with Laplace noise. preset=paper and preset=svhn have the values of the 2018
    paper for MNIST and SVHN, preset=lnmax those of the 2017 paper, all for 250 teachers; the defaults are for the 50
    weak teachers of `digits`. Unless given, the threshold and the noise depend on the number of teachers.

    epsilon is for data sets that differ by replacing one example, and does not depend on the votes: it counts every
    query and the maximum number of answers (`answers`), where the data-dependent epsilon of the papers is smaller, but
    a secret itself. It covers which queries were answered, and how, and thus the facts `answered` and `answers_right`.
    Differences from the papers: the student is trained on answered inputs alone, with the task's recipe, where theirs
    are semi-supervised and also use the unanswered ones; parts are drawn at random, regardless of labels.
    """

    name: ClassVar[str] = "pate"
    paper: ClassVar[str] = (
        "Papernot et al., Semi-supervised Knowledge Transfer for Deep Learning from Private Training Data, ICLR 2017; "
        "Papernot et al., Scalable Private Learning with PATE, ICLR 2018"
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"teachers": 250, "threshold": 200.0, "sigma1": 150.0, "sigma2": 40.0},
        "svhn": {"teachers": 250, "threshold": 300.0, "sigma1": 200.0, "sigma2": 40.0},
        "lnmax": {"teachers": 250, "mechanism": "lnmax", "gamma": 0.05},
    }
    traits: ClassVar[Traits] = Traits(relative_cost=4.0, publishes_synthetic=False)

    teachers: int | None = option(None, "number of teachers; none: one per 13 members, at most 250", ge=1)
    mechanism: Literal["gnmax", "lnmax"] = option("gnmax", "Confident-GNMax (2018), or the Laplace noise of 2017")
    threshold: float | None = option(
        None, "gnmax: minimum of the noisy votes of the first class; none: 0.4 teachers", allow_inf_nan=False
    )
    sigma1: float | None = option(
        None, "gnmax: sd of the noise on the votes of the first class; none: 0.3 teachers", ge=0, allow_inf_nan=False
    )
    sigma2: float | None = option(
        None, "gnmax: sd of the noise on each class's votes; none: 0.16 teachers", ge=0, allow_inf_nan=False
    )
    gamma: float | None = option(
        None,
        "lnmax: 1 / scale of the noise on each class's votes; none: scale 0.08 teachers",
        gt=0,
        allow_inf_nan=False,
    )
    answers: int | None = option(None, "maximum number of queries that the teachers answer; none: all", ge=1)
    delta: float = option(1e-5, "delta at which epsilon is given", gt=0, lt=1)

    def __post_init__(self) -> None:
        """Refuse options of the mechanism that is not chosen."""
        idle = ("gamma",) if self.mechanism == "gnmax" else ("threshold", "sigma1", "sigma2")
        for each in idle:
            if getattr(self, each) is not None:
                raise ValueError(f"option {each!r} is none of mechanism={self.mechanism}; leave it out")

    def fit(self, task: Blueprint, examples: Examples, ctx: Context) -> Release:
        """Train the teachers, have them vote on the public inputs, and train the student on the answers.

        Facts: `epsilon` at `delta`, for replacing one example (`replace_one`); `teachers`; `queries`, `answered`;
        `answers_right`, how many of the answers are the public examples' own labels; `epsilon_answered`, what the
        answers that were given cost, as papers report it: it is no bound that one could have promised beforehand.
        Raises DataError where there are no public examples, BadOption for more teachers than members, Diverged where
        no query is answered or training diverges.
        """
        from privbench.learn import train

        public = ctx.validation
        if public is None or not len(public):
            raise DataError("pate: there are no validation examples, the public inputs that its teachers label.")
        teachers = self._teachers(len(examples))
        votes = vote(task, examples, public, ctx, teachers=teachers, share=(0.0, 0.9))
        labels = self._aggregate(count(votes, task.classes), teachers, ctx.rng("answers"))
        answered = labels != NO_ANSWER
        if not answered.any():
            raise Diverged(
                f"pate: {teachers} teachers answered none of {len(public)} public queries, so there is nothing to "
                f"learn from; try a lower threshold, or fewer teachers."
            )
        student = Examples(public.x[answered], labels[answered])
        model = train(task, student, ctx.stage("student", share=(0.9, 1.0)))
        facts = {
            "epsilon": self._epsilon(teachers, len(public), self._most_answers(len(public))),
            "delta": self.delta,
            "replace_one": 1.0,
            "teachers": float(teachers),
            "queries": float(len(public)),
            "answered": float(answered.sum()),
            "answers_right": float((labels == public.y)[answered].mean()),
            "epsilon_answered": self._epsilon(teachers, len(public), int(answered.sum())),
        }
        return Release(model, facts=facts)

    def _teachers(self, members: int) -> int:
        if self.teachers is None:
            return max(1, min(MOST_TEACHERS, round(members / MEMBERS_PER_TEACHER)))
        if self.teachers > members:
            raise BadOption(f"pate: {self.teachers} teachers share {members} members; there must be one for each.")
        return self.teachers

    def _most_answers(self, queries: int) -> int:
        return queries if self.answers is None else min(self.answers, queries)

    def _aggregate(self, counts: Array, teachers: int, rng: np.random.Generator) -> Array:
        """Return the answers (q,) int64 to votes counted as (q, classes)."""
        most = self._most_answers(len(counts))
        if self.mechanism == "lnmax":
            labels = np.full(len(counts), NO_ANSWER, dtype=np.int64)
            labels[:most] = lnmax(counts[:most], 1 / self._gamma(teachers), rng)
            return labels
        threshold = THRESHOLD * teachers if self.threshold is None else self.threshold
        sigma1, sigma2 = self._sigmas(teachers)
        return confident_gnmax(counts, rng, threshold=threshold, sigma1=sigma1, sigma2=sigma2, most=most)

    def _sigmas(self, teachers: int) -> tuple[float, float]:
        sigma1 = SIGMA1 * teachers if self.sigma1 is None else self.sigma1
        return sigma1, SIGMA2 * teachers if self.sigma2 is None else self.sigma2

    def _gamma(self, teachers: int) -> float:
        return 1 / (SCALE * teachers) if self.gamma is None else self.gamma

    def _epsilon(self, teachers: int, queries: int, answers: int) -> float:
        from privbench_dp.pate_accounting import gnmax_epsilon, lnmax_epsilon

        if self.mechanism == "lnmax":
            return lnmax_epsilon(answers, gamma=self._gamma(teachers), delta=self.delta)
        sigma1, sigma2 = self._sigmas(teachers)
        return gnmax_epsilon(queries, answers, sigma1=sigma1, sigma2=sigma2, delta=self.delta)


def parts(n: int, teachers: int, rng: np.random.Generator) -> list[Array]:
    """Return the rows of each teacher: disjoint, of sizes that differ by one at most, drawn from n and rng alone.

    No row's content has a say, so that another example in one row's place changes one teacher's part.
    """
    return [np.sort(rows) for rows in np.array_split(rng.permutation(n), teachers)]


def vote(
    task: Blueprint,
    members: Examples,
    public: Examples,
    ctx: Context,
    *,
    teachers: int,
    share: tuple[float, float] = (0.0, 1.0),
) -> Array:
    """Train the teachers, by the task's recipe, and return their labels of the public inputs, (teachers, q) int64.

    A teacher depends on its own part, its number and the seed, and on nothing else. Groups of teachers are kept in the
    store: their labels, not their weights. share: of the progress that the teachers are.
    """
    groups = _groups(parts(len(members), teachers, ctx.rng("parts")))
    votes = []
    for number, group in enumerate(groups):
        together, sizes = members[np.concatenate(group)], [len(part) for part in group]
        kept = ctx.kept(
            f"teachers {number * GROUP + 1} to {number * GROUP + len(group)}",
            together,
            {"sizes": sizes, "public": public.fingerprint},
            _taught(task, together, sizes, public),
            share=(_at(share, number / len(groups)), _at(share, (number + 1) / len(groups))),
        )
        votes.append(kept["labels"])
    return np.concatenate(votes)


def _groups(rows: list[Array]) -> list[list[Array]]:
    return [rows[first : first + GROUP] for first in range(0, len(rows), GROUP)]


def _at(share: tuple[float, float], done: float) -> float:
    return share[0] + (share[1] - share[0]) * done


def _taught(task: Blueprint, together: Examples, sizes: list[int], public: Examples) -> Make:
    """Return what trains a group of teachers, on the parts of these sizes that `together` is put together from."""

    def make(ctx: Context) -> dict[str, Array]:
        labels, first = [], 0
        for number, size in enumerate(sizes):
            stage = ctx.stage("teacher", number, (number / len(sizes), (number + 1) / len(sizes)))
            labels.append(teach(task, together[first : first + size], public, stage))
            first += size
        return {"labels": np.stack(labels)}

    return make


def teach(task: Blueprint, part: Examples, public: Examples, ctx: Context) -> Array:
    """Train one teacher and return its labels of the public inputs, (q,) int64."""
    from privbench.learn import predict, train

    labels: Array = predict(train(task, part, ctx), public.x, device=ctx.device).argmax(axis=1)
    return labels


def count(votes: Array, classes: int) -> Array:
    """Return how many teachers chose each class, (q, classes) int64, from their labels (teachers, q)."""
    counts: Array = (votes[:, :, np.newaxis] == np.arange(classes)).sum(axis=0)
    return counts


def confident_gnmax(
    counts: Array, rng: np.random.Generator, *, threshold: float, sigma1: float, sigma2: float, most: int | None = None
) -> Array:
    """Return the answers (q,) int64 to votes counted as (q, classes); -1 where teachers agree too little to answer.

    A query is answered where max(counts) + N(0, sigma1^2) >= threshold, with the argmax of counts + N(0, sigma2^2)
    (2018, algorithm 1); after `most` answers there is none.
    """
    confident = counts.max(axis=1) + rng.normal(0, sigma1, len(counts)) >= threshold
    if most is not None:
        confident &= np.cumsum(confident) <= most
    answers: Array = (counts + rng.normal(0, sigma2, counts.shape)).argmax(axis=1)
    return np.where(confident, answers, NO_ANSWER)


def lnmax(counts: Array, scale: float, rng: np.random.Generator) -> Array:
    """Return the answers (q,) int64: the argmax of counts (q, classes) plus Laplace noise of a scale, 1 / gamma."""
    answers: Array = (counts + rng.laplace(0, scale, counts.shape)).argmax(axis=1)
    return answers
