"""Contracts between the harness and its components; plugins import them from `privbench.api`."""
