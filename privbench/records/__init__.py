"""Records of results as versioned JSON, and leaderboards of records."""

from privbench.records.audit_record import AuditRecord
from privbench.records.files import save, scores_sha256
from privbench.records.leaderboard import cells, frame, reconstructions
from privbench.records.record import Record, load

__all__ = ["AuditRecord", "Record", "cells", "frame", "load", "reconstructions", "save", "scores_sha256"]
