import numpy as np
import pytest
from scipy.stats import rankdata

from privbench.api import Examples
from privbench.contracts.evidence import Answered, Answers, Evidence


def auc(scores, member):
    """Area under the ROC, ties at mid-rank."""
    inside, outside = member.sum(), (~member).sum()
    return (rankdata(scores)[member].sum() - inside * (inside + 1) / 2) / (inside * outside)


def tpr_at(scores, member, fpr):
    """Share of members above all but `fpr` of the non-members."""
    return (scores[member] > np.quantile(scores[~member], 1 - fpr)).mean()


def pairs(n, models, rng):
    """Memberships (models, n) of complementary pairs: 2k and 2k + 1 never share an example."""
    member = np.zeros((models, n), dtype=bool)
    for first in range(0, models, 2):
        member[first, rng.permutation(n)[: n // 2]] = True
        member[first + 1] = ~member[first]
    return member


class Answering:
    """Evidence made of arrays: the target's logits (n, q, c), the shadows' (s, n, q, c) and membership (s, n)."""

    def __init__(self, labels, logits, shadows=(), shadow_member=None):
        self.labels, self.logits = np.asarray(labels), np.asarray(logits, dtype=np.float32)
        self.shadows = np.asarray(shadows, dtype=np.float32)
        self.shadow_member = shadow_member

    @classmethod
    def with_phi(cls, phi, shadow_phi, shadow_member):
        """Two classes and label 0, so that phi (n,) or (n, q) is the logit of class 0."""
        phi, shadow_phi = (x if x.ndim == dims else x[..., None] for x, dims in ((phi, 2), (shadow_phi, 3)))
        logits, shadows = (np.stack([x, np.zeros_like(x)], axis=-1) for x in (phi, shadow_phi))
        return cls(np.zeros(len(phi), dtype=np.int64), logits, shadows, shadow_member)

    def __getitem__(self, rows):
        """Return the evidence on some examples, or on all in another order."""
        return Answering(self.labels[rows], self.logits[rows], self.shadows[:, rows], self.shadow_member[:, rows])

    def evidence(self, needs):
        answers = [Answers(lambda x=x: x, self.labels) for x in (self.logits, *self.shadows)]
        return Evidence(
            needs, self.labels, answers[0], answers[1:], self.shadow_member, classes=self.logits.shape[-1], seed=0
        )

    def score(self, attack):
        return attack.score(self.evidence(attack.needs))


def population(seed=0, *, n=300, models=18, classes=5, queries=1, leak=2.0):
    """Return one target's evidence, and its membership; members are surer of their label by `leak`."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    member = pairs(n, models, rng)
    hard = rng.normal(0, 2, (n, 1, classes))
    logits = hard + rng.normal(0, 1, (models, n, queries, classes))
    logits[:, np.arange(n), :, labels] += 2 + leak * member.T[:, :, None]
    return Answering(labels, logits[0], logits[2:], member[2:]), member[0]


class Published:
    """Evidence made of inputs alone: candidates, what a release publishes, what shadows do, and the attacker's.

    All are inputs, as in Examples.x; labels are 0 where none are given.
    """

    def __init__(
        self, x, synthetic, *, reference=None, y=None, synthetic_y=None, shadows=(), shadow_member=None, seed=0
    ):
        self.x, self.y = np.asarray(x), np.zeros(len(x), int) if y is None else np.asarray(y)
        self.synthetic = None if synthetic is None else _examples(synthetic, synthetic_y)
        self.reference = _examples(np.asarray(x)[:1] if reference is None else reference)
        self.shadows = [None if each is None else _examples(each) for each in shadows]
        self.shadow_member, self.seed = shadow_member, seed

    def evidence(self, needs):
        def silent(labels):
            return Answers(lambda: np.zeros((len(labels), 1, 2), np.float32), labels)

        return Evidence(
            needs,
            self.y,
            silent(self.y),
            shadow_member=np.zeros((0, len(self.y)), bool) if self.shadow_member is None else self.shadow_member,
            classes=2,
            x=self.x,
            reference=Answered(needs, self.reference.y, silent(self.reference.y), x=self.reference.x),
            synthetic=self.synthetic,
            shadow_synthetic=self.shadows.__getitem__,
            seed=self.seed,
        )

    def score(self, attack):
        return attack.score(self.evidence(attack.needs))

    def findings(self, attack, member):
        evidence = self.evidence(attack.needs)
        scores = attack.score(evidence)
        return attack.judged(attack.findings(evidence, scores), scores, member)


def _examples(x, y=None):
    return Examples(np.asarray(x), np.zeros(len(x), int) if y is None else np.asarray(y))


def blobs(n, rng, side=8):
    """Return (n, side, side, 1) uint8: soft spots, no two alike, as unlike noise as photographs are."""
    at, width = rng.uniform(1, side - 2, (2, n, 1, 1)), rng.uniform(1, 2.5, (n, 1, 1))
    rows, columns = np.indices((side, side))
    spots = np.exp(-((rows - at[0]) ** 2 + (columns - at[1]) ** 2) / width**2)
    return np.clip(230 * spots + rng.normal(0, 3, spots.shape), 0, 255).astype(np.uint8)[..., None]


def published(seed, *, copies, n=201):
    """Return evidence of n candidates, and which are members: the synthetic set is noisy copies of them, or fresh.

    Members are fewer than non-members, and reference examples fewer than either.
    """
    rng = np.random.default_rng(seed)
    x, member = blobs(n, rng), np.arange(n) < n // 2
    order = rng.permutation(n)
    x, member = x[order], member[order]
    synthetic = np.clip(x[member].astype(int) + rng.integers(-3, 4, x[member].shape), 0, 255).astype(np.uint8)
    if not copies:
        synthetic = blobs(n // 2, rng)
    return Published(x, synthetic, reference=blobs(n // 3, rng), seed=seed), member


@pytest.fixture(scope="session")
def helpers():
    """The functions above; test files cannot import from a conftest."""
    from types import SimpleNamespace

    return SimpleNamespace(
        auc=auc,
        tpr_at=tpr_at,
        pairs=pairs,
        Answering=Answering,
        population=population,
        Published=Published,
        published=published,
        blobs=blobs,
    )
