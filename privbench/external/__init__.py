"""Audit what was made elsewhere: a model by its answers, a synthetic set by its examples. Nothing is trained."""

from __future__ import annotations

from privbench.external.dataset import AuditedDataset, audit_dataset
from privbench.external.predictions import audit_predictions
from privbench.external.result import Audited

__all__ = ["Audited", "AuditedDataset", "audit_dataset", "audit_predictions"]
