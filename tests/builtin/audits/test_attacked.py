import dataclasses

import numpy as np
import pytest

from privbench.api import Needs, component
from privbench.builtin.audits.attacked import attacked, further
from privbench.errors import CellFailed
from privbench.grid.cell import Cell
from privbench.grid.scoring import score
from privbench.plugins.loading import resolve


@component
class Loss:
    """The loss, without a threshold of its own."""

    name = "loss"
    paper = "none"
    queries: int = 1
    inputs: str = "original"
    shadows: str = "none"
    synthetic: bool = False

    @property
    def needs(self):
        return Needs(queries=self.queries, inputs=self.inputs, shadows=self.shadows, synthetic=self.synthetic)

    def score(self, evidence):
        from privbench.stats.signals import log_confidence

        return evidence.signals(log_confidence)[:, 0]


@component
class Inversion:
    """Reconstructs."""

    name = "inversion"
    needs = Needs()

    def reconstruct(self, evidence, classes):
        raise NotImplementedError


@pytest.fixture(scope="module")
def population(overfit):
    return overfit(4, epochs=20, width=32)


@pytest.mark.parametrize("attack", [resolve("attack", "m-entropy"), resolve("attack", "correctness"), Loss()])
def test_scores_and_decisions_are_those_of_a_run(population, attack):
    found = attacked(population, attack)
    cell = Cell(population, attack, 1, None, attacked=population, shadows=(population,))
    record, raw = score(cell)
    assert found.scores.tobytes() == raw["scores"].tobytes()
    assert (found.member == raw["member"]).all()
    assert (found.decisions & found.member).sum(axis=0).tolist() == record.per_example.member_hits
    assert (found.decisions & ~found.member).sum(axis=0).tolist() == record.per_example.nonmember_hits


def test_undefended_shadows_are_a_further_population(population):
    relaxed = dataclasses.replace(population, defense=resolve("defense", "relaxloss"))
    assert further(relaxed, resolve("attack", "m-entropy")) == ()
    assert further(relaxed, resolve("attack", "m-entropy:shadows=undefended")) == (population,)
    same = attacked(population, resolve("attack", "m-entropy:shadows=undefended"))
    assert np.array_equal(same.scores, attacked(population, resolve("attack", "m-entropy")).scores)


@pytest.mark.parametrize(
    ("attack", "reason"),
    [
        (Loss(queries=2), "asks 2"),
        (Loss(inputs="transformed"), "as they are"),
        (Loss(shadows="released"), "released"),
        (Loss(synthetic=True), "ce has none"),
        (Inversion(), "no membership attack"),
    ],
)
def test_what_an_audit_does_not_provide_is_refused(population, attack, reason):
    with pytest.raises(CellFailed, match=reason):
        attacked(population, attack)


def test_an_attack_that_makes_no_decisions_is_refused(population):
    small = dataclasses.replace(population, models=2)
    with pytest.raises(CellFailed, match="takes 4 models"):
        attacked(small, Loss())
