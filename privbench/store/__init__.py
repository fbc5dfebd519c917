"""Store of content-addressed artifacts: keys cover everything that determines them; writes are atomic."""

from privbench.store.artifact import Artifact
from privbench.store.fingerprint import component_key, source_hash
from privbench.store.store import Store, artifact_key

__all__ = ["Artifact", "Store", "artifact_key", "component_key", "source_hash"]
