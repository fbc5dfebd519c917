"""Content-addressed store of artifacts; a key covers everything that shaped the artifact, and writes are atomic."""

from privbench.store.artifact import Artifact
from privbench.store.fingerprint import component_key, source_hash
from privbench.store.store import Store, artifact_key

__all__ = ["Artifact", "Store", "artifact_key", "component_key", "source_hash"]
