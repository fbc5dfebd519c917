"""Columns of leaderboards: headings, units, and the selection of columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from privbench.errors import UsageError, did_you_mean
from privbench.records import leaderboard

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

LEFT = ("defense", "attack", "canary-attack", "threat-model", "kind", "task", "setting", "compared", "lacks", "note")
"""Columns of text, left-aligned; numbers are right-aligned."""
HEADINGS = {
    "rank": "#",
    "defense": "defense",
    "attack": "attack",
    "tpr@1%": "TPR % at\n1 % FPR",
    "tpr@0.1%": "TPR % at\n0.1 % FPR",
    "auc": "AUC",
    "canary-tpr@1%": "canaries' TPR\n% at 1 % FPR",
    "canary-attack": "canaries'\nattack",
    "balanced-accuracy": "balanced\nacc. %",
    "oracle-balanced-accuracy": "oracle\nbal. acc. %",
    "test-accuracy": "test\nacc. %",
    "train-accuracy": "train\nacc. %",
    "epsilon": "epsilon\n(delta)",
    "cost": "cost of\na model",
    "threat-model": "attacker sees",
}
"""Columns for readers, in this order, if the table has them; a terminal breaks headings at the newline."""
ONLY_WHERE_ANY = ("canary-tpr@1%", "canary-attack", "epsilon")
"""Columns that are left out if they are empty in all rows."""

RECONSTRUCTED = {
    "defense": "defense",
    "attack": "attack",
    "accuracy": "recognised\nby E %",
    "confidence": "target's\nconfid. %",
    "detected": "detected\n%",
    "distance-ratio": "distance\nratio",
    "feature-distance": "feature\ndistance",
    "psnr-mean": "PSNR dB to\nclass mean",
    "psnr-member": "PSNR dB to\nmember",
    "psnr-nonmember": "PSNR dB to\nnon-member",
    "ssim-mean": "SSIM to\nclass mean",
    "ssim-member": "SSIM to\nmember",
    "ssim-nonmember": "SSIM to\nnon-member",
    "test-accuracy": "test\nacc. %",
    "threat-model": "attacker sees",
}
"""The same for the table of reconstructions."""
DISPENSABLE = (
    "ssim-nonmember",
    "ssim-mean",
    "psnr-nonmember",
    "test-accuracy",
    "ssim-member",
    "detected",
    "psnr-mean",
    "confidence",
    "psnr-member",
    "feature-distance",
)
"""Columns of that table in the order in which they are left out if the terminal is too narrow."""
WORSE = (
    "worse for privacy: higher shares, PSNR and SSIM, lower feature distance, and a distance ratio (to the nearest "
    "member / to the nearest non-member) below 1"
)
DIGITS = {"auc": (1, 3), "distance-ratio": (1, 3), "feature-distance": (1, 2)}
"""Factor and number of decimals of columns other than percentages with one decimal."""
DIGITS |= {f"psnr-{to}": (1, 1) for to in ("mean", "member", "nonmember")}
DIGITS |= {f"ssim-{to}": (1, 2) for to in ("mean", "member", "nonmember")}

BEHIND = {"cost": ["seconds-per-model", "relative-to-ce"], "epsilon": ["epsilon", "delta"]}
"""Columns of plain numbers behind a column for readers."""

RANKED_ONLY = ("rank", "train-accuracy", "test-accuracy", "cost", "canary-attack", "epsilon")
CELLS_ONLY = ("oracle-balanced-accuracy",)


def headings(table: pd.DataFrame, columns: Sequence[str] = ()) -> dict[str, str]:
    """Return the headings of the columns for this kind of table, or of the chosen columns."""
    shown = dict(RECONSTRUCTED)
    if "kind" not in table:
        ranked = "rank" in table
        left_out = CELLS_ONLY if ranked else RANKED_ONLY
        left_out = (*left_out, *(name for name in ONLY_WHERE_ANY if name not in table or table[name].isna().all()))
        shown = {name: heading for name, heading in HEADINGS.items() if name not in left_out}
        shown |= {"attack": "strongest\nattack"} if ranked else {}
    if not columns:
        return shown
    known = {**(HEADINGS if "kind" not in table else {}), **shown}
    return {name: known.get(name, name) for name in columns if any(each in table for each in BEHIND.get(name, [name]))}


def check(columns: Sequence[str]) -> None:
    """Raise UsageError for an unknown column."""
    plain_ones = (name for name in leaderboard.columns() if not name.endswith(("_low", "_high")))
    known = [*HEADINGS, *RECONSTRUCTED, *plain_ones, *leaderboard.RANKED_ONLY]
    for name in columns:
        if name not in known:
            listing = ", ".join(dict.fromkeys(known))
            raise UsageError(f"No column {name!r}.{did_you_mean(name, known)} Columns: {listing}.")


def plain(table: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """Return the columns of plain numbers behind the given ones, with those that distinguish tables."""
    wanted = ["task", "setting", *columns]
    names = [each for name in wanted for each in BEHIND.get(name, [name, f"{name}_low", f"{name}_high"])]
    return [name for name in dict.fromkeys(names) if name in table]
