import pytest

from privbench.devices import processor
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
