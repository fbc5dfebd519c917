import numpy as np
import pytest
from scipy.special import log_softmax

from privbench.api import Needs
from privbench.builtin.attacks.threshold import Confidence, Correctness, Entropy, ModifiedEntropy, first_best_score
from privbench.errors import CellFailed, UndeclaredEvidence
from privbench.options.fields import build
from privbench.stats import metrics, signals

CALIBRATED = {
    Confidence: signals.log_confidence,
    Entropy: signals.neg_entropy,
    ModifiedEntropy: signals.neg_modified_entropy,
}
each_class = pytest.mark.parametrize("attack", CALIBRATED, ids=lambda cls: cls.name)
each = pytest.mark.parametrize(
    "attack",
    [Correctness(), *(cls(thresholds=kind) for cls in CALIBRATED for kind in ("class", "global"))],
    ids=lambda a: f"{a.name}-{getattr(a, 'thresholds', '')}",
)


def balanced_accuracy(called, member):
    return (called[member].mean() + 1 - called[~member].mean()) / 2


def test_correctness_is_one_half_and_half_the_accuracy_gap(helpers):
    answers, member = helpers.population(0, leak=1.0)
    hit = answers.logits[:, 0].argmax(axis=-1) == answers.labels
    called = answers.score(Correctness()) >= Correctness.threshold
    gap = hit[member].mean() - hit[~member].mean()
    assert gap > 0.05
    assert abs(balanced_accuracy(called, member) - (0.5 + gap / 2)) < 1e-12


def test_confidence_and_loss_are_the_same_attack(helpers):
    answers, member = helpers.population(1)
    log_p = log_softmax(answers.logits[:, 0].astype(np.float64), axis=-1)
    loss = -log_p[np.arange(300), answers.labels]
    assert helpers.auc(answers.score(Confidence()), member) == helpers.auc(-loss, member)


@each_class
def test_global_thresholds_shift_the_signal_by_the_shadows_best(attack, helpers):
    answers, _ = helpers.population(2)
    shadow = np.stack([CALIBRATED[attack](z, answers.labels)[:, 0] for z in answers.shadows])
    tau = metrics.best_threshold(shadow.ravel(), answers.shadow_member.ravel())
    own = CALIBRATED[attack](answers.logits, answers.labels)[:, 0]
    np.testing.assert_array_equal(answers.score(attack(thresholds="global")), own - tau)


@each_class
def test_class_thresholds_are_those_of_the_class_alone(attack, helpers):
    answers, _ = helpers.population(3)
    scores = answers.score(attack(thresholds="class"))
    for label in range(5):
        rows = np.flatnonzero(answers.labels == label)
        np.testing.assert_array_equal(answers[rows].score(attack(thresholds="global")), scores[rows])


def test_class_thresholds_help_where_classes_differ(helpers):
    rng = np.random.default_rng(4)
    n, models = 400, 10
    member = helpers.pairs(n, models, rng)
    labels = np.arange(n) % 2
    logits = np.zeros((models, n, 1, 2))
    confidence = rng.normal(0, 0.5, (models, n)) + np.where(labels, 5, 0) + 2 * member
    logits[:, np.arange(n), 0, labels] = confidence
    answers = helpers.Answering(labels, logits[0], logits[2:], member[2:])
    accuracy = {
        kind: balanced_accuracy(answers.score(ModifiedEntropy(thresholds=kind)) >= 0, member[0])
        for kind in ("class", "global")
    }
    assert accuracy["class"] > 0.95
    assert accuracy["global"] < 0.8


def test_defaults_are_the_papers():
    assert (Confidence().thresholds, Entropy().thresholds, ModifiedEntropy().thresholds) == (
        "global",
        "global",
        "class",
    )


def authors_threshold(member_values, nonmember_values):
    """The rule of Song and Mittal's code as it is described there: try each value, keep the first that is best."""
    best, highest = 0.0, 0.0
    for value in [*member_values, *nonmember_values]:
        accuracy = 0.5 * (np.mean(member_values >= value) + np.mean(nonmember_values < value))
        if accuracy > highest:
            best, highest = value, accuracy
    return best


@each_class
def test_the_official_preset_decides_as_the_authors_code(attack, helpers):
    """Scores of few distinct values, so that many thresholds are equally good; one shadow, as the authors have."""
    official, differ = build(attack, {"preset": "official"}), 0
    for seed in range(20):
        answers, _ = helpers.population(seed, n=80, models=4)
        answers.logits, answers.shadows = (np.round(2 * each) / 2 for each in (answers.logits, answers.shadows[:1]))
        answers.shadow_member = answers.shadow_member[:1]
        shadow = CALIBRATED[attack](answers.shadows[0], answers.labels)[:, 0]
        own = CALIBRATED[attack](answers.logits, answers.labels)[:, 0]
        inside, expected = answers.shadow_member[0], np.zeros(80, dtype=bool)
        for label in range(5):
            rows = answers.labels == label
            expected[rows] = own[rows] >= authors_threshold(shadow[rows & inside], shadow[rows & ~inside])
        called = answers.score(official) >= official.threshold
        np.testing.assert_array_equal(called, expected)
        differ += int((called != (answers.score(attack(thresholds="class")) >= 0)).sum())
    assert differ > 0, "the rules are not the same"


def test_of_equally_good_scores_the_first_member_is_taken():
    scores, member = np.array([1.0, 2.0, 3.0, 4.0]), np.array([False, True, False, True])
    assert first_best_score(scores, member) == 2.0
    assert first_best_score(scores[::-1], member[::-1]) == 4.0
    assert metrics.best_threshold(scores, member) == metrics.best_threshold(scores[::-1], member[::-1]) == 3.5
    with pytest.raises(CellFailed, match="members and of non-members"):
        first_best_score(scores, np.zeros(4, dtype=bool))


@each_class
def test_a_class_known_from_one_side_only_takes_the_global_threshold(attack, helpers):
    answers, _ = helpers.population(5)
    answers.shadow_member[:, answers.labels == 2] = True
    rows = answers.labels == 2
    by_class, overall = (answers.score(attack(thresholds=kind)) for kind in ("class", "global"))
    np.testing.assert_array_equal(by_class[rows], overall[rows])
    assert (by_class[~rows] != overall[~rows]).any()


@each
def test_thresholds_are_never_fitted_on_the_target(attack, helpers):
    """Other answers of the target to one example move the score of that example only."""
    answers, _ = helpers.population(6)
    before = answers.score(attack)
    answers.logits[0] = [9, -9, 9, -9, 4]
    np.testing.assert_array_equal(answers.score(attack)[1:], before[1:])


@each
def test_finds_a_leak_at_its_own_threshold(attack, helpers):
    answers, member = helpers.population(7, leak=5.0)
    scores = answers.score(attack)
    assert scores.dtype == np.float64
    assert balanced_accuracy(scores >= attack.threshold, member) > 0.6


@each
def test_without_leakage_it_finds_nothing(attack, helpers):
    answers, member = helpers.population(8, n=4_000, leak=0.0)
    assert helpers.auc(answers.score(attack), member) == pytest.approx(0.5, abs=3 * np.sqrt(1 / (3 * 4_000)))


@each
def test_order_of_examples_and_shadows(attack, helpers):
    answers, _ = helpers.population(9)
    rng = np.random.default_rng(0)
    scores, order = answers.score(attack), rng.permutation(300)
    np.testing.assert_array_equal(answers[order].score(attack), scores[order])
    shuffled = rng.permutation(len(answers.shadows))
    answers.shadows, answers.shadow_member = answers.shadows[shuffled], answers.shadow_member[shuffled]
    np.testing.assert_array_equal(answers.score(attack), scores)


@each
def test_renaming_the_classes_changes_nothing(attack, helpers):
    answers, _ = helpers.population(10)
    names = np.random.default_rng(0).permutation(5)
    renamed = helpers.Answering(
        names[answers.labels],
        answers.logits[..., np.argsort(names)],
        answers.shadows[..., np.argsort(names)],
        answers.shadow_member,
    )
    np.testing.assert_allclose(renamed.score(attack), answers.score(attack), rtol=1e-9, atol=1e-12)


@each
def test_useless_shadows_still_give_finite_scores(attack, helpers):
    """Every shadow answers alike, so that no threshold is better than another."""
    answers, _ = helpers.population(11)
    answers.shadows[:] = 0
    assert np.isfinite(answers.score(attack)).all()


@each_class
def test_asks_for_shadows_and_says_so_when_there_are_none(attack, helpers):
    assert attack(shadows="undefended").needs == Needs(shadows="undefended")
    answers, _ = helpers.population(12)
    with pytest.raises(CellFailed, match="needs shadow models"):
        helpers.Answering(answers.labels, answers.logits).score(attack())


def test_undeclared_evidence_raises(helpers):
    answers, _ = helpers.population(13)
    with pytest.raises(UndeclaredEvidence):
        Confidence().score(answers.evidence(Correctness.needs))
    with pytest.raises(UndeclaredEvidence):
        Confidence().score(answers.evidence(Needs()))
    assert np.isfinite(Correctness().score(answers.evidence(Correctness.needs))).all()
