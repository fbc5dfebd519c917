import numpy as np

from privbench.external.precision import digits, half, tiny


def test_digits():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(4), 50)
    for count in range(6):
        assert digits(p.round(count)) == count
        assert count > 4 or digits(p.astype(np.float32).round(count)) == count
    assert digits(p) is None
    assert digits(p.astype(np.float16)) is None


def test_halves():
    p = np.random.default_rng(0).dirichlet(np.ones(4), 50)
    assert half(p.astype(np.float16)) == half(p.astype(np.float16).astype(np.float64)) == "float16"
    bits = p.astype(np.float32).view(np.uint32) & 0xFFFF0000
    assert half(bits.astype(np.uint32).view(np.float32)) == "bfloat16"
    assert half(p) == half(p.astype(np.float32)) == half(np.array([[0.5, 0.5]])) == ""


def test_the_least_number_of_a_type_is_that_of_the_type_before_widening():
    p = np.random.default_rng(0).dirichlet(np.ones(4), 50)
    assert tiny(p) == 2.0**-1074
    assert tiny(p.astype(np.float32)) == tiny(p.astype(np.float32).astype(np.float64)) == 2.0**-149
    assert tiny(np.eye(3)) == tiny(np.eye(3, dtype=int)) == 2.0**-1074
    assert tiny(np.eye(3, dtype=np.float32)) == 2.0**-149
