import os
import subprocess
import sys

import numpy as np
import pytest

from privbench.api import Needs
from privbench.errors import DataError, UsageError
from privbench.external import audit_predictions
from privbench.grid.cell import Cell
from privbench.grid.scoring import score
from privbench.options.fields import component
from privbench.plugins.loading import resolve
from privbench.records import record
from privbench.records.files import scores_sha256
from privbench.stats import metrics, signals

ATTACKS = [
    "correctness",
    "confidence",
    "confidence:thresholds=class",
    "entropy",
    "m-entropy",
    "lira",
    "lira:mode=offline",
    "lira:variance=pooled,center=median",
]


@pytest.fixture(scope="module")
def population(overfit):
    return overfit(6, seed=3, epochs=12)


def _exported(population, *, shadows=True):
    """What the owner of model 0 of a population could save."""
    answered = [np.array(population.answers(i, 1, "pool").logits) for i in range(population.models)]
    arrays = {"logits": answered[0], "labels": population.dataset.role("pool").y, "membership": population.members(0)}
    if shadows:
        indices = [i for i in range(population.models) if i // 2]
        arrays["shadow_logits"] = np.stack([answered[i] for i in indices])
        arrays["shadow_membership"] = np.stack([population.members(i) for i in indices])
    return arrays


@pytest.mark.parametrize("attack", ATTACKS)
def test_it_agrees_with_a_run_to_the_digit(population, tmp_path, attack):
    ran, raw = score(Cell(population, resolve("attack", attack), 1, 1, attacked=population, shadows=(population,)))
    file = tmp_path / "exported.npz"
    np.savez(file, **_exported(population))
    audited = audit_predictions(file, attack=attack, seed=population.seed)
    (one,) = audited
    assert one.status == ran.status == "ok"
    assert audited.scores[attack].tobytes() == raw["scores"][0].tobytes()
    assert one.metrics == ran.metrics
    assert one.scores_sha256 == ran.scores_sha256
    assert (one.threshold, one.per_example, one.shadows) == (ran.threshold, ran.per_example, ran.shadows)
    assert audited.warnings == ()


def test_a_calibrated_threshold_was_calibrated(population):
    (one,) = audit_predictions(_exported(population), attack="lira:mode=offline", seed=population.seed)
    assert one.threshold == "calibrated on 2 shadow models"
    assert one.metrics.balanced_accuracy.value is not None


def test_one_axis_less_says_the_same(population):
    arrays = _exported(population)
    flat = {**arrays, "logits": arrays["logits"][:, 0], "shadow_logits": arrays["shadow_logits"][:, :, 0]}
    with_axis, without = (audit_predictions(each, attack="lira")[0] for each in (arrays, flat))
    assert with_axis.digest == without.digest


def test_probabilities_say_what_logits_say(population):
    arrays = _exported(population)

    def softmax(z):
        z = np.exp(z.astype(np.float64) - z.max(axis=-1, keepdims=True))
        return z / z.sum(axis=-1, keepdims=True)

    names = {"logits": "probabilities", "shadow_logits": "shadow_probabilities"}
    given = {names.get(name, name): softmax(array) if name in names else array for name, array in arrays.items()}
    ours = audit_predictions(given, attack=["lira", "m-entropy"])
    theirs = audit_predictions(arrays, attack=["lira", "m-entropy"])
    for attack, scores in theirs.scores.items():
        np.testing.assert_allclose(ours.scores[attack], scores, rtol=1e-3, atol=1e-4)
    assert ours.warnings == ()


def test_without_shadows_signals_rank_and_decide_nothing(population):
    arrays = _exported(population, shadows=False)
    audited = audit_predictions(arrays)
    names = {each.attack.spec: each for each in audited}
    assert set(names) == {"correctness", "confidence", "entropy", "m-entropy"}
    assert "shadow_logits" in audited.left_out["lira"]
    expected = signals.log_confidence(arrays["logits"], arrays["labels"])[:, 0]
    assert audited.scores["confidence"].tobytes() == expected.tobytes()
    confidence = names["confidence"]
    assert confidence.threshold.startswith("none: without shadow models")
    assert confidence.metrics.balanced_accuracy.value is None
    assert confidence.metrics.oracle_balanced_accuracy.value is not None
    assert (confidence.threat_model, confidence.models, confidence.shadows) == ("logits", 1, 0)
    assert names["correctness"].metrics.balanced_accuracy.value is not None


@pytest.mark.parametrize("inside", [False, True], ids=["OUT only", "IN only"])
def test_shadows_of_one_kind_take_no_result_away(population, inside):
    """Evidence that a threshold cannot use must not fail what runs without it."""
    arrays = _exported(population)
    arrays["shadow_membership"] = np.full_like(arrays["shadow_membership"], inside)
    attacks = ["confidence", "entropy", "m-entropy:thresholds=global", "m-entropy", "lira", "lira:mode=offline"]
    audited = audit_predictions(arrays, attack=attacks)
    without = audit_predictions(_exported(population, shadows=False), attack=attacks[:4])
    for one, other in zip(audited[:4], without, strict=True):
        assert audited.scores[one.attack.spec].tobytes() == without.scores[other.attack.spec].tobytes()
        assert one.metrics == other.metrics
        assert one.metrics.balanced_accuracy.value is None
        assert one.threshold.startswith("none: no threshold can be calibrated if all shadow models were trained on all")
        assert (one.threat_model, one.shadows) == ("logits", 0)
    online, offline = audited[4:]
    assert online.status == "failed"
    assert ("mode=offline" in online.reason) is not inside
    assert offline.status == ("failed" if inside else "ok")
    if not inside:
        assert offline.metrics.balanced_accuracy.value is None


def test_shadows_that_cover_a_part_of_the_examples_serve_for_all(population):
    arrays = _exported(population)
    arrays["shadow_membership"][:, ::2] = False
    audited = audit_predictions(arrays, attack=["confidence", "m-entropy", "lira", "lira:mode=offline"])
    assert [one.status for one in audited] == ["ok"] * 4
    assert all(one.metrics.balanced_accuracy.value is not None for one in audited)
    assert (audited.scores["lira"][::2] == 0).all()


def test_what_is_exposed(population):
    arrays = _exported(population)
    audited = audit_predictions(arrays)
    table, member = audited.exposed, arrays["membership"]
    scores = audited.scores[audited.strongest.attack.spec]
    assert sorted(table["index"]) == np.flatnonzero(member).tolist()
    assert table["score"].is_monotonic_decreasing
    first = table.iloc[0]
    assert first["score"] == scores[member].max() == scores[first["index"]]
    for _, row in table.iterrows():
        assert row["nonmembers_as_high"] == (scores[~member] >= row["score"]).sum()
        assert row["fpr"] == pytest.approx((scores[~member] >= row["score"]).mean())
        assert row["label"] == arrays["labels"][row["index"]]
        assert row["correct"] == (arrays["logits"][row["index"], 0].argmax() == row["label"])


def test_the_strongest_has_the_highest_rate_and_among_equals_the_highest_auc(population):
    audited = audit_predictions(_exported(population))
    assert audited.strongest.metrics.auc.value == max(each.metrics.auc.value for each in audited)


def test_saving_writes_records_that_can_be_read(population, tmp_path):
    audited = audit_predictions(_exported(population), name="mine", attack=["lira", "confidence"])
    paths = audited.save(tmp_path)
    again = record.load([tmp_path])
    assert {each.digest for each in again} == {each.digest for each in audited}
    assert all(each.compute_digest() == each.digest for each in again)
    assert all(path.parent == tmp_path / "predictions" / "given" for path in paths)
    with np.load(audited[0].path(tmp_path).with_suffix(".scores.npz")) as raw:
        assert scores_sha256(raw["scores"], raw["member"]) == audited[0].scores_sha256
    (table,) = tmp_path.rglob("*.exposed.csv")
    assert table.name.startswith(audited.strongest.attack.name)
    assert len(table.read_text().splitlines()) == 1 + len(audited.exposed)


def test_the_record_tells_what_is_known_and_nothing_else(population):
    arrays = _exported(population)
    (one,) = audit_predictions(attack="lira", seed=5, **arrays)
    right = arrays["logits"][:, 0].argmax(axis=1) == arrays["labels"]
    assert one.utility.train_accuracy.value == pytest.approx(right[arrays["membership"]].mean())
    assert one.utility.nonmember_accuracy.value == pytest.approx(right[~arrays["membership"]].mean())
    assert one.utility.test_accuracy == one.utility.nonmember_accuracy
    assert (one.models, one.targets, one.shadows, one.seed) == (5, 1, 4, 5)
    assert (one.task.plugin, one.defense.name, one.data.pool) == ("", "given", len(right))
    assert one.threat_model == "logits, adaptive shadows"


def test_what_an_audit_without_shadows_cannot_see_is_said(population):
    arrays = _exported(population)
    alone = {name: array for name, array in arrays.items() if "shadow" not in name}
    assert any(note.startswith("Without shadow models no attack can tell") for note in audit_predictions(alone).notes)
    notes = audit_predictions(arrays, attack="lira").notes
    assert not any("Without shadow models" in note for note in notes)
    right = arrays["logits"][:, 0].argmax(axis=1) == arrays["labels"]
    inside = right[arrays["membership"]]
    assert f"classifies {inside.sum()} of {len(inside)} ({100 * inside.mean():.1f} %) members" in notes[0]


def test_another_file_is_another_record(population):
    arrays = _exported(population, shadows=False)
    other = {**arrays, "logits": arrays["logits"] * 1.01}
    first, second = (audit_predictions(each, attack="confidence")[0] for each in (arrays, other))
    assert first.data.fingerprint != second.data.fingerprint
    assert first.identity != second.identity


@pytest.fixture
def random():
    rng = np.random.default_rng(0)
    member = rng.permutation(80) < 40
    shadow = np.stack([rng.permutation(80) < 40 for _ in range(5)])
    return {
        "logits": rng.normal(size=(80, 2, 3)),
        "labels": rng.integers(0, 3, 80),
        "membership": member,
        "shadow_logits": rng.normal(size=(5, 80, 2, 3)),
        "shadow_membership": shadow,
    }


def test_queries(random):
    audited = audit_predictions(random, attack=["lira", "lira:queries=2", "lira:queries=18", "confidence"])
    assert audited.left_out == {"lira:queries=18": "18 queries per example, not 2"}
    assert audited.scores["lira"].tobytes() == audited.scores["lira:queries=2"].tobytes()
    one = {**random, "logits": random["logits"][:, 0], "shadow_logits": random["shadow_logits"][:, :, 0]}
    first = audit_predictions(one, attack=["lira", "confidence"])
    assert first.scores["confidence"].tobytes() == audited.scores["confidence"].tobytes()
    assert not np.array_equal(first.scores["lira"], audited.scores["lira"])


def test_unpaired_shadows_calibrate_too(random):
    (one,) = audit_predictions(random, attack="lira:mode=offline")
    assert one.threshold == "calibrated on 2 shadow models"
    few = {**random, **{name: random[name][:3] for name in ("shadow_logits", "shadow_membership")}}
    (one,) = audit_predictions(few, attack="lira:mode=offline")
    assert one.threshold == "none: calibrating one takes 4 shadow models or more, in pairs"
    assert one.metrics.balanced_accuracy.value is None


@component
class Margin:
    """The largest logit: no shadows, no threshold."""

    name = "margin"
    paper = "none"
    needs = Needs()
    fail: bool = False

    def score(self, evidence):
        return np.full(3, np.nan) if self.fail else evidence.logits[:, 0].max(axis=1)


def test_an_attack_of_ones_own_has_its_threshold_from_shadows(random):
    audited = audit_predictions(random, attack=[Margin()])
    posing = np.concatenate([random["shadow_logits"][i, :, 0].astype(np.float32).max(axis=1) for i in (0, 1)])
    tau = metrics.best_threshold(posing.astype(np.float64), np.concatenate(random["shadow_membership"][:2]))
    assert audited[0].threshold == "calibrated on 2 shadow models"
    assert audited[0].per_example.member_hits == (
        ((audited.scores["margin"] >= tau) & random["membership"]).astype(int).tolist()
    )
    few = {**random, **{name: random[name][:1] for name in ("shadow_logits", "shadow_membership")}}
    assert audit_predictions(few, attack=[Margin()])[0].threshold.startswith("none: calibrating one takes 2")


def test_attacks_by_text_class_or_instance_one_or_several(random):
    specs = [
        [each.attack.spec for each in audit_predictions(random, attack=given)] for given in (Margin, Margin(), "lira")
    ]
    assert specs == [["margin"], ["margin"], ["lira"]]
    both = audit_predictions(random, attack=(Margin, "lira:mode=offline"))
    assert [each.attack.spec for each in both] == ["margin", "lira:mode=offline"]
    with pytest.raises(UsageError, match="give names of attacks, or objects with name, needs and score"):
        audit_predictions(random, attack=3)


def test_an_attack_that_a_script_defines(tmp_path):
    """Classes of __main__ have no module to look up."""
    (tmp_path / "script.py").write_text(
        "import numpy as np\n"
        "from privbench.api import Needs, component\n"
        "from privbench.external import audit_predictions\n"
        "@component\n"
        "class Mine:\n"
        "    name = 'mine'\n"
        "    needs = Needs()\n"
        "    def score(self, evidence):\n"
        "        return evidence.logits[:, 0, 0]\n"
        "z = np.arange(8.0).reshape(4, 2) * [[1, -1]]\n"
        "found = audit_predictions(logits=z, labels=[0, 1, 0, 1], membership=[0, 0, 1, 1], attack=[Mine()])\n"
        "print(found[0].metrics.auc.value)\n"
    )
    ran = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.stdout == "1.0\n", ran.stderr[-500:]


def test_a_failed_attack_is_a_record_that_says_so(random):
    audited = audit_predictions(random, attack=[Margin(fail=True), "confidence"])
    failed, ok = audited
    assert (failed.status, ok.status) == ("failed", "ok")
    assert "shape" in failed.reason
    assert list(audited.scores) == ["confidence"]
    nothing = audit_predictions(random, attack=[Margin(fail=True)])
    assert nothing.exposed.empty
    assert (repr(nothing), repr(audited)) == ("<Audited: 1 records>", "<Audited: 2 records, strongest confidence>")


@component
class Needy:
    """Needs what `what` says."""

    name = "needy"
    paper = "none"
    what: str = "model"

    @property
    def needs(self):
        wanted = {"answers": "none", "synthetic": True} if self.what == "synthetic" else {self.what: True}
        return Needs(**({"inputs": "transformed"} if self.what == "inputs" else wanted))

    def score(self, evidence):
        raise AssertionError


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("model", "the model itself"),
        ("query", "queries of its choice"),
        ("examples", "the examples themselves"),
        ("reference", "reference examples"),
        ("inputs", "transformed inputs"),
        ("synthetic", "privbench audit dataset"),
    ],
)
def test_what_answers_do_not_support_is_left_out(random, what, said):
    audited = audit_predictions(random, attack=["confidence", Needy(what=what)])
    assert [each.attack.name for each in audited] == ["confidence"]
    assert said in next(iter(audited.left_out.values()))
    with pytest.raises(UsageError, match="None of the attacks can be run"):
        audit_predictions(random, attack=[Needy(what=what)])


def test_a_file_or_arrays(random):
    with pytest.raises(UsageError, match="not several"):
        audit_predictions(random, labels=random["labels"])
    with pytest.raises(DataError, match="no array 'logits' or 'probabilities'"):
        audit_predictions(labels=random["labels"])


def test_the_same_seed_gives_the_same_records(random):
    first, second, third = (audit_predictions(random, attack="lira", seed=seed)[0] for seed in (1, 1, 2))
    assert first.digest == second.digest
    assert first.threshold == third.threshold
    assert first.digest != third.digest


@component
class Position:
    """Later is likelier, as where members stand behind the others in a file."""

    name = "position"
    paper = "none"
    needs = Needs(shadows="adaptive")
    threshold = 0.0

    def score(self, evidence):
        if len(evidence.shadow_member):  # the same order everywhere
            rows = np.arange(len(evidence.labels))
            own = evidence.shadow_logits[:][:, rows, 0, evidence.labels]
            assert own[evidence.shadow_member].min() > 5 > own[~evidence.shadow_member].max()
        return np.arange(len(evidence.labels), dtype=float)


@pytest.mark.parametrize("first", [True, False])
def test_where_an_example_stands_in_the_file_says_nothing_of_its_membership(first):
    rng, n = np.random.default_rng(0), 400
    member = (np.arange(n) < n // 2) == first
    labels, shadow = rng.integers(0, 3, n), np.stack([rng.permutation(n) < n // 2 for _ in range(4)])
    shadow_logits = rng.normal(size=(4, n, 3)) * 0.1 + 10 * shadow[:, :, None] * np.eye(3)[labels]
    (one,) = audit_predictions(
        logits=rng.normal(size=(n, 3)),
        labels=labels,
        membership=member,
        shadow_logits=shadow_logits,
        shadow_membership=shadow,
        attack=[Position()],
    )
    assert one.status == "ok", one.reason
    assert abs(one.metrics.auc.value - 0.5) < 4 * np.sqrt((n + 1) / (3 * n * n))


def test_scores_stand_where_their_examples_stand_in_the_file(random):
    audited = audit_predictions(random, attack=[Margin()])
    expected = random["logits"][:, 0].astype(np.float32).max(axis=1).astype(float)
    np.testing.assert_array_equal(audited.scores["margin"], expected)


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes there")
def test_a_file_name_that_is_no_text_is_no_trouble(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {"logits": rng.normal(size=(100, 2)), "labels": np.zeros(100, int), "membership": np.arange(100) % 2}
    path = tmp_path / os.fsdecode(b"a\xff.npz")
    with path.open("wb") as file:
        np.savez(file, **arrays)
    audited = audit_predictions(path, attack="correctness")
    assert audited[0].data.name == "a\\xff"
    audited.save(tmp_path / os.fsdecode(b"out\xff"))


@pytest.mark.parametrize(
    ("slip", "said"),
    [
        ({"attacks": "lirra"}, "no argument 'attacks'. Did you mean 'attack'?"),
        ({"Attack": ["correctness"]}, "no argument 'Attack'. Did you mean 'attack'?"),
        ({"audit": "all"}, "no argument 'audit'; it takes attack, seed, name and command, and arrays"),
        ({"models": 4}, "no argument 'models'; it takes"),
    ],
)
def test_a_misspelt_option_is_not_taken_for_an_array(slip, said):
    with pytest.raises(UsageError) as caught:
        audit_predictions(logits=np.eye(4), labels=np.arange(4), membership=[0, 1, 0, 1], **slip)
    assert said in str(caught.value)
