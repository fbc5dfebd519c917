"""Distributions of the cross-entropy loss, and distances between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from privbench.stats import intervals, signals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from privbench.aliases import Array
    from privbench.population import Population
    from privbench.stats.intervals import Estimate


FLOOR = 1e-8
"""Losses below it share the first bin of histograms."""
BINS = 60


def cross_entropy(logits: Array, labels: Array) -> Array:
    """Return the loss -log p_y of (n, classes) logits, (n,) float64."""
    return np.asarray(-signals.log_confidence(logits[:, None, :], labels)[:, 0])


def of_population(population: Population) -> dict[str, list[Array]]:
    """Return every model's losses on its members, its non-members, the test examples and its synthetic examples.

    The last are included if every release publishes some.
    """
    found: dict[str, list[Array]] = {"member": [], "nonmember": [], "test": [], "synthetic": []}
    for index in range(population.models):
        pool, test = (
            -population.answers(index, 1, role).signal(signals.log_confidence)[:, 0] for role in ("pool", "test")
        )
        member = population.members(index)
        found["member"].append(pool[member])
        found["nonmember"].append(pool[~member])
        found["test"].append(test)
        synthetic = population.synthetic(index)
        if synthetic is not None and len(synthetic):
            from privbench.learn import predict

            logits = predict(population.model(index), synthetic.x, device=population.device)
            found["synthetic"].append(cross_entropy(logits, synthetic.y))
    if len(found["synthetic"]) < population.models:
        del found["synthetic"]
    return found


def kolmogorov_smirnov(a: Array, b: Array) -> float:
    """Return the largest distance between two samples' distribution functions, 0 to 1."""
    from scipy.stats import ks_2samp

    return float(ks_2samp(a, b, method="asymp").statistic)


def wasserstein(a: Array, b: Array) -> float:
    """Return the Wasserstein-1 distance between two samples, in units of the loss (nats)."""
    from scipy.stats import wasserstein_distance

    return float(wasserstein_distance(a, b))


def distances(losses: dict[str, list[Array]]) -> dict[str, Estimate]:
    """Return KS and W1 between distributions of each model, averaged over models, with their intervals.

    losses: one array per model, under the names of `of_population`

    Non-members against test examples are the control: the model was trained on neither.
    """
    pairs = [("member", "nonmember"), ("member", "test"), ("nonmember", "test"), ("member", "synthetic")]
    found = {}
    for one, other in pairs:
        if one in losses and other in losses:
            models = list(zip(losses[one], losses[other], strict=True))
            fewest = min(len(sample) for both in models for sample in both)
            ks, w1 = (np.array([far(*both) for both in models]) for far in (kolmogorov_smirnov, wasserstein))
            found[f"ks_{one}_{other}"] = intervals.share(ks, of=fewest)
            found[f"w1_{one}_{other}"] = intervals.mean(w1, least=0.0)
    return found


def histograms(losses: dict[str, list[Array]]) -> dict[str, Array]:
    """Return counts over bins that are common to all distributions and uniform on a log axis, and their edges."""

    def joined(parts: Sequence[Array]) -> Array:
        return np.asarray(np.maximum(np.concatenate(list(parts)), FLOOR))

    top = max(float(joined(parts).max()) for parts in losses.values())
    edges = np.geomspace(FLOOR, max(top, 2 * FLOOR) * (1 + 1e-9), BINS + 1)
    edges[0] = FLOOR  # without geomspace's rounding
    counts = {f"loss_{name}": np.histogram(joined(parts), edges)[0] for name, parts in losses.items()}
    return {"loss_edges": np.asarray(edges), **counts}
