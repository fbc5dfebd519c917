from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from privbench.errors import UsageError
from privbench.seeds import derive, fresh_salt, numpy_generator, salt_of, salted, seeded, torch_generator


@given(st.integers(0, 2**63), st.lists(st.integers() | st.text(), max_size=3))
def test_a_seed_fits_every_generator(seed, purpose):
    value = derive(seed, *purpose)
    assert 0 <= value < 2**63
    assert value == derive(seed, *purpose)


def test_seeds_stay_what_they_are():
    """A changed derivation would silently retrain every population and change every published number."""
    assert derive(0) == 7520536977032167579
    assert derive(0, "pair", 3) == 1362110863105299246


def test_each_purpose_has_a_seed_of_its_own():
    purposes = [(), ("a",), ("b",), ("a", 1), ("a", "1"), ("a1",), ("a", 1, 2), ("a", 12), ("a", None), (1, "a")]
    assert len({derive(seed, *purpose) for seed in (0, 1) for purpose in purposes}) == 2 * len(purposes)


def test_numpys_integers_are_integers():
    assert derive(0, "pair", np.int64(3)) == derive(0, "pair", 3)
    assert derive(np.int64(7), "x") == derive(7, "x")


def test_generators_repeat():
    assert numpy_generator(1, "x").random() == numpy_generator(1, "x").random()
    assert numpy_generator(1, "x").random() != numpy_generator(1, "y").random()
    draws = [torch.rand(3, generator=torch_generator(1, purpose)) for purpose in ("x", "x", "y")]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_seeded_block_leaves_the_global_generators_alone(device):
    before = torch.get_rng_state()
    with seeded(3, "init", device=device):
        first = torch.rand(2)
    torch.rand(1)  # whatever happens outside does not reach inside
    torch.set_rng_state(before)
    with seeded(3, "init", device=device):
        again = torch.rand(2)
    assert torch.equal(first, again)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_seeded_block_restores_the_generators_after_an_error():
    before = torch.get_rng_state()
    with pytest.raises(KeyError), seeded(3, "init"):
        raise KeyError
    assert torch.equal(torch.get_rng_state(), before)


def test_a_seeded_block_on_the_cpu_seeds_no_gpu(monkeypatch):
    """Nothing saved a GPU's generator there, so nothing could restore it."""
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda _seed: pytest.fail("a GPU was seeded"))
    with seeded(3, "init", device="cpu"):
        torch.rand(1)


def test_a_salt_is_public_drawn_or_given():
    assert salt_of("") == salt_of("public") == ""
    assert salted("") == ()
    given = "0123456789abcdefABCDEF0123456789"
    assert salt_of(given) == given.lower()
    assert salted(given) == (given,)
    drawn = {fresh_salt(), fresh_salt(), salt_of("random"), salt_of("random")}
    assert len(drawn) == 4
    assert all(salt_of(each) == each for each in drawn)


@pytest.mark.parametrize(
    "text", ["rndom", "0" * 31, "0" * 33, "g" * 32, "0x" + "0" * 30, " " + "0" * 31, "0" * 32 + "\n"]
)
def test_a_salt_that_is_none_says_what_would_be_right(text):
    with pytest.raises(UsageError, match="give 32 hexadecimal digits, 'random' to draw some, or 'public'"):
        salt_of(text)
