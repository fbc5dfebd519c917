"""Records of scores that were made up."""

import pytest

from privbench.records.files import scores_sha256
from privbench.records.parts import Component, Data
from privbench.records.record import Record
from privbench.stats import metrics


@pytest.fixture(scope="session")
def component():
    """The entry of a component."""

    def made(spec):
        return Component(spec=spec, name=spec.partition(":")[0], plugin="privbench", source="s")

    return made


@pytest.fixture(scope="session")
def scored(component):
    """The record of an attack, from its scores and the memberships."""

    def made(attack, scores, member, **changes):
        counts = {"pool": member.shape[1], "reference": 1, "validation": 1, "test": 1, "duplicates": 0}
        return Record(
            task=component("digits"),
            data=Data(name="digits", fingerprint="f", classes=2, **counts),
            defense=component("ce"),
            attack=component(attack),
            threat_model="logits",
            **dict(zip(("models", "targets", "shadows"), (4, 2, 2), strict=True)),
            seed=0,
            device="cpu",
            status="ok",
            metrics=metrics.evaluate(scores, member, scores > 0, seed=0, resamples=20),
            scores_sha256=scores_sha256(scores, member),
            **changes,
        )

    return made
