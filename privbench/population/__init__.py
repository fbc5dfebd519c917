"""Populations: M releases of one (task, defense), and the evidence for attacks on them."""

from privbench.population.ce import CrossEntropy
from privbench.population.claims import Claim, weakest
from privbench.population.composition import chain
from privbench.population.evidence import evidence_of
from privbench.population.fixed import fixed
from privbench.population.membership import members, partner
from privbench.population.population import Population
from privbench.population.queries import queries_for, variants
from privbench.population.traits import publishes, relative_cost

__all__ = [
    "Claim",
    "CrossEntropy",
    "Population",
    "chain",
    "evidence_of",
    "fixed",
    "members",
    "partner",
    "publishes",
    "queries_for",
    "relative_cost",
    "variants",
    "weakest",
]
