from __future__ import annotations

import numpy as np
import pytest

from privbench.errors import UsageError
from privbench.records.files import images_sha256, save
from privbench.records.parts import Component, Data
from privbench.records.record import Record
from privbench.report import gallery
from privbench.report.sheet import MARGIN
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
    found = gallery.rows([record("a"), record("ce")], [arrays(WHITE), arrays(RED)])
    assert [row.title for row in found] == ["members", "ce", "nearest member", "a", "untrained net"]
    assert found[1].remark == "recognised 50 %, ratio 0.500"
    assert [tuple(row.images[0, 0, 0].round(2)) for row in found] == [GREEN, RED, BLUE, tuple(np.float32(WHITE)), GREY]


def test_several_attacks_are_told_apart():
    found = gallery.rows([record("ce"), record("ce", "inversion:tv=1")], [arrays(RED), arrays(WHITE)])
    assert [row.title for row in found] == [
        "members",
        "ce, inversion",
        "nearest member",
        "ce, inversion:tv=1",
        "untrained net",
    ]


def test_images_are_drawn_where_they_belong_and_as_large_as_they_were_asked_for():
    found = gallery.rows([record("ce")], [arrays(RED)])
    page = np.asarray(gallery.draw(found, [1, 0], "digits"))
    step = gallery.SIDE + gallery.GAP
    top = MARGIN + 2 * gallery.LINE
    for at, (colour, half_bright) in enumerate([((0, 255, 0), (0, 128, 0)), ((255, 0, 0), (128, 0, 0))]):
        row = page[top + at * step : top + at * step + gallery.SIDE]
        first, second = ((row == shade).all(axis=2) for shade in (half_bright, colour))
        for mask in (first, second):
            assert mask.any(axis=0).sum() == gallery.SIDE
            assert mask.all(axis=0).sum() == gallery.SIDE
        assert first.any(axis=0).argmax() + step == second.any(axis=0).argmax()
    assert (page[:top] < 255).any()


def test_the_target_is_one_that_was_attacked():
    with pytest.raises(UsageError, match="--target 2: the records have targets 0 to 1"):
        gallery.rows([record("ce")], [arrays(RED)], 2)


def test_settings_are_not_mixed():
    with pytest.raises(UsageError, match="several settings"):
        gallery.rows([record("ce"), record("ce", models=8)], [arrays(RED)] * 2)
    ce = record("ce")
    other = record("a", data=ce.data.model_copy(update={"fingerprint": "g"}))
    with pytest.raises(UsageError, match=r"several settings: digits \(data f, .*; digits \(data g, "):
        gallery.rows([ce, other], [arrays(RED)] * 2)


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
