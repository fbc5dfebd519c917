import logging

import numpy as np

from privbench.contracts.context import Context
from privbench.data.dataset import Examples
from privbench.population.keeper import KEPT, Keeper

EXAMPLES = Examples(np.zeros((4, 2), np.float32), np.zeros(4, np.int64))


def test_a_damaged_intermediate_result_is_made_again_and_told_in_a_line(store, caplog):
    made = []

    def make(ctx):
        made.append(ctx.seed)
        return {"drawn": ctx.rng("x").random(3)}

    ctx = Context(seed=3, keep=Keeper(store, {"name": "toy"}))
    first = ctx.kept("own", EXAMPLES, {"a": 1}, make)["drawn"]
    for name in ("arrays.safetensors", "timing.json", "manifest.json"):
        (artifact,) = store.artifacts(KEPT)
        (artifact.path / name).write_bytes(b"x")
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            np.testing.assert_array_equal(ctx.kept("own", EXAMPLES, {"a": 1}, make)["drawn"], first)
        (line,) = caplog.messages
        assert line.startswith(f"Stored kept {artifact.key[:16]}: ")
        assert line.endswith("It is moved to quarantine, and made again.")
    assert (len(made), len(set(made))) == (4, 1)
    assert {fault for _, fault in store.verify()} == {""}
