from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from privbench.api import Needs


@dataclass(frozen=True)
class CountOnly:
    """Looks at no model: scores by how few shadows were trained on an example."""

    name: ClassVar[str] = "count-only"
    needs: ClassVar[Needs] = Needs(shadows="adaptive")

    def score(self, evidence):
        return -evidence.shadow_member.sum(axis=0).astype(np.float64)


@pytest.mark.parametrize(("partner", "want"), [("dropped", 0.5), ("kept", 1.0)])
def test_counting_shadow_memberships_gives_the_answer_only_with_the_partner_kept(partner, want, helpers):
    rng = np.random.default_rng(0)
    models, n = 8, 200
    member = helpers.pairs(n, models, rng)
    logits = rng.normal(size=(models, n, 1, 3))  # no leakage at all
    for target in range(models):
        excluded = {target, target ^ 1} if partner == "dropped" else {target}
        shadows = [model for model in range(models) if model not in excluded]
        answers = helpers.Answering(np.zeros(n, dtype=int), logits[target], logits[shadows], member[shadows])
        assert helpers.auc(answers.score(CountOnly()), member[target]) == want
