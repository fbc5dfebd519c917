import numpy as np
import pandas as pd
import pytest

from privbench.api import Needs
from privbench.errors import UndeclaredEvidence, UnknownName, UsageError
from privbench.external import audit_dataset
from privbench.external.sets import sets
from privbench.options.fields import component
from privbench.records import record

PUBLISHED = Needs(answers="none", examples=True, synthetic=True)


@component
class Nearness:
    """Minus the distance to the nearest synthetic example, by the book."""

    name = "nearness"
    paper = "none"
    needs = PUBLISHED

    def score(self, evidence):
        x, g = (each.reshape(len(each), -1).astype(float) for each in (evidence.x, evidence.synthetic.x))
        return -np.sqrt(np.square(x[:, None] - g[None]).sum(axis=-1)).min(axis=1)

    def findings(self, evidence, scores):
        return {}

    def judged(self, found, scores, member):
        return {"gap": scores[member].mean() - scores[~member].mean()}


@component
class Reader:
    """Reads everything that a published set has, and one thing that it has not."""

    name = "reader"
    paper = "none"
    needs = Needs(answers="none", examples=True, synthetic=True, reference=True)
    threshold = 0.0
    ask: bool = False

    def score(self, evidence):
        assert evidence.reference.x.shape[1:] == evidence.x.shape[1:] == evidence.input_shape
        if self.ask:
            return evidence.logits
        return evidence.rng().normal(size=len(evidence.labels))


def _points(seed, n, width=4):
    return np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32)


def test_copies_are_found_and_fresh_examples_are_not():
    real, holdout = _points(0, 100), _points(1, 200)
    copied = audit_dataset(real, real + 0.01 * _points(2, 100), holdout, attack=[Nearness()])
    fresh = audit_dataset(real, _points(3, 100), holdout, attack=[Nearness()])
    assert copied[0].metrics.auc.low > 0.95
    assert fresh[0].metrics.auc.low < 0.5 < fresh[0].metrics.auc.high
    assert copied[0].findings["gap"].value > 0.1


def test_the_record():
    audited = audit_dataset(_points(0, 30), _points(3, 40), _points(1, 100), attack=[Nearness()], seed=2, name="mine")
    (one,) = audited
    assert (one.task.name, one.defense.name, one.data.name) == ("dataset", "given", "mine")
    assert (one.data.pool, one.data.reference, one.models, one.targets, one.shadows) == (60, 70, 1, 1, 0)
    assert one.threshold == "none: calibrating one takes shadow generators"
    assert one.metrics.balanced_accuracy.value is None
    assert one.threat_model == "the examples themselves, synthetic data"
    assert one.utility is None
    assert audited.member.sum() == 30


def test_the_same_seed_gives_the_same_record():
    given = _points(0, 30), _points(3, 40), _points(1, 100)
    first, second, third = (audit_dataset(*given, attack=[Nearness()], seed=seed)[0] for seed in (1, 1, 2))
    assert first.digest == second.digest
    assert first.data.fingerprint != third.data.fingerprint  # others are held out


@component
class DrawsTheOrder:
    """Draws the order of the candidates again, from everything that is public."""

    name = "draws-the-order"
    paper = "none"
    needs = PUBLISHED

    def score(self, evidence):
        from privbench.seeds import numpy_generator

        return -1.0 * numpy_generator(0, "given", "order").permutation(len(evidence.labels))


def test_candidates_come_in_an_order_that_nobody_draws_again():
    (one,) = audit_dataset(_points(0, 200), _points(3, 40), _points(1, 400), attack=[DrawsTheOrder()], audit=[])
    n = one.data.pool
    assert abs(one.metrics.auc.value - 0.5) < 4 * np.sqrt((n + 1) / (3 * n * n))


def test_candidates_come_in_an_order_that_tells_nothing():
    audited = audit_dataset(_points(0, 200), _points(3, 10), _points(1, 400), attack=[Nearness()])
    first = audited.member[:200].mean()
    assert 0.35 < first < 0.65


def test_the_most_exposed_and_their_nearest_synthetic_examples():
    real, holdout = _points(0, 50), _points(1, 60)
    synthetic = np.concatenate([_points(5, 20) + 30, real[[7, 9]]])
    audited = audit_dataset({"x": real, "y": np.arange(50) % 3}, synthetic, holdout, attack=[Nearness()], seed=1)
    members = set(audited.exposed["index"])
    assert members == set(range(50))
    for index, row in ((7, 20), (9, 21)):
        (found,) = audited.exposed[audited.exposed["index"] == index].to_dict("records")
        assert (found["nearest"], found["distance"], found["fpr"]) == (row, 0.0, 0.0)
        assert found["label"] == index % 3
    scale = holdout[sets(real, synthetic, holdout, 1).reference].std(axis=0)
    for _, row in audited.exposed.iterrows():
        expected = np.linalg.norm((real[int(row["index"])] - synthetic) / scale, axis=1).min()
        assert row["distance"] == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert audited.page is None  # of a table there are no pictures


def test_without_labels_there_is_none_to_show():
    audited = audit_dataset(_points(0, 20), _points(3, 40), _points(1, 40), attack=[Nearness()])
    assert audited.exposed["label"].isna().all()


def test_attacks_see_what_they_declare_and_no_model():
    given = _points(0, 20), _points(3, 40), _points(1, 40)
    ok, failed = audit_dataset(*given, attack=[Reader(), Reader(ask=True)])
    assert ok.threshold == "the attack's own, 0"
    assert ok.metrics.balanced_accuracy.value is not None
    assert failed.status == "failed"
    assert "declares Needs(answers='none')" in failed.reason
    with pytest.raises(UndeclaredEvidence):
        Reader(ask=True).score(_evidence(given))


def _evidence(given):
    from privbench.external.dataset import Published
    from privbench.external.sets import sets

    return Published(sets(*given, 0), "mine", 0).evidence(Reader.needs)


@component
class Needy:
    """Needs what no published set has."""

    name = "needy"
    paper = "none"
    what: str = "answers"

    @property
    def needs(self):
        wanted = {
            "answers": {},
            "model": {"answers": "none", "model": True},
            "shadows": {"answers": "none", "shadows": "adaptive", "synthetic": True},
            "inputs": {"answers": "none", "inputs": "transformed"},
        }
        return Needs(**wanted[self.what])

    def score(self, evidence):
        raise AssertionError


def test_what_a_published_set_does_not_support_is_left_out():
    given = _points(0, 20), _points(3, 40), _points(1, 40)
    needy = [Needy(what=what) for what in ("answers", "model", "shadows", "inputs")]
    audited = audit_dataset(*given, attack=[*needy, Nearness()])
    assert len(audited) == 1
    reasons = list(audited.left_out.values())
    assert "privbench audit predictions" in reasons[0]
    assert reasons[1:] == ["a model", "shadow generators", "transformed inputs"]
    with pytest.raises(UsageError, match="None of the attacks"):
        audit_dataset(*given, attack=needy)


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_saving_writes_all_of_it(tmp_path, kind):
    rng = np.random.default_rng(0)

    def images(n):
        x = rng.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)
        return x if kind is np.uint8 else (x / 255).astype(np.float32)

    audited = audit_dataset(images(40), images(20), images(90), attack=[Nearness(), Reader()])
    audited.save(tmp_path)
    again = record.load([tmp_path])
    assert {each.digest for each in again} == {each.digest for each in audited}
    (page,) = tmp_path.rglob("*.pairs.png")
    assert page.stat().st_size > 1000
    assert audited.page.height > audited.page.width / 2
    assert len(list(tmp_path.rglob("*.exposed.csv"))) == 1
    assert len(list(tmp_path.rglob("*.scores.npz"))) == 2


def test_the_built_in_attacks_find_noisy_copies_of_images():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (120, 6, 6, 1), dtype=np.uint8)
    synthetic = np.clip(x[:40].astype(int) + rng.integers(-20, 20, x[:40].shape), 0, 255).astype(np.uint8)
    audited = audit_dataset(x[:40], synthetic, x[40:])
    names = {each.attack.name for each in audited}
    assert names >= {"gan-leaks", "nearest-neighbour", "real-vs-fake"}
    assert {"lira", "correctness"} <= {name.partition(":")[0] for name in audited.left_out}
    by_name = {each.attack.name: each for each in audited}
    assert all(by_name[name].metrics.auc.value > 0.95 for name in ("gan-leaks", "nearest-neighbour", "real-vs-fake"))
    assert by_name["nearest-neighbour"].findings["memorisation_rate"].value > 0.95


def _blobs(seed, n, width=8):
    return np.random.default_rng(seed).normal(size=(n, width))


def test_copies_of_a_large_real_set_are_all_found():
    """Five times as many real examples as are held out: the usual split, in which sampling hides most copies."""
    real, holdout = _blobs(0, 1000), _blobs(1, 200)
    audited = audit_dataset(real, real + 1e-3 * _blobs(2, 1000), holdout, attack="nearest-neighbour")
    quality = next(each for each in audited.audits if each.audit.name == "generation-quality")
    assert audited[0].findings["memorisation_rate"].value == 1
    assert audited[0].findings["memorisation_rate"].low > 0.97
    assert quality.values["copies"].value == 1
    assert len(audited.exposed) == audited.member.sum() == 1000
    assert len(audited.member) == 1100
    fresh = audit_dataset(real, _blobs(3, 1000), holdout, attack=["gan-leaks", "nearest-neighbour", "real-vs-fake"])
    for one in fresh:
        assert one.metrics.auc.low < 0.5 < one.metrics.auc.high
    rate = fresh[1].findings["memorisation_rate"]
    assert rate.low < 0.5 < rate.high


def test_the_one_leaked_outlier_among_many_is_listed_first():
    real, holdout = _blobs(0, 500), _blobs(1, 100)
    real[321] = 9.0
    synthetic = np.concatenate([_blobs(3, 200), real[321:322] + 1e-3])
    audited = audit_dataset(real, synthetic, holdout, attack="nearest-neighbour", audit=[])
    assert 321 in audited.exposed["index"].tolist()
    (row,) = audited.exposed[audited.exposed["index"] == 321].to_dict("records")
    assert (row["nearest"], row["distance"] < 0.01) == (200, True)


def test_one_synthetic_example_three_hundred_times_is_no_certainty():
    real, holdout = _blobs(0, 300), _blobs(1, 300)
    audited = audit_dataset(real, np.repeat(real[:1], 300, axis=0), holdout, attack="nearest-neighbour", audit=[])
    rate = audited[0].findings["memorisation_rate"]
    assert (rate.value, rate.n) == (1, 1)
    assert rate.low < 0.1
    assert any("1 distinct example among 300" in warning for warning in audited.warnings)


def test_a_serial_number_does_not_hide_copies():
    rng = np.random.default_rng(0)

    def table(rows):
        return np.column_stack([rng.permutation(len(rows)) * 1000.0, rows])

    body, other = _blobs(0, 300, 20), _blobs(1, 300, 20)
    given = table(body), table(body), table(other)
    scaled = audit_dataset(*given, attack=["gan-leaks", "nearest-neighbour", "real-vs-fake"], audit=[])
    assert all(one.metrics.auc.value > 0.9 for one in scaled)
    assert scaled.warnings == ()
    raw = audit_dataset(*given, attack="gan-leaks:scale=none", audit=[])
    assert raw[0].metrics.auc.value < 0.65
    (warning,) = raw.warnings
    assert warning.startswith("column '0' makes 100.0% of the squared distances between real examples where scale=none")


def test_a_column_that_dominates_standardised_ones_is_warned_of():
    real, holdout = _blobs(0, 300), _blobs(1, 300)
    real[:, 2] *= np.exp(4 * np.abs(real[:, 3]))
    (warning,) = audit_dataset(real, _blobs(2, 300), holdout, attack="gan-leaks", audit=[]).warnings
    assert warning.startswith("column '2' makes 100.0% of the squared distances between real examples: attacks")


def test_large_integers_are_told_apart():
    order = np.random.default_rng(0).permutation(900)
    real, synthetic, holdout = (1_700_000_000 + 7 * order[part, None] for part in np.split(np.arange(900), 3))
    audited = audit_dataset(real, synthetic, holdout, attack="gan-leaks", audit=[])
    assert audited.warnings == ()
    assert len(audited.notes) == 1
    assert audited[0].data.duplicates == 0


def test_labels_in_a_column_are_no_feature():
    def frame(seed, n):
        x = pd.DataFrame(_blobs(seed, n, 3), columns=["a", "b", "c"])
        return x.assign(sick=np.where(np.arange(n) % 2, "yes", "no"))

    audited = audit_dataset(frame(0, 60), frame(1, 50), frame(2, 80), attack="gan-leaks", audit=[], label="sick")
    assert set(audited.exposed["label"]) == {"yes", "no"}
    assert audited[0].data.classes == 2


@pytest.mark.parametrize(
    ("audit", "names"),
    [
        ("generation-quality", ["generation-quality"]),
        (["generation-quality:features=pca"], ["generation-quality"]),
        ("all", ["expected-privacy-loss", "generation-quality"]),
        ([], []),
        (None, []),
    ],
)
def test_measurements_are_named_as_attacks_are(audit, names):
    audited = audit_dataset(*(_blobs(seed, 80, 4) for seed in range(3)), attack="gan-leaks", audit=audit)
    assert [each.audit.name for each in audited.audits] == names


@pytest.mark.parametrize("audit", ["generation-qualty", ["generation-qualty"], ["generation-qualty:features=pca"]])
def test_a_measurement_that_does_not_exist_is_an_error(audit):
    given = [_blobs(seed, 80, 4) for seed in range(3)]
    with pytest.raises(UnknownName, match=r"generation-qualty.*generation-quality"):
        audit_dataset(*given, attack="gan-leaks", audit=audit)
    with pytest.raises(UnknownName, match=r"gan-leeks.*gan-leaks"):
        audit_dataset(*given, attack="gan-leeks")
