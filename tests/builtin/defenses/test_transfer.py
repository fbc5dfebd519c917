"""Whether a transfer worked, by models that neither value examples nor were trained on those that they measure."""

import numpy as np
import pytest

from privbench.api import Context
from privbench.builtin.defenses.transfer import Moved, exchanged, measure
from privbench.builtin.defenses.transform import Transform
from privbench.builtin.defenses.valuing import Valuer
from privbench.data.dataset import Examples

N = 40


def union(dtype=np.uint8):
    """Return images whose single pixel says how risky they are."""
    x = np.arange(N, dtype=np.uint8).reshape(N, 1, 1, 1)
    return Examples(x if dtype == np.uint8 else (x / np.float32(255)).astype(dtype), np.zeros(N, np.int64))


class Pixel(Valuer):
    """Measuring models that see the pixel, and recognise dark images."""

    def __init__(self, **options):
        super().__init__(None, N // 2, Transform(**options))
        self.trained, self.asked = [], []

    def train(self, examples, ctx):
        self.trained.append(levels_of(examples))
        self.seeds = [*getattr(self, "seeds", []), ctx.purpose]
        return len(self.trained) - 1

    def measure(self, model, examples, member, ctx):
        pixels = levels_of(examples)
        assert np.array_equal(np.flatnonzero(member), np.arange(len(self.trained[model])))
        self.asked.append(pixels[~member])
        return pixels - 20.0, pixels < 30


def levels_of(examples):
    x = examples.x[:, 0, 0, 0]
    return np.rint(x * (1.0 if x.dtype == np.uint8 else 255.0)).astype(int)


CTX = Context(seed=1, reference=Examples(np.full((3, 1, 1, 1), 200, np.uint8), np.zeros(3, np.int64)))
LEVELS = np.repeat([0, 1, 2], [10, 20, 10])


def moved(rows, to, dtype=np.uint8):
    return Moved(np.asarray(rows), np.asarray(to, np.uint8).reshape(-1, 1, 1, 1))


def found(valuer, dtype=np.uint8):
    reference = Examples(CTX.reference.x.astype(dtype), CTX.reference.y)
    real, fake = moved(range(30, 40), range(10)), moved(range(10), range(20, 30))
    ctx = Context(seed=1, reference=reference)
    return measure(valuer, union(dtype), LEVELS, {"real": real, "fake": fake}, ctx)


def test_ranks_are_shares_of_safer_examples_that_no_measuring_model_was_trained_on():
    valuer = Pixel(measuring=2)
    facts = found(valuer)
    assert len(valuer.trained) == 4
    assert len({*map(tuple, valuer.seeds)}) == 4
    for at in (0, 2):
        one, other = (set(valuer.trained[at + side].tolist()) for side in (0, 1))
        assert one | other == set(range(N))
        assert not one & other
    # Of each pair of models every example is measured by the one that was not trained on it: all are, once.
    for trained, asked in zip(valuer.trained, valuer.asked, strict=True):
        others = N - len(trained)
        assert asked[:3].tolist() == [200] * 3
        assert set(asked[3 : 3 + others].tolist()) == set(range(N)) - set(trained.tolist())
    # Pixels are equally spaced, so that ranks are about pixels / N; halves are random.
    assert facts["safe_rank"] == pytest.approx(5 / N, abs=0.06)
    assert facts["risky_rank"] == pytest.approx(35 / N, abs=0.06)
    assert facts["real_rank_before"] == pytest.approx(35 / N, abs=0.06)
    assert facts["real_rank_after"] == pytest.approx(5 / N, abs=0.06)
    assert facts["fake_rank_before"] == pytest.approx(5 / N, abs=0.06)
    assert facts["fake_rank_after"] == pytest.approx(25 / N, abs=0.06)


def test_labels_that_are_recognised_before_and_kept():
    facts = found(Pixel())
    assert facts["real_recognised_before"] == 0
    assert facts["real_recognised_after"] == 1
    assert "real_kept" not in facts  # none was recognised before
    assert facts["fake_recognised_before"] == facts["fake_recognised_after"] == facts["fake_kept"] == 1
    assert facts["risky_recognised"] == 0


def test_a_rank_by_hand_counts_ties_half():
    class Ties(Pixel):
        def measure(self, model, examples, member, ctx):
            return np.zeros(len(examples)), np.ones(len(examples), bool)

    facts = found(Ties())
    assert {value for name, value in facts.items() if "rank" in name} == {0.5}


def test_absolute_distances_rank_those_near_the_threshold_as_safe():
    facts = found(Pixel(distance="abs"))
    assert facts["risky_rank"] == pytest.approx(15 / 20, abs=0.15)  # 10 to 20 from the threshold, as the safe ones
    assert facts["safe_rank"] == pytest.approx(15 / 20, abs=0.15)
    assert facts["fake_rank_after"] == pytest.approx(5 / 20, abs=0.15)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_exchanged_changes_are_those_of_other_images(dtype):
    scale = 1 if dtype == np.uint8 else np.float32(255)
    before = (np.arange(100, 140, dtype=np.uint8) / scale).astype(dtype).reshape(40, 1, 1, 1)
    after = (np.arange(100, 140) + np.arange(40)).astype(np.uint8).reshape(40, 1, 1, 1)
    out = exchanged(before, after, np.random.default_rng(0))
    assert out.dtype == np.uint8
    changes = out[:, 0, 0, 0].astype(int) - np.arange(100, 140)
    assert sorted(changes) == list(range(40))
    assert (changes != np.arange(40)).sum() > 30
    clipped = exchanged(
        np.full((2, 1, 1, 1), 250, np.uint8), np.full((2, 1, 1, 1), 0, np.uint8), np.random.default_rng(0)
    )
    assert clipped.max() == 0


def test_float_images_give_the_same_facts():
    assert found(Pixel(), np.float32) == pytest.approx(found(Pixel()))


def test_no_pairs_no_facts_and_nothing_moved_no_facts_of_it():
    assert found(Pixel(measuring=0)) == {}
    nothing = Moved(np.empty(0, np.int64), np.empty((0, 1, 1, 1), np.uint8))
    facts = measure(Pixel(), union(), LEVELS, {"real": nothing}, CTX)
    assert set(facts) == {"safe_rank", "safe_recognised", "risky_rank", "risky_recognised"}


def test_the_same_seed_gives_the_same_facts():
    assert found(Pixel()) == found(Pixel())
