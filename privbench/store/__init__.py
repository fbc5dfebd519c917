"""The store: content-addressed artifacts whose keys cover all that shaped them, written at once or not at all."""

from privbench.store.artifact import Artifact
from privbench.store.fingerprint import component_key, source_hash
from privbench.store.store import Store, artifact_key

__all__ = ["Artifact", "Store", "artifact_key", "component_key", "source_hash"]
