import numpy as np
import pytest

from privbench import features
from privbench.data.dataset import Examples
from privbench.features import RandomNet, fit_encoder, pixels, standardised

RNG = np.random.default_rng(0)


def images(n=120, side=8, channels=1, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (n, side, side, channels), dtype=np.uint8)
    return Examples(x, np.arange(n) % 3)


def table(n=100, columns=5, seed=0):
    rng = np.random.default_rng(seed)
    return Examples(rng.normal(size=(n, columns)).astype(np.float32), np.arange(n) % 2)


def test_pixels_lie_between_minus_one_and_one():
    x = np.array([0, 255, 51], dtype=np.uint8).reshape(1, 1, 3, 1)
    np.testing.assert_allclose(pixels(x), [[-1, 1, -0.6]], rtol=1e-6)
    assert pixels(x).dtype == np.float32


def test_an_image_has_the_same_pixels_in_either_type_bit_for_bit():
    x = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    np.testing.assert_array_equal(pixels(x), pixels(x.astype(np.float32) / np.float32(255)))


def test_columns_of_a_table_are_standardised_by_the_reference():
    rows = Examples(table().x * np.array([1, 1e6, 1, 1e-6, 1], np.float32) + 3, table().y)
    wide = rows.x.astype(np.float64)
    right = (wide - wide[:50].mean(axis=0)) / wide[:50].std(axis=0)
    encode = fit_encoder("pixels", rows[:50])
    np.testing.assert_allclose(encode(rows.x), right, rtol=1e-3, atol=1e-3)  # 3 + 1e-6 has few digits in float32
    assert encode(rows.x).dtype == np.float32


def test_a_column_that_is_constant_in_the_reference_has_its_scale_from_what_is_published():
    reference = np.array([[0.1, 0, 5], [0.1, 1, 5], [0.1, 2, 5]], np.float32)
    made = np.array([[0.1, 0, 5], [99999.1, 1, 5], [0.1, 2, 5]], np.float32)
    found = standardised(reference, made)(np.array([[99999.1, 1, 7]], np.float32))
    assert found[0, 0] == pytest.approx(99999 / np.concatenate([reference, made])[:, 0].std(), rel=1e-5)
    assert found[0, 1:].tolist() == [0, 2]
    assert standardised(reference)(np.array([[99999.1, 1, 7]], np.float32))[0, 0] == pytest.approx(99999)


@pytest.mark.parametrize("examples", [images(), images(40, 5, 3), table()], ids=["grey", "few-colour", "table"])
@pytest.mark.parametrize("name", ["pixels", "pca", "encoder"])
def test_the_same_examples_give_the_same_features_and_inputs_stay_as_they_are(name, examples):
    before = examples.x.copy()
    first, second = (fit_encoder(name, examples)(examples.x) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(examples.x, before)
    assert first.ndim == 2
    assert len(first) == len(examples)
    assert np.isfinite(first).all()


@pytest.mark.parametrize("name", ["pca", "encoder"])
def test_rows_do_not_depend_on_the_others(name):
    reference, asked = images(300), images(600, seed=1)
    encode = fit_encoder(name, reference)
    order = RNG.permutation(600)
    np.testing.assert_allclose(encode(asked.x[order]), encode(asked.x)[order], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(300, 4), (20, 64)], ids=["many-rows", "many-columns"])
def test_principal_components_are_scikit_learns(shape):
    from sklearn.decomposition import PCA

    rng = np.random.default_rng(1)
    x = (rng.normal(size=shape) * np.linspace(3, 1, shape[1])).astype(np.float32)
    rows = Examples((x - x.mean(axis=0)) / x.std(axis=0), np.zeros(len(x), int))
    encode = fit_encoder("pca", rows, 3)
    expected = PCA(3, svd_solver="full").fit(rows.x.astype(np.float64))
    sign = np.sign((encode.axes * expected.components_).sum(axis=1))
    np.testing.assert_allclose(encode(rows.x) * sign, expected.transform(rows.x.astype(np.float64)), atol=1e-4)
    np.testing.assert_allclose(encode.axes @ encode.axes.T, np.eye(3), atol=1e-5)


def test_as_many_components_as_the_examples_can_tell():
    assert fit_encoder("pca", images(120), 64)(images().x).shape == (120, 64)
    assert fit_encoder("encoder", images(10), 64)(images().x).shape == (120, 9)
    flat = Examples(np.zeros((30, 8, 8, 1), np.uint8), np.zeros(30, int))
    assert fit_encoder("pca", flat)(images().x).shape == (120, 1)
    doubled = Examples(np.repeat(images(5).x, 10, axis=0), np.zeros(50, int))
    assert fit_encoder("pca", doubled)(images().x).shape == (120, 4)


def test_units_of_a_tables_columns_do_not_matter_to_pca():
    rows = table()
    metres = Examples(rows.x * np.array([1, 1000, 1, 1, 1], np.float32), rows.y)
    np.testing.assert_allclose(
        np.abs(fit_encoder("pca", rows)(rows.x)), np.abs(fit_encoder("pca", metres)(metres.x)), rtol=1e-3, atol=1e-4
    )


def test_the_encoder_of_a_table_is_pca():
    rows = table()
    np.testing.assert_array_equal(fit_encoder("encoder", rows)(rows.x), fit_encoder("pca", rows)(rows.x))


def test_components_are_fitted_on_evenly_spaced_examples(monkeypatch):
    monkeypatch.setattr(features, "FITTED_ON", 50)
    many = images(99)
    np.testing.assert_array_equal(fit_encoder("pca", many).mean, fit_encoder("pca", many[::2]).mean)


def test_the_net_has_the_weights_it_always_had():
    net = RandomNet(1)
    assert net(images(2).x).shape == (2, 896)
    found = [float(weight.ravel()[0]) for weight in net.weights]
    np.testing.assert_allclose(found, FIRST_WEIGHTS, rtol=1e-6)
    assert (RandomNet(3).weights[1] != net.weights[1]).any()


FIRST_WEIGHTS = [0.613298773765564, 0.0982481837272644, 0.0353132002055645]


def test_the_net_sees_texture_that_pixels_do_not():
    """Stripes and checks at random offsets: no pixel tells them apart, the net's averages do."""
    rng = np.random.default_rng(2)
    kind, shift = np.arange(200) % 2, rng.integers(0, 2, 200)
    grid = np.indices((8, 8))
    pattern = np.where(
        kind[:, None, None], (grid.sum(0) + shift[:, None, None]) % 2, (grid[0] + shift[:, None, None]) % 2
    )
    x = (pattern[..., None] * 200).astype(np.uint8)
    net = RandomNet(1)(x)
    centres = np.stack([net[:100][kind[:100] == k].mean(axis=0) for k in (0, 1)])
    told = np.square(net[100:, None] - centres).sum(-1).argmin(1)
    assert (told == kind[100:]).mean() > 0.95
    flat = pixels(x)
    centres = np.stack([flat[:100][kind[:100] == k].mean(axis=0) for k in (0, 1)])
    assert (np.square(flat[100:, None] - centres).sum(-1).argmin(1) == kind[100:]).mean() < 0.95


def test_no_examples_have_no_features():
    reference = images()
    for name in ("pixels", "pca", "encoder"):
        assert len(fit_encoder(name, reference)(reference.x[:0])) == 0
