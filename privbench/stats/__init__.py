"""Statistics: intervals, ROC and metrics, signals of logits, nearest neighbours, bounds of epsilon.

Its modules are public: `from privbench.stats import intervals, metrics, signals`.
"""
