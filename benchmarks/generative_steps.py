"""Training steps of privbench's GANs against bare torch loops: same architecture, batches and thread, one process.

    OMP_NUM_THREADS=1 python benchmarks/generative_steps.py [CASE ...]

privbench's side is its training loop: drawing and gathering batches, steps, averaging weights, looking for divergence,
progress. The bare loops are in `bare_gans.py`, written from the papers with torch's own layers, spectral norm and
optimisers. `bare+` has besides what privbench has for speed: fused Adam and, for tac-gan and wgan-gp, its nets with
their own spectral norm, layout of maps and small convolutions; so the rest is the price of the loop's generality.
It updates TAC-GAN's weights one by one, and lets torch pad CycleGAN's maps.

Rounds alternate, so that a busy machine slows all alike; nets are made before, times are CPU seconds of the process,
ratios are medians over rounds of bare / privbench, above 1 where privbench is faster. The bar is 0.9 against `bare`.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import bare_gans
import numpy as np
import torch

from privbench.api import Context, Examples
from privbench.builtin.generative import big_gan, cycle_gan, wgan_gp
from privbench.builtin.generative.cycle_gan import _play as play_cycle_gan
from privbench.builtin.generative.cycle_gan_options import CycleGanOptions
from privbench.builtin.generative.pixels import to_canvas
from privbench.builtin.generative.tac_gan import TacGanOptions
from privbench.builtin.generative.tac_gan import _fit as play_tac_gan
from privbench.builtin.generative.tac_gan_step import Gan, player
from privbench.builtin.generative.wgan_gp import Settings
from privbench.builtin.generative.wgan_gp import _fit as play_wgan_gp

if TYPE_CHECKING:
    from bare_gans import Step

Play: TypeAlias = Callable[[], object]
Options: TypeAlias = TacGanOptions | CycleGanOptions | Settings

BAR, CLASSES, MEMBERS = 0.9, 10, 649
COLOUR = (3, 32, 32)
DP_CRITIC = Settings(  # that defense's defaults
    sigma=1.5, clip=1.0, code=64, gp_weight=10.0, n_critic=2, steps=10, width=32, batch=64, lr=5e-3, latent=32,
    average=0.95, shape=(1, 8, 8), classes=CLASSES, side=8,
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A GAN by its options, with the steps of a round, and images of random pixels, as many as digits' members."""

    options: Options
    rounds: int = 9
    shape: tuple[int, int, int] = (1, 8, 8)


CASES = {
    "tac-gan": Case(TacGanOptions(gan_steps=30)),
    "tac-gan-32": Case(TacGanOptions(gan_steps=3, gan_width=4), 7, COLOUR),
    "cycle-gan": Case(CycleGanOptions(cycle_steps=40)),
    "cycle-gan-32": Case(CycleGanOptions(cycle_steps=4, cycle_width=8, cycle_batch=16), 7, COLOUR),
    "wgan-gp": Case(DP_CRITIC),
    "wgan-gp-32": Case(replace(DP_CRITIC, steps=4, width=16, batch=32, shape=COLOUR, side=32), 7, COLOUR),
}


def repeated(step: Step, times: int) -> Play:
    def play() -> None:
        for _ in range(times):
            step()

    return play


def prepared(case: Case, way: str) -> Play:
    """Return a training with nets of its own, which goes on whenever it is called."""
    options, (channels, side, _), ours, tuned = case.options, case.shape, way == "privbench", way == "bare+"
    rng, ctx = np.random.default_rng(0), Context()
    x = rng.integers(0, 256, (MEMBERS, side, side, channels), dtype=np.uint8)
    y = rng.integers(0, CLASSES, MEMBERS)
    images, labels = to_canvas(x, side), torch.from_numpy(y)
    torch.manual_seed(0)
    if isinstance(options, TacGanOptions):
        if not ours:
            return repeated(bare_gans.tac_gan(images, labels, CLASSES, options, tuned=tuned), options.gan_steps)
        nets = big_gan.networks(side, channels, CLASSES, width=options.gan_width, latent=options.latent)
        generator, discriminator = (player(net, options.gan_lr) for net in nets)
        gan = Gan(generator, discriminator, generator.weights.detach().clone())
        return lambda: play_tac_gan(gan, images, labels, ctx, options)
    if isinstance(options, CycleGanOptions):
        half = MEMBERS // 2
        if not ours:
            step = bare_gans.cycle_game(images[:half], images[half:], options, tuned=tuned)
            return repeated(step, options.cycle_steps)
        game = cycle_gan.new_game(channels, side, options, images.device)
        safe, risky = Examples(x[:half], y[:half]), Examples(x[half:], y[half:])
        return lambda: play_cycle_gan(game, safe, risky, side, ctx, options=options)
    one_hot = wgan_gp.one_hot(labels, CLASSES)
    if not ours:
        return repeated(bare_gans.dp_critic(images, one_hot, options, tuned=tuned), options.steps)
    critic_game = wgan_gp.gan_of(*wgan_gp.networks(options), options.lr)
    return lambda: play_wgan_gp(critic_game, images, one_hot, options, ctx)


def seconds(play: Play) -> float:
    start = time.process_time()
    play()
    return time.process_time() - start


def measure(name: str, case: Case) -> float:
    ways = {way: prepared(case, way) for way in ("privbench", "bare", "bare+")}
    for play in ways.values():
        play()
    times: dict[str, list[float]] = {way: [] for way in ways}
    for round_ in range(case.rounds):
        for way in list(ways) if round_ % 2 else list(ways)[::-1]:
            times[way].append(seconds(ways[way]))
    ratio = {
        way: statistics.median(b / t for b, t in zip(times[way], times["privbench"], strict=True))
        for way in ("bare", "bare+")
    }
    options = case.options
    steps = {TacGanOptions: "gan_steps", CycleGanOptions: "cycle_steps", Settings: "steps"}[type(options)]
    step = 1000 * statistics.median(times["privbench"]) / getattr(options, steps)
    verdict = "ok" if ratio["bare"] >= BAR else "BELOW THE BAR"
    print(f"{name:20} {step:10.2f} ms/step   vs bare {ratio['bare']:.2f}   vs bare+ {ratio['bare+']:.2f}   {verdict}")
    sys.stdout.flush()
    return ratio["bare"]


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(min([measure(name, CASES[name]) for name in sys.argv[1:] or CASES]) < BAR)
