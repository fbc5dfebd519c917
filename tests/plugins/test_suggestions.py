from __future__ import annotations

import pytest

from privbench.plugins import suggestions

KNOWN = {"task": ["digits", "npz"], "defense": ["ce", "relaxloss"], "attack": ["lira"], "audit": ["epsilon"]}


@pytest.mark.parametrize(
    ("kind", "name", "hint"),
    [
        ("attack", "LiRA", " Did you mean 'lira'?"),
        ("attack", "lria", " Did you mean 'lira'?"),
        ("attack", "relaxloss", " 'relaxloss' is a defense: --defense relaxloss."),
        ("defense", "lira", " 'lira' is an attack: --attack lira."),
        ("defense", "ce,relaxloss", " To name several, repeat the option: --defense ce --defense relaxloss."),
        ("defense", "ce  ce:a=1", " To name several, repeat the option: --defense ce --defense ce:a=1."),
        ("defense", "None", " Did you mean 'ce', which trains without a defense?"),
        ("task", "blobs.npz", " A file goes by npz:path=blobs.npz."),
        ("task", "zzz", ""),
    ],
)
def test_names(kind, name, hint):
    assert suggestions.for_name(kind, name, KNOWN) == hint


@pytest.mark.parametrize(
    ("part", "options", "hint"),
    [
        ("32", "hidden=64,32", " Lists are written with slashes: hidden=64/32."),
        ("32", "epochs=1,hidden=64,32,16,lr=0.1", " Lists are written with slashes: hidden=64/32/16."),
        (" 32)", "hidden=(64, 32)", " Lists are written with slashes: hidden=64/32."),
        ("32]", "hidden=[64,32]", " Lists are written with slashes: hidden=64/32."),
        ("epochs:5", "epochs:5", " Did you mean 'epochs=5'?"),
        ("epochs 5", "epochs 5", " Did you mean 'epochs=5'?"),
        ("data.npz", "data.npz", " Did you mean 'npz:path=data.npz'?"),
        ("=", "epochs=1,=", ""),
    ],
)
def test_options(part, options, hint):
    assert suggestions.for_options("npz", part, options, ["path"]) == hint
