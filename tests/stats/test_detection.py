"""The face detector finds a face, and only faces; without OpenCV there is none."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from privbench.stats.detection import face_detector


@pytest.fixture(scope="module")
def detect():
    pytest.importorskip("cv2")
    found = face_detector()
    if found is None:
        pytest.skip("this OpenCV has no cascades")
    return found


def test_noise_shades_and_squares_are_no_faces(detect):
    rng = np.random.default_rng(0)
    images = rng.random((6, 64, 64, 1), dtype=np.float32)
    images[2:4] = 0.5
    images[4, 16:48, 16:48] = 1
    found = detect(images)
    assert found.shape == (6,)
    assert found.dtype == bool
    assert not found.any()
    assert not detect(rng.random((2, 20, 30, 3), dtype=np.float32)).any()
    assert detect(images[:0]).shape == (0,)


def drawn_face(side):
    """Return a face of soft spots, (side, side, 1) float32: a bright oval, dark eyes below darker brows, a mouth."""
    y, x = np.mgrid[:side, :side] / side

    def spot(across, down, width, height):
        far = ((x - across) / width) ** 2 + ((y - down) / height) ** 2
        return 1 / (1 + np.exp(np.minimum(8 * (far - 1), 50)))

    face = (
        0.25 + 0.5 * spot(0.5, 0.52, 0.38, 0.48) + 0.1 * spot(0.5, 0.5, 0.05, 0.15) - 0.2 * spot(0.5, 0.62, 0.09, 0.03)
    )
    for eye in (0.35, 0.65):
        face -= 0.25 * spot(eye, 0.36, 0.13, 0.05) + 0.35 * spot(eye, 0.42, 0.09, 0.045)
    return (face - 0.3 * spot(0.5, 0.76, 0.17, 0.045)).clip(0, 1).astype(np.float32)[..., None]


@pytest.mark.parametrize("side", [24, 64, 100])
def test_what_is_drawn_as_a_face_is_one(detect, side):
    face = drawn_face(side)
    assert detect(face[None]).all()
    assert detect(np.repeat(face, 3, axis=-1)[None]).all()
    assert detect(0.4 + 0.2 * face[None]).all()  # of little contrast, as an inversion is
    assert not detect(np.random.default_rng(0).permutation(face.ravel()).reshape(1, side, side, 1)).any()


@pytest.mark.shared_data
def test_the_faces_of_a_data_set_are_found(detect):
    file = Path(os.environ.get("PRIVBENCH_TEST_DATA", "")) / "olivetti64.npz"
    if not file.is_file():
        pytest.skip("no olivetti64.npz")
    with np.load(file) as archive:
        faces = archive["x_test"][:40, ..., None] / np.float32(255)
    assert detect(faces).mean() > 0.9


@pytest.mark.parametrize("cv2", [None, SimpleNamespace(), SimpleNamespace(data=SimpleNamespace(haarcascades="gone"))])
def test_without_a_cascade_there_is_no_detector(monkeypatch, cv2):
    monkeypatch.setitem(sys.modules, "cv2", cv2)  # not installed; as OpenCV 5; without its files
    assert face_detector() is None
