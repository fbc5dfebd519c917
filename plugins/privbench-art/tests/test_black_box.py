import numpy as np
import pytest
from art.attacks.inference.membership_inference import MembershipInferenceBlackBox
from art.estimators.classification import BlackBoxClassifier
from privbench_art.black_box import ArtBlackBox
from privbench_art.bridge import lent_generators
from scipy.special import log_softmax, softmax

from privbench.errors import CellFailed
from privbench.testing import build, parametrize_with_checks, synthetic_evidence

CLASSES = 4


@parametrize_with_checks(["attack:art-black-box:rows=400", "attack:art-black-box:model=lr,answers=logits"])
def test_contract(check):
    check()


def drawn(seed, count, lift):
    """Return logits and labels of examples whose true class is lifted."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    return rng.normal(size=(count, CLASSES)).astype(np.float32) + lift * np.eye(CLASSES, dtype=np.float32)[
        labels
    ], labels


@pytest.mark.parametrize("model", ["rf", "gb", "lr", "dt", "knn", "nn"])
@pytest.mark.parametrize("answers", ["probabilities", "logits", "loss"])
def test_it_is_what_art_says_of_the_same_arrays(model, answers):
    inside, outside, asked = drawn(0, 60, 3.0), drawn(1, 60, 1.0), drawn(2, 40, 2.0)
    attack = ArtBlackBox(model=model, answers=answers, epochs=2)
    with lent_generators(7):
        ours = attack.infer(inside, outside, asked, CLASSES)

    class Estimator(BlackBoxClassifier):
        """As a user of ART writes one whose losses are known."""

        def compute_loss_from_predictions(self, pred, y):
            return -(y * log_softmax(np.asarray(pred, dtype=np.float64), axis=1)).sum(axis=1)

    def given(logits):
        return softmax(logits.astype(np.float64), axis=1) if answers == "probabilities" else logits

    kind = "loss" if answers == "loss" else "prediction"
    options = {"nn_model_epochs": 2, "nn_model_learning_rate": 1e-3}
    direct = MembershipInferenceBlackBox(
        Estimator(lambda x: x, (1,), CLASSES), input_type=kind, attack_model_type=model, **options
    )
    with lent_generators(7):
        direct.fit(None, inside[1], None, outside[1], pred=given(inside[0]), test_pred=given(outside[0]))
        theirs = direct.infer(None, asked[1], pred=given(asked[0]), probabilities=True)
    np.testing.assert_allclose(ours, theirs[:, -1], rtol=1e-6)
    assert ours.std() > 0


def test_it_is_fitted_on_shadows_members_and_others_as_many_of_each(monkeypatch):
    attack = ArtBlackBox(rows=300)
    evidence, _ = synthetic_evidence(attack.needs, leak=2.0)
    seen = []
    monkeypatch.setattr(ArtBlackBox, "infer", lambda _self, *fitted_on_and_asked: seen.extend(fitted_on_and_asked))
    attack.score(evidence)
    (inside, inside_y), (outside, outside_y) = seen[:2]
    assert (len(inside), len(outside)) == (150, 150)
    logits = np.stack([np.asarray(each[:, 0]) for each in evidence.shadow_logits])
    for found, labels, side in [
        (inside, inside_y, evidence.shadow_member),
        (outside, outside_y, ~evidence.shadow_member),
    ]:
        known = {row.tobytes(): label for row, label in zip(logits[side], np.nonzero(side)[1], strict=True)}
        assert [evidence.labels[known[row.tobytes()]] for row in found] == labels.tolist()


def test_the_order_of_shadows_and_examples_is_nothing_to_it():
    """Not in the last bit, though a forest draws its bootstrap from the rows in their order."""
    attack = ArtBlackBox(rows=200)
    evidence, _ = synthetic_evidence(attack.needs, leak=2.0)
    order, shadows = np.random.default_rng(0).permutation(200), np.random.default_rng(1).permutation(14)

    class Shuffled:
        classes, labels, logits = evidence.classes, evidence.labels[order], evidence.logits[order]
        shadow_member = evidence.shadow_member[shadows][:, order]
        shadow_logits = tuple(np.asarray(evidence.shadow_logits[int(shadow)])[order] for shadow in shadows)
        rng = staticmethod(evidence.rng)

    np.testing.assert_array_equal(attack.score(Shuffled()), attack.score(evidence)[order])


def test_without_shadows_there_is_no_attack():
    class Evidence:
        shadow_logits = ()

    with pytest.raises(CellFailed, match="at least 4 models"):
        ArtBlackBox().score(Evidence())


def test_global_generators_are_left_as_they_were():
    legacy = np.random.mtrand
    legacy.seed(3)
    before = legacy.get_state()[1].copy()
    draws = []
    for seed in (1, 1, 2):
        with lent_generators(seed):
            draws.append(legacy.rand())
    np.testing.assert_array_equal(legacy.get_state()[1], before)
    assert draws[0] == draws[1] != draws[2]
    with pytest.raises(ZeroDivisionError), lent_generators(1):
        _ = int(legacy.rand()) // 0
    np.testing.assert_array_equal(legacy.get_state()[1], before)


def test_the_seed_is_the_evidences():
    """Another seed of the run, another forest."""
    evidence, _ = synthetic_evidence(ArtBlackBox().needs, leak=2.0)
    scores = []
    for seed in (0, 0, 1):
        evidence.rng = lambda purpose, seed=seed: np.random.default_rng([seed, len(purpose)])
        scores.append(build(ArtBlackBox, {"rows": "200"}).score(evidence))
    np.testing.assert_array_equal(scores[0], scores[1])
    assert (scores[0] != scores[2]).any()
