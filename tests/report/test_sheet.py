from __future__ import annotations

import numpy as np
import pytest

from privbench.report import sheet


@pytest.mark.parametrize("channels", [1, 3])
def test_every_image_is_drawn_enlarged_where_it_belongs(channels):
    array = np.arange(2 * 3 * channels, dtype=np.uint8).reshape(2, 3, 1, 1, channels) * 20
    page = np.asarray(sheet.draw({"members": array.repeat(8, 2).repeat(8, 3)}))
    step, top, left = 40 + sheet.GAP, sheet.MARGIN + sheet.CAPTION, sheet.MARGIN
    for label in range(2):
        for column in range(3):
            block = page[top + label * step : top + label * step + 40, left + column * step : left + column * step + 40]
            assert (block == array[label, column, 0, 0]).all()
    assert (page[: sheet.MARGIN] == 255).all()
    assert (page[sheet.MARGIN : top] < 255).any()  # the title


def test_blocks_wrap_and_differ_in_size():
    small, large = np.zeros((1, 1, 8, 8, 1), np.uint8), np.zeros((2, 4, 64, 64, 3), np.uint8)
    page = sheet.draw({"a": small, "b": large, "c": small}, across=2)
    width = 2 * sheet.MARGIN + sheet.MARGIN + 42 + 4 * 66
    assert page.size == (width, 2 * 66 + 42 + 2 * (sheet.MARGIN + sheet.CAPTION) + sheet.MARGIN)
    assert sheet.draw({"a": small}).size[0] == 42 + 2 * sheet.MARGIN


def test_pictures_are_found_among_the_notes():
    titles = ["real after", "generated", "real before"]
    notes = {"levels": np.zeros(3), **{f"grid/{title}": np.zeros((1, 1, 8, 8, 1), np.uint8) for title in titles}}
    assert list(sheet.grids(notes)) == ["generated", "real before", "real after"]
