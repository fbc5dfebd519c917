import numpy as np
import pytest
from scipy.stats import rankdata

from privbench.evidence import Answers, Evidence


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


@pytest.fixture(scope="session")
def helpers():
    """The functions above; test files cannot import from a conftest."""
    from types import SimpleNamespace

    return SimpleNamespace(auc=auc, tpr_at=tpr_at, pairs=pairs, Answering=Answering, population=population)
