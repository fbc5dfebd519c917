"""Statistics: intervals, ROC and metrics, signals of logits, nearest neighbours, bounds of epsilon.

The modules are public: `from privbench.stats import intervals, metrics, signals`.
"""
