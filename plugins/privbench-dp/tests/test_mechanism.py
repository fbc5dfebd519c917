"""The parts of the mechanism: what epsilon is a theorem about."""

import math

import pytest
import torch
from privbench_dp.mechanism import clipped_sum, draw_noise, poisson_sample
from torch import nn


def test_clipped_gradients_are_no_longer_than_the_bound_and_short_ones_stay():
    generator = torch.Generator().manual_seed(0)
    scales = torch.logspace(-3, 3, 30)[:, None]
    gradients = [scales * torch.randn(30, size, generator=generator) for size in (4, 9)]
    gradients[0][5] = gradients[1][5] = 0
    for row in range(30):
        one = [gradient[row : row + 1] for gradient in gradients]
        (first, second), norm = clipped_sum(one, 0.7)
        clipped = torch.cat([first, second])
        whole = torch.cat([one[0][0], one[1][0]])
        assert float(norm) == pytest.approx(float(whole.norm()))
        assert float(clipped.norm()) <= 0.7 * (1 + 1e-6)
        assert torch.allclose(clipped, whole * min(1.0, 0.7 / max(float(whole.norm()), 1e-12)), rtol=1e-4)


def test_a_sample_holds_each_example_with_its_probability_on_its_own():
    generator, n, rate, draws = torch.Generator().manual_seed(0), 50, 0.3, 2000
    counts, sizes = torch.zeros(n), []
    for _ in range(draws):
        rows = poisson_sample(n, rate, generator)
        assert len(rows.unique()) == len(rows)
        counts[rows] += 1
        sizes.append(float(len(rows)))
    deviation = math.sqrt(rate * (1 - rate) / draws)
    assert ((counts / draws - rate).abs() < 4.5 * deviation).all()
    assert torch.tensor(sizes).var() == pytest.approx(n * rate * (1 - rate), rel=0.15)  # binomial, not of a fixed size
    assert len(poisson_sample(n, 1.0, generator)) == n


def test_noise_has_its_deviation_and_is_fresh_in_every_step():
    net, generator = nn.Linear(200, 100), torch.Generator().manual_seed(0)
    first, second = (torch.cat(draw_noise(list(net.parameters()), 2.5, generator)) for _ in range(2))
    assert len(first) == 20_100
    assert float(first.std()) == pytest.approx(2.5, rel=0.03)
    assert abs(float(first.mean())) < 0.1
    assert abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1])) < 0.04
