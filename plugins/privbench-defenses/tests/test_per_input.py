import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from privbench_defenses.per_input import PastFilter, hashes, labels_of, relabelled, secret, uniform

from privbench.api import Context

MASK = 2**64 - 1
KEY = torch.tensor(12345)


def splitmix(z):
    """The finaliser on Python's integers, which do not overflow (Steele, Lea & Flood 2014)."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def inputs(n=50, seed=0):
    return torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(seed))


def test_hashes_are_those_of_exact_integers():
    x = inputs(3)
    for row, got in zip(x, hashes(x, KEY).tolist(), strict=True):
        total = 0
        for place, number in enumerate(row.flatten().tolist()):
            bits = int(np.float32(number).view(np.int32)) & MASK
            total += splitmix(bits ^ splitmix((place * 0x9E3779B97F4A7C15 + 12345) & MASK))
        assert splitmix((total + 12345) & MASK) == got & MASK


def test_numbers_follow_from_the_input_alone_and_from_all_of_it():
    x = inputs()
    together = uniform(hashes(x, KEY), 5)
    alone = torch.cat([uniform(hashes(row[None], KEY), 5) for row in x.flip(0)]).flip(0)
    assert torch.equal(together, alone)
    laid_out_otherwise = x.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
    assert torch.equal(hashes(laid_out_otherwise, KEY), hashes(laid_out_otherwise.contiguous(), KEY))
    for pixel in range(16):
        other = x.clone()
        other.flatten(1)[:, pixel] = torch.nextafter(other.flatten(1)[:, pixel], torch.tensor(2.0))
        assert (hashes(other, KEY) != hashes(x, KEY)).all()
    swapped = x.flip(3)
    assert (hashes(swapped, KEY) != hashes(x, KEY)).all()
    assert (hashes(x, KEY + 1) != hashes(x, KEY)).all()


def test_minus_zero_is_zero():
    assert hashes(torch.zeros(1, 3), KEY) == hashes(-torch.zeros(1, 3), KEY)


def test_numbers_are_uniform_and_independent():
    drawn = uniform(hashes(inputs(4000), KEY), 4)
    assert drawn.dtype == torch.float32
    assert drawn.min() >= 0
    assert drawn.max() < 1
    counts = torch.histc(drawn, 16, 0, 1)
    chi_square = ((counts - 1000) ** 2 / 1000).sum()
    assert chi_square < 40  # 15 degrees of freedom: above 37.7 once in a thousand
    correlation = np.corrcoef(drawn.numpy().T) - np.eye(4)
    assert abs(correlation).max() < 4 / np.sqrt(4000)


def test_each_release_has_a_secret_of_its_own():
    first, again, other = (secret(Context(seed)) for seed in (0, 0, 1))
    assert first == again != other


few_values = hnp.arrays(np.float32, (4, 3), elements=st.sampled_from([-1.0, -0.0, 0.0, 1e-45, 2.0]))


@given(few_values)
def test_labels_are_those_of_numpy(logits):
    assert labels_of(torch.from_numpy(logits)).tolist() == logits.argmax(axis=1).tolist()


@given(few_values, hnp.arrays(np.int64, 4, elements=st.integers(0, 2)))
@settings(max_examples=200)
def test_relabelled_answers_have_the_label_and_change_where_they_must(answers, labels):
    got = relabelled(torch.from_numpy(answers), torch.from_numpy(labels)).numpy()
    assert got.argmax(axis=1).tolist() == labels.tolist()
    right = answers.argmax(axis=1) == labels
    np.testing.assert_array_equal(got[right], answers[right])
    assert ((got != answers).sum(axis=1) == ~right).all()
    np.testing.assert_allclose(got.max(axis=1), answers.max(axis=1), rtol=1e-6, atol=1e-44)


@pytest.mark.parametrize("seed", [0, 1])
def test_gradients_pass_as_if_there_were_no_filter(seed):
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(seed), requires_grad=True)
    answers = torch.zeros(3, 4)
    passed = PastFilter.apply(2 * logits, answers)
    assert torch.equal(passed, answers)
    (gradient,) = torch.autograd.grad(passed[:, 1].sum(), logits)
    assert torch.equal(gradient, torch.tensor([0.0, 2.0, 0.0, 0.0]).expand(3, 4))
