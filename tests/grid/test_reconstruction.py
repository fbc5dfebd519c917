from dataclasses import replace

import numpy as np
import pytest

from privbench.api import Needs
from privbench.errors import InvalidScores
from privbench.grid import reconstruction, scoring
from privbench.grid.attacking import check_images
from privbench.grid.cell import Cell
from privbench.grid.scoring import score
from privbench.options.fields import component
from privbench.plugins.loading import resolve
from privbench.population.population import Population
from privbench.records.files import images_sha256
from privbench.store.store import Store


def painted(evidence, classes, value=0.5):
    return np.full((len(classes), *evidence.input_shape), value, np.float32)


@component
class Thief:
    """Returns an image of each class that the white box is most confident of: on an overfit model, a member."""

    name = "thief"
    paper = "none"
    needs = Needs(examples=True, model=True)

    def reconstruct(self, evidence, classes):
        from privbench.learn.inference import predict

        logits = predict(evidence.model, evidence.x, device="cpu")
        gap = logits[np.arange(len(logits)), evidence.labels] - np.sort(logits, axis=1)[:, -2]
        best = [np.flatnonzero(evidence.labels == c)[np.argmax(gap[evidence.labels == c])] for c in classes]
        return evidence.x[best].astype(np.float32) / np.float32(255)


@component
class ClassMeans:
    """The mean of the attacker's own examples of each class: it learns nothing of the target."""

    name = "class-means"
    paper = "none"
    needs = Needs(reference=True)

    def reconstruct(self, evidence, classes):
        x, labels = evidence.reference.x, evidence.reference.labels
        return np.stack([x[labels == c].mean(axis=0) / 255 for c in classes]).astype(np.float32)


@component
class Static:
    """Noise."""

    name = "static"
    paper = "none"
    needs = Needs()

    def reconstruct(self, evidence, classes):
        return evidence.rng().random((len(classes), *evidence.input_shape), dtype=np.float32)


@component
class Published:
    """Asks no model, so that untrained ones say nothing of it."""

    name = "published"
    paper = "none"
    needs = Needs(answers="none")

    def reconstruct(self, evidence, classes):
        return painted(evidence, classes)


@component
class Broken:
    """Fails in the way that `how` says."""

    name = "broken"
    paper = "none"
    needs = Needs()
    how: str = "nan"

    def reconstruct(self, evidence, classes):
        if self.how == "raise":
            raise ValueError("no\nluck")
        if self.how == "shape":
            return painted(evidence, classes)[:, :4]
        if self.how == "dtype":
            return painted(evidence, classes).astype(np.uint8)
        return painted(evidence, classes, {"nan": np.nan, "range": 1.5}[self.how])


@pytest.fixture(scope="module")
def population(tmp_path_factory, make_all):
    """Two pairs of models that know their members by heart: of two random images a class, labels are all there is."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("data") / "noise.npz"
    x, y = rng.integers(0, 256, (90, 8, 8), dtype=np.uint8), np.arange(90) % 3
    x += (60 * np.eye(3, 8, dtype=np.uint8)[y])[:, :, None]
    np.savez(path, x_train=x[:60], y_train=y[:60], x_test=x[60:], y_test=y[60:])
    task = resolve("task", "npz", {"path": str(path), "epochs": 30, "model": "mlp", "batch_size": 16})
    store = Store(tmp_path_factory.mktemp("store"))
    return make_all(Population(task, task.load(), resolve("defense", "ce"), 4, 2, "cpu", store))


def scored(population, attack, targets=None):
    return score(Cell(population, attack, 1, targets, attacked=population, shadows=(population,)))


def test_members_that_come_back_are_told_from_class_structure(population):
    thief, means = (scored(population, attack)[0].reconstruction.attack for attack in (Thief(), ClassMeans()))
    assert thief.distance_ratio.high < 0.1
    assert thief.psnr_member.value > thief.psnr_nonmember.value + 10
    assert thief.accuracy.value == 1.0
    assert means.distance_ratio.value == pytest.approx(1.0)
    assert means.psnr_mean.value > means.psnr_member.value


def test_noise_is_like_its_control(population):
    found = scored(population, Static())[0].reconstruction
    for name in ("psnr_mean", "psnr_member", "ssim_member", "distance_ratio"):
        attack, noise = getattr(found.attack, name), getattr(found.noise, name)
        assert attack.low <= noise.high
        assert noise.low <= attack.high


def test_the_control_on_untrained_nets_steals_no_member(population):
    found = scored(population, Thief())[0].reconstruction
    assert found.untrained.distance_ratio.value > 100 * found.attack.distance_ratio.value
    assert found.untrained.confidence.value < 0.9 < found.attack.confidence.value
    assert (found.attack.accuracy.n, found.untrained.accuracy.n) == (12, 6)


def test_real_test_images_lie_as_near_to_members_as_to_non_members(population):
    found = scored(population, ClassMeans())[0].reconstruction
    low, high = found.heldout.distance_ratio.low, found.heldout.distance_ratio.high
    assert low < 1 < high
    assert found.evaluator == "cnn"
    assert found.evaluator_accuracy.n == 30
    assert found.heldout.accuracy.value == pytest.approx(found.evaluator_accuracy.value, abs=0.35)
    assert "evaluation classifier" in found.detector


def test_the_control_on_untrained_nets_is_found_out_once_for_all_defenses(population, tmp_path, monkeypatch, make_all):
    seen = []

    def reconstruct(self, evidence, classes):
        seen.append(evidence)
        return original(self, evidence, classes)

    original = Thief.reconstruct
    monkeypatch.setattr(Thief, "reconstruct", reconstruct)
    twins = [make_all(replace(population, store=Store(tmp_path / name))) for name in ("first", "second")]
    others = [replace(twins[0]), replace(twins[0], defense=resolve("defense", "relaxloss"))]
    make_all(others[1])
    first, second, third = (scored(each, Thief()) for each in (twins[0], *others))
    assert len(seen) == 3 * 4 + 2
    assert first[0].digest == second[0].digest
    assert np.array_equal(third[1]["untrained"], first[1]["untrained"])
    apart, raw = scored(twins[1], Thief())
    assert len(seen) == 4 * 4 + 2 * 2
    assert apart.digest == first[0].digest
    assert np.array_equal(raw["untrained"], first[1]["untrained"])


def test_an_attack_on_published_data_has_no_untrained_control(population):
    record, raw = scored(population, Published())
    assert record.status == "ok", record.reason
    assert record.reconstruction.untrained is None
    assert "untrained" not in raw


def test_the_raw_arrays_are_those_of_the_record(population):
    record, raw = scored(population, Thief(), targets=2)
    assert raw["images"].shape == (2, 3, 8, 8, 1)
    assert record.scores_sha256 == images_sha256(raw["images"])
    pool = population.dataset.role("pool")
    for target, label in np.ndindex(2, 3):
        members = pool[population.members(target) & (pool.y == label)].x
        for name in ("real", "nearest"):
            assert (members == raw[name][target, label]).all(axis=(1, 2, 3)).any()
        assert (raw["nearest"][target, label] == np.rint(255 * raw["images"][target, label])).all()
    shares = raw["values/accuracy"].mean(axis=0)
    assert record.reconstruction.per_class_accuracy == pytest.approx(shares.tolist())
    assert raw["untrained"].shape == raw["images"].shape


def test_a_record_is_of_its_family_and_has_no_membership_numbers(population):
    record, _ = scored(population, Thief())
    assert (record.family, record.status, record.metrics, record.per_example) == ("reconstruction", "ok", None, None)
    assert record.utility.train_accuracy.value > 0.9
    assert record.digest == record.compute_digest()
    assert record.threshold == ""


def test_a_record_is_reproduced_to_the_bit(population):
    first, second = (scored(population, Static()) for _ in range(2))
    assert first[0].digest == second[0].digest
    assert first[1]["images"].tobytes() == second[1]["images"].tobytes()


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("nan", "192 of 192 pixels are not finite"),
        ("range", "pixels run from 1.5 to 1.5"),
        ("shape", r"images have shape (3, 4, 8, 1); expected (3, 8, 8, 1)"),
        ("dtype", "images have dtype uint8; expected float32"),
        ("raise", "ValueError: no luck"),
    ],
)
def test_an_attack_that_fails_is_a_marked_cell(population, how, reason):
    record, raw = scored(population, Broken(how=how))
    assert (record.status, record.family) == ("failed", "reconstruction")
    assert reason in record.reason
    assert record.reconstruction is None
    assert raw == {}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda images: images.tolist(), "images are list; expected an array."),
        (lambda images: images[:1], "images have shape "),
        (lambda images: images.astype(object), "images have dtype object; expected float32."),
        (lambda images: images + np.nan, "pixels are not finite."),
        (lambda images: images + 2, "pixels run from "),
    ],
)
def test_images_are_checked_where_they_are_measured(population, monkeypatch, change, reason):
    def sent(*given):
        outcome = yield from attacking(*given)
        return replace(outcome, result=change(outcome.result))

    attacking = scoring.attacking
    monkeypatch.setattr(scoring, "attacking", sent)
    record, raw = scored(population, Static())
    assert (record.status, raw) == ("failed", {})
    assert reason in record.reason


@pytest.mark.parametrize("sent", [None, {"attack": 0.5}, {"attack": np.zeros((4, 3)), "heldout": np.full((4, 3), 2.0)}])
def test_confidences_are_checked_too(population, monkeypatch, sent):
    monkeypatch.setattr(reconstruction, "confidences", lambda *_: sent)
    record, _ = scored(population, Static())
    assert record.reason == "ce: the models' confidences are no probabilities."


def test_numbers_that_are_no_array_are_no_images():
    with pytest.raises(InvalidScores, match="shape"):
        check_images([0.5], (3, 8, 8, 1))


def test_an_attack_that_exits_fails_its_cell_and_names_the_line(population, monkeypatch):
    def leave(self, evidence, classes):
        raise SystemExit("bye")

    monkeypatch.setattr(Static, "reconstruct", leave)
    record, raw = scored(population, Static())
    assert (record.status, raw) == ("failed", {})
    assert record.reason.startswith("SystemExit: bye (tests/grid/test_reconstruction.py:")


def test_tables_hold_no_images(task, store, make_all):
    each = make_all(Population(task, task.load(), resolve("defense", "ce"), 2, 0, "cpu", store))
    record, raw = scored(each, Static())
    assert (record.status, raw) == ("n/a", {})
    assert record.reason == "npz holds tables: there is no image to reconstruct"


def test_a_class_without_test_examples_is_left_out_of_that_control_alone(population, make_all):
    from dataclasses import replace

    dataset = population.dataset
    without = dataset.test[dataset.examples.y[dataset.test] != 2]
    each = make_all(replace(population, dataset=replace(dataset, test=without)))
    found = scored(each, Static())[0].reconstruction
    assert (found.heldout.accuracy.n, found.noise.accuracy.n, found.attack.accuracy.n) == (8, 12, 12)


@pytest.mark.parametrize("installed", [True, False])
def test_faces_are_looked_for_where_a_task_depicts_them(population, monkeypatch, installed):
    import sys
    import types

    found = types.SimpleNamespace(
        face_detector=lambda: (lambda images: images.mean(axis=(1, 2, 3)) > 0.9) if installed else None
    )
    monkeypatch.setitem(sys.modules, "privbench.stats.detection", found)
    monkeypatch.setattr(type(population.task), "depicts", "faces", raising=False)
    result = scored(population, Published())[0].reconstruction
    if installed:
        assert result.detector == "OpenCV's frontal face cascade"
        assert result.attack.detected.value == 0
    else:
        assert "evaluation classifier" in result.detector
