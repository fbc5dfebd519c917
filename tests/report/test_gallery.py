from __future__ import annotations

import numpy as np
import pytest

from privbench.errors import UsageError
from privbench.records.files import images_sha256, save
from privbench.records.parts import Component, Data
from privbench.records.record import Record
from privbench.report import gallery
from privbench.stats.intervals import Estimate
from privbench.stats.likeness import Likeness, Reconstruction

RED, GREEN, BLUE, GREY, WHITE = (1, 0, 0), (0, 1, 0), (0, 0, 1), (0.5, 0.5, 0.5), (0.9, 0.9, 0.9)


def half(value=0.5):
    return Estimate(value=value, low=0.0, high=1.0, n=4)


def record(defense, attack="inversion", **changes):
    def component(spec):
        return Component(spec=spec, name=spec.partition(":")[0], plugin="privbench", source="s")

    likeness = Likeness(**dict.fromkeys(Likeness.model_fields, half()))
    found = Reconstruction(
        attack=likeness,
        heldout=likeness,
        noise=likeness,
        untrained=likeness,
        evaluator="cnn",
        evaluator_accuracy=half(),
        detector="E",
        per_class_accuracy=[0.5, 0.5],
    )
    data = Data(name="digits", fingerprint="f", classes=2, pool=4, reference=1, validation=1, test=1, duplicates=0)
    parts = {"task": component("digits"), "data": data, "defense": component(defense), "attack": component(attack)}
    numbers = dict(zip(("models", "targets", "shadows"), (4, 2, 0), strict=True))
    about = {"threat_model": "", "seed": 0, "device": "cpu", "status": "ok", "family": "reconstruction"}
    return Record(**{**parts, **numbers, **about, "reconstruction": found, **changes})


def painted(colour, targets=2):
    """Images of two classes, the second half as bright."""
    images = np.zeros((targets, 2, 8, 8, 3), np.float32) + np.array(colour, np.float32)
    images[:, 1] /= 2
    return images


def arrays(colour):
    return {
        "images": painted(colour),
        "real": np.rint(painted(GREEN) * 255).astype(np.uint8),
        "nearest": np.rint(painted(BLUE) * 255).astype(np.uint8),
        "untrained": painted(GREY),
    }


def test_rows_are_real_images_the_undefended_model_and_the_defenses():
    found = gallery.rows([record("a"), record("ce")], [arrays(WHITE), arrays(RED)], [0, 1])
    remark = "recognised 50 %, ratio 0.500"
    titles = ["members, one of each class", f"ce: {remark}", "members nearest to the images of ce", f"a: {remark}"]
    assert [title for title, _ in found] == [*titles, f"untrained net: {remark}"]
    shades = [np.rint(255 * np.float32(colour)).astype(int).tolist() for colour in (GREEN, RED, BLUE, WHITE, GREY)]
    assert [images[0, 0, 0, 0].tolist() for _, images in found] == shades


def test_several_attacks_are_told_apart():
    found = gallery.rows([record("ce"), record("ce", "inversion:tv=1")], [arrays(RED), arrays(WHITE)], [0])
    assert [title.rpartition(": ")[0] for title, _ in found if "recognised" in title] == [
        "ce, inversion",
        "ce, inversion:tv=1",
        "untrained net",
    ]


def test_classes_are_drawn_in_the_order_in_which_they_were_asked_for():
    found = gallery.rows([record("ce")], [arrays(RED)], [1, 0])
    page = np.asarray(gallery.draw(found, across=1, side=gallery.LARGE, heading="digits"))
    step, top = gallery.LARGE + gallery.GAP, gallery.MARGIN + 2 * gallery.CAPTION
    for at, (colour, half_bright) in enumerate([((0, 255, 0), (0, 128, 0)), ((255, 0, 0), (128, 0, 0))]):
        above = top + at * (step + gallery.CAPTION + gallery.MARGIN)
        row = page[above : above + gallery.LARGE]
        first, second = ((row == shade).all(axis=2) for shade in (half_bright, colour))
        for mask in (first, second):
            assert mask.any(axis=0).sum() == gallery.LARGE
            assert mask.all(axis=0).sum() == gallery.LARGE
        assert first.any(axis=0).argmax() + step == second.any(axis=0).argmax()
    assert (page[:top] < 255).any()


@pytest.mark.parametrize("channels", [1, 3])
def test_every_image_is_drawn_enlarged_where_it_belongs(channels):
    array = np.arange(2 * 3 * channels, dtype=np.uint8).reshape(2, 3, 1, 1, channels) * 20
    page = np.asarray(gallery.draw([("members", array.repeat(8, 2).repeat(8, 3))]))
    step, top, left = 40 + gallery.GAP, gallery.MARGIN + gallery.CAPTION, gallery.MARGIN
    for label in range(2):
        for column in range(3):
            block = page[top + label * step : top + label * step + 40, left + column * step : left + column * step + 40]
            assert (block == array[label, column, 0, 0]).all()
    assert (page[: gallery.MARGIN] == 255).all()
    assert (page[gallery.MARGIN : top] < 255).any()  # the title


def test_blocks_wrap_and_differ_in_size():
    small, large = np.zeros((1, 1, 8, 8, 1), np.uint8), np.zeros((2, 4, 64, 64, 3), np.uint8)
    page = gallery.draw([("a", small), ("b", large), ("c", small)], across=2)
    width = 2 * gallery.MARGIN + gallery.MARGIN + 42 + 4 * 66
    assert page.size == (width, 2 * 66 + 42 + 2 * (gallery.MARGIN + gallery.CAPTION) + gallery.MARGIN)
    assert gallery.draw([("a", small)]).size[0] == 42 + 2 * gallery.MARGIN


def test_pictures_are_found_among_the_notes():
    titles = ["real after", "generated", "real before"]
    notes = {"levels": np.zeros(3), **{f"grid/{title}": np.zeros((1, 1, 8, 8, 1), np.uint8) for title in titles}}
    assert list(gallery.grids(notes)) == ["generated", "real before", "real after"]


def test_a_title_that_is_wider_than_its_images_is_not_cut():
    page = np.asarray(gallery.draw([("a title of more than forty pixels", np.zeros((1, 1, 8, 8, 1), np.uint8))]))
    assert (page[gallery.MARGIN : gallery.MARGIN + gallery.CAPTION, -2 * gallery.MARGIN :] < 255).any()
    assert (page[:, -gallery.MARGIN + 2 :] == 255).all()


def test_the_target_is_one_that_was_attacked():
    with pytest.raises(UsageError, match="--target 2: the records have targets 0 to 1"):
        gallery.rows([record("ce")], [arrays(RED)], [0], 2)


def test_settings_are_not_mixed():
    with pytest.raises(UsageError, match="several settings"):
        gallery.rows([record("ce"), record("ce", models=8)], [arrays(RED)] * 2, [0])
    ce = record("ce")
    other = record("a", data=ce.data.model_copy(update={"fingerprint": "g"}))
    with pytest.raises(UsageError, match=r"several settings: digits \(data f, .*; digits \(data g, "):
        gallery.rows([ce, other], [arrays(RED)] * 2, [0])


def test_images_are_those_of_the_record(tmp_path):
    raw = arrays(RED)
    one = record("ce", scores_sha256=images_sha256(raw["images"]))
    path = save(one, tmp_path, raw)
    (found,) = gallery.load([one], [path])
    assert sorted(found) == ["images", "nearest", "real", "untrained"]
    with pytest.raises(UsageError, match="does not hold the images"):
        gallery.load([record("ce", scores_sha256="other")], [path])
    path.with_suffix(".scores.npz").unlink()
    with pytest.raises(UsageError, match="are missing"):
        gallery.load([one], [path])
