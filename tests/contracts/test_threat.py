from __future__ import annotations

import dataclasses

import pytest

from privbench.api import Needs
from privbench.contracts.threat import threat_model


@pytest.mark.parametrize(
    ("needs", "words"),
    [
        (Needs(), "logits"),
        (Needs(answers="labels", queries=18), "labels only, 18 queries each"),
        (Needs(queries=2, shadows="adaptive"), "logits, 2 queries each, adaptive shadows"),
        (
            Needs(queries="task", shadows="undefended"),
            "logits, 1 query each, or 2 where training mirrors images, undefended shadows",
        ),
        (
            Needs(examples=True, reference=True, query=True, model=True, synthetic=True),
            "logits, the examples themselves, reference examples, chosen queries, white box, synthetic data",
        ),
    ],
)
def test_threat_models_in_words(needs, words):
    assert threat_model(needs) == words


def test_shadows_on_released_examples_are_no_word_of_a_kind():
    assert threat_model(Needs(shadows="released")) == "logits, shadows trained on the target's synthetic examples"


def test_every_field_of_a_threat_model_shows():
    changed = {"answers": "labels", "queries": 2, "shadows": "adaptive", "inputs": "transformed"}
    for field in dataclasses.fields(Needs):
        other = Needs(**{field.name: changed.get(field.name, True)})
        assert threat_model(other) != threat_model(Needs()), field.name
