import sys
from dataclasses import replace

import numpy as np
import pytest

from privbench.api import Needs
from privbench.errors import CannotWrite, CorruptArtifact
from privbench.executors import Outcome
from privbench.grid import scoring
from privbench.grid.attacking import Attacked
from privbench.grid.cell import Cell
from privbench.grid.scoring import score
from privbench.options.fields import component
from privbench.plugins.loading import resolve
from privbench.population.population import Population
from privbench.records.files import scores_sha256
from privbench.stats import metrics
from privbench.stats.intervals import Bounded


@pytest.fixture(scope="module")
def population(overfit):
    return overfit(6, seed=3)


def _cell(population, attack, targets=None):
    attack = resolve("attack", attack) if isinstance(attack, str) else attack
    return Cell(population, attack, 1, targets, attacked=population, shadows=(population,))


@component
class Broken:
    """Fails in the way that `how` says."""

    name = "broken"
    paper = "none"
    needs = Needs()
    how: str = "nan"

    def score(self, evidence):
        n = len(evidence.labels)
        if self.how == "raise":
            raise ValueError("no\nluck")
        if self.how == "exit":
            sys.exit("bye")
        return {
            "nan": np.full(n, np.nan),
            "shape": np.zeros((n, 2)),
            "text": np.full(n, "0.5"),
            "complex": np.full(n, 0.5 + 1j),
            "object": np.full(n, 0.5, dtype=object),
        }[self.how]


@component
class Loss:
    """The loss, without a threshold of its own."""

    name = "loss"
    paper = "none"
    needs = Needs()

    def score(self, evidence):
        from privbench.stats.signals import log_confidence

        return evidence.signals(log_confidence)[:, 0]


@component
class Telling(Loss):
    """The loss, with findings that have bounds, and one that has none."""

    name = "telling"

    def findings(self, evidence, scores):
        return {}

    def judged(self, found, scores, member):
        high = Bounded(1 - 0.1 * (member[0] and member[1]), of=100)
        return {"share": high, "distance": Bounded(0.1 * member[0], most=np.inf), "plain": float(member[0])}


def test_findings_with_bounds_have_intervals_within_them(population):
    record, _ = score(_cell(population, Telling()))
    found = record.findings
    assert 0.8 < found["share"].low < found["share"].value < found["share"].high <= 1
    assert found["distance"].low == 0
    assert found["plain"].low < 0  # nobody said that it is a share


def test_correctness_is_half_the_accuracy_gap_plus_one_half(population):
    record, _ = score(_cell(population, "correctness"))
    gap = record.utility.train_accuracy.value - record.utility.nonmember_accuracy.value
    assert gap > 0.1
    assert record.metrics.balanced_accuracy.value == pytest.approx(0.5 + gap / 2, abs=1e-6)


def test_an_overfit_model_leaks_to_lira(population):
    record, _ = score(_cell(population, "lira"))
    assert record.status == "ok"
    assert record.shadows == 4
    assert record.metrics.auc.low > 0.5


@pytest.mark.parametrize(
    ("queries", "words"), [(1, "logits, adaptive shadows"), (2, "logits, 2 queries each, adaptive shadows")]
)
def test_a_threat_model_says_what_was_asked_in_this_task(population, queries, words):
    """What an attack leaves to the task is one query where training augments nothing."""
    cell = replace(_cell(population, "lira"), queries=queries, inapplicable="a record without results will do")
    record, _ = score(cell)
    assert record.threat_model == words


def test_a_record_is_reproduced_to_the_bit(population):
    first, raw = score(_cell(population, "lira"))
    second, again = score(_cell(population, "lira"))
    assert first.digest == second.digest
    assert raw["scores"].tobytes() == again["scores"].tobytes()
    assert first.scores_sha256 == scores_sha256(raw["scores"], raw["member"])


def test_a_threshold_is_calibrated_on_shadows_alone(population):
    record, raw = score(_cell(population, Loss()))
    scores, member = raw["scores"], raw["member"]
    assert record.threshold == "calibrated on 2 shadow models"
    thresholds = []
    for target in range(6):
        first = 2 * ((target // 2 + 1) % 3)
        pair = np.concatenate([scores[first], scores[first + 1]])
        thresholds.append(metrics.best_threshold(pair, np.concatenate([member[first], member[first + 1]])))
    decisions = scores >= np.array(thresholds)[:, None]
    hits = (decisions & member).sum(axis=0)
    assert record.per_example.member_hits == hits.tolist()
    assert record.per_example.member_trials == 3
    assert record.metrics.balanced_accuracy.value <= record.metrics.oracle_balanced_accuracy.value


def test_without_enough_models_there_is_no_calibrated_threshold(table_file, tmp_path, make_all):
    from privbench.store.store import Store

    task = resolve("task", "npz", {"path": str(table_file), "epochs": 1, "model": "mlp"})
    each = make_all(Population(task, task.load(), resolve("defense", "ce"), 2, 0, "cpu", Store(tmp_path)))
    record, _ = score(_cell(each, Loss()))
    assert record.metrics.balanced_accuracy.value is None
    assert record.per_example is None
    assert "takes 4 models" in record.threshold
    record, _ = score(_cell(each, "lira"))
    assert record.status == "failed"
    assert "4 models" in record.reason


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("nan", "finite"),
        ("shape", "shape"),
        ("raise", "ValueError: no luck (tests/grid/test_scoring.py:"),
        ("exit", "SystemExit: bye (tests/grid/test_scoring.py:"),
        ("text", "dtype <U3; expected real numbers"),
        ("complex", "dtype complex128; expected real numbers"),
        ("object", "dtype object; expected real numbers"),
    ],
)
def test_an_attack_that_fails_is_a_marked_cell(population, how, reason):
    record, raw = score(_cell(population, Broken(how=how)))
    assert record.status == "failed"
    assert reason in record.reason
    assert record.metrics is None
    assert record.utility is not None
    assert raw == {}


@component
class Numbers:
    """Scores well, and has numbers and a threshold of its own that may be none."""

    name = "numbers"
    paper = "none"
    needs = Needs()
    found: object = None
    at: object = 0.0

    @property
    def threshold(self):
        return _given(self.at)

    def score(self, evidence):
        return np.arange(len(evidence.labels), dtype=float)

    def findings(self, evidence, scores):
        return _given(self.found)


def _given(value):
    if isinstance(value, type):
        raise value("no luck")
    return value


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ({"rate": float("nan")}, "finding 'rate' is nan; expected a finite number."),
        ({"rate": "0.5"}, "finding 'rate' is '0.5'; expected a finite number."),
        ({"rate": None}, "finding 'rate' is None"),
        ({"rate": [1.0, 2.0]}, "finding 'rate' is [1.0, 2.0]"),
        ([0.5], "findings are list; expected a mapping of names to numbers."),
        (SystemExit, "SystemExit: no luck (tests/grid/test_scoring.py:"),
    ],
)
def test_findings_that_are_no_numbers_fail_the_cell(population, found, reason):
    record, _ = score(_cell(population, Numbers(found=found)))
    assert record.status == "failed"
    assert record.reason.startswith(reason)


def test_findings_of_any_number_type_are_floats(population):
    found = {"a": 1, "b": np.float32(0.5), "c": np.array(2)}
    record, _ = score(_cell(population, Numbers(found=found)))
    assert {name: each.value for name, each in record.findings.items()} == {"a": 1.0, "b": 0.5, "c": 2.0}


@pytest.mark.parametrize(
    ("at", "reason"),
    [
        ("0.5", "threshold is '0.5'; expected a finite number."),
        (float("nan"), "threshold is nan; expected a finite number."),
        (1j, "threshold is 1j; expected a finite number."),
        (SystemExit, "SystemExit: no luck (tests/grid/test_scoring.py:"),
    ],
)
def test_a_threshold_that_is_no_number_fails_the_cell(population, at, reason):
    record, _ = score(_cell(population, Numbers(found={}, at=at)))
    assert record.status == "failed"
    assert record.reason.startswith(reason)


def _sent(monkeypatch, attacked):
    """Have the process of an attack send something."""

    def attacking(*_, **__):
        return Outcome(0, None, attacked, None, 0.0)
        yield

    monkeypatch.setattr(scoring, "attacking", attacking)


def _doctored(**about):
    share = Bounded(0.5)
    vars(share).update(about)
    return share


@pytest.mark.parametrize(
    ("findings", "reason"),
    [
        (5, "findings are no list of 6 mappings, one for each target."),
        (({"a": 1.0},) * 5, "findings are no list of 6 mappings, one for each target."),
        ((5,) * 6, "findings are int; expected a mapping of names to numbers."),
        (({"a": float("nan")},) * 6, "finding 'a' is nan; expected a finite number."),
        (({"a": "much"},) * 6, "finding 'a' is 'much'; expected a finite number."),
        (({"a": _doctored(least=2.0)},) * 6, "finding 'a' has invalid bounds: ValueError: 0.5 lies outside [2, 1]"),
        (({"a": _doctored(most="high")},) * 6, "finding 'a' has invalid bounds: ValueError: "),
        (({"a": _doctored(alone="none")},) * 6, "finding 'a' has invalid bounds: "),
    ],
)
def test_findings_are_checked_where_they_are_measured(population, monkeypatch, findings, reason):
    scores = np.zeros((6, len(population.dataset.pool)))
    _sent(monkeypatch, Attacked(scores, findings))
    record, raw = score(_cell(population, Numbers(found={})))
    assert (record.status, raw) == ("failed", {})
    assert record.reason.startswith(reason)


def test_findings_that_are_measured_keep_their_bounds(population, monkeypatch):
    findings = tuple({"a": Bounded(share, of=20), "b": 1} for share in (1.0, 1.0, 0.9, 1.0, 1.0, 1.0))
    _sent(monkeypatch, Attacked(np.zeros((6, len(population.dataset.pool))), findings))
    record, _ = score(_cell(population, Numbers(found={})))
    assert record.findings["a"].high <= 1.0
    assert record.findings["b"].value == 1.0


@pytest.mark.parametrize("attacked", [None, 5, Attacked("scores"), Attacked(np.zeros((6, 2)))])
def test_what_is_no_result_of_an_attack_fails_its_cell(population, monkeypatch, attacked):
    _sent(monkeypatch, attacked)
    record, raw = score(_cell(population, Numbers(found={})))
    assert (record.status, raw) == ("failed", {})


@pytest.mark.parametrize("name", ["describe", "measure", "Describing"])
def test_what_fails_beside_the_attack_fails_the_cell_too(population, monkeypatch, name):
    def damaged(*_, **__):
        raise CorruptArtifact("The stored answers are gone.")

    monkeypatch.setattr(scoring, name, damaged)
    record, raw = score(_cell(population, "correctness"))
    assert (record.status, record.reason, raw) == ("failed", "The stored answers are gone.", {})


@pytest.mark.parametrize("error", [KeyboardInterrupt(), CannotWrite("Cannot write to the store: disk full.")])
def test_ctrl_c_and_a_full_disk_end_the_run(population, monkeypatch, error):
    def stop(*_):
        raise error

    monkeypatch.setattr(Loss, "score", stop)
    with pytest.raises(type(error)):
        score(_cell(population, Loss()))


def test_fewer_targets(population):
    record, raw = score(_cell(population, "confidence", targets=2))
    assert record.targets == 2
    assert raw["scores"].shape == (2, len(population.dataset.pool))


def test_the_record_says_who_made_it_and_what_it_cost(population):
    record, _ = score(_cell(population, "lira"), command="privbench run")
    assert record.attack.plugin == "privbench"
    assert record.cost.relative_to_ce == 1.0
    assert record.cost.relative_low <= 0.5
    assert record.cost.relative_high >= 2.0
    assert record.cost.seconds_per_model > 0
    assert {"python", "torch", "numpy", "privbench"} <= set(record.environment)
    assert record.command == "privbench run"


def test_the_facts_of_releases_are_in_the_record(population, monkeypatch):
    record, _ = score(_cell(population, "confidence"))
    assert record.claims is None
    losses = [population.artifact(index).json("release")["facts"]["train_loss"] for index in range(6)]
    assert record.facts == {"train_loss": np.mean(np.array(losses, dtype=float))}
    claimed = [{"epsilon": 1.0 + index % 4, "delta": 1e-5, "noise": float(index)} for index in range(6)]
    monkeypatch.setattr(type(population), "facts", lambda _: claimed)
    record, _ = score(_cell(population, "confidence"))
    assert record.facts == {"epsilon": 4.0, "delta": 1e-5, "noise": 3.0}
    assert (record.claims.release, record.claims.epsilon_smallest, record.claims.epsilon_largest) == (3, 1.0, 4.0)
