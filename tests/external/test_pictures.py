import numpy as np

from privbench.external.pictures import pairs


def _side(n, kind=np.uint8):
    x = np.random.default_rng(n).integers(0, 256, (n, 8, 8, 1), dtype=np.uint8)
    images = x if kind is np.uint8 else (x / 255).astype(kind)
    return images, images, np.linspace(0, 1, n)


def test_thirty_two_pairs_at_most_eight_across():
    full, more, few = (pairs({"real": _side(n), "held out": _side(n)}) for n in (32, 50, 3))
    assert full.size == more.size
    assert few.width < full.width / 2
    assert few.height < full.height / 3


def test_floats_look_as_bytes_do():
    assert pairs({"real": _side(9)}).tobytes() == pairs({"real": _side(9, np.float32)}).tobytes()


def test_real_images_stand_above_synthetic_ones():
    black, white = np.zeros((1, 4, 4, 3), np.uint8), np.full((1, 4, 4, 3), 255, np.uint8)
    page = np.asarray(pairs({"real": (black, white, np.zeros(1))}))
    rows = np.flatnonzero((page == 0).all(axis=-1).sum(axis=1) > 30)
    assert rows[-1] < page.shape[0] - 40  # below the dark tile there is a light one
