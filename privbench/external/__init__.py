"""Audits of existing models by their predictions, and of synthetic data sets by their examples, without training."""

from __future__ import annotations

from privbench.external.dataset import AuditedDataset, audit_dataset
from privbench.external.predictions import audit_predictions
from privbench.external.result import Audited

__all__ = ["Audited", "AuditedDataset", "audit_dataset", "audit_predictions"]
