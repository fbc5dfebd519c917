import pytest

from privbench.devices import processor
from privbench.plugins.loading import resolve
from privbench.records import provenance
from privbench.store.fingerprint import core, library_versions, source_hash
from privbench.store.syntax import Reference

pytest.importorskip("torch", reason="its version is part of the environment")


def test_the_environment_has_what_numbers_depend_on():
    found = provenance.environment()
    assert library_versions().items() <= found.items()
    assert found["processor"] == processor("cpu")
    assert "card" not in found
    assert "card" in provenance.environment("cuda")


def test_the_environment_tells_one_way_of_measuring_from_another():
    assert provenance.environment()["measured by"] == source_hash(*provenance.MEASURING)[:16]
    assert source_hash(*provenance.MEASURING) != source_hash(Reference("privbench.stats.metrics", "best_threshold"))


def test_code_that_makes_evidence_does_not_count_as_code_that_measures():
    modules = {each.module for each in core().reached(provenance.MEASURING)}
    assert "privbench.stats.metrics" in modules
    assert not [name for name in modules if name.startswith(("privbench.population", "privbench.learn"))]


def test_a_components_source_includes_that_of_those_that_its_options_name():
    transform = provenance.component("defense", resolve("defense", "transform"))
    sources = transform.source.split("+")
    assert len(sources) == 4  # the transform, its defense and its attack for valuing, and the training
    other = provenance.component("defense", resolve("defense", "transform:valuation=selena")).source.split("+")
    assert [one == another for one, another in zip(sources, other, strict=True)] == [True, False, True, True]
