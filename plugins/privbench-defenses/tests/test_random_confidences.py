import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from privbench_defenses.random_confidences import RandomConfidences, in_order_of, strictly_falling
from torch import nn
from torch.nn import functional

from privbench.learn import predict

CLASSES = 5
ties = hnp.arrays(np.float32, (3, CLASSES), elements=st.sampled_from([-3.5, -1.0, 0.0, 1.0, 7.25]))


def network(shape, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), 16), nn.ReLU(), nn.Linear(16, CLASSES)).eval()


def filtered(shape, x, key=3):
    made = RandomConfidences(network(shape), shape)
    made.choose(torch.tensor(key), x)
    return made.eval()


@given(ties, ties)
def test_order_is_that_of_the_logits_whatever_ties_there_are(logits, values):
    got = in_order_of(torch.from_numpy(logits), torch.from_numpy(values)).numpy()
    np.testing.assert_array_equal(np.argsort(-got, axis=1), np.argsort(-logits, axis=1, kind="stable"))
    assert (got.argmax(axis=1) == logits.argmax(axis=1)).all()
    assert all(len(np.unique(row)) == CLASSES for row in got)
    np.testing.assert_allclose(np.sort(got), np.sort(values), rtol=1e-6, atol=1e-44)


def test_falling_values_change_only_where_they_are_equal():
    distinct = torch.tensor([[3.0, 1e-45, 0.0, -1e-45, -2.0]])
    assert torch.equal(strictly_falling(distinct), distinct)
    zero = torch.zeros(())
    down = torch.nextafter(zero, torch.tensor(-1.0))
    equal = strictly_falling(torch.tensor([[0.0, -0.0, 0.0, -5.0]]))
    assert equal.tolist() == [[0.0, down.item(), 2 * down.item(), -5.0]]
    crossing = strictly_falling(torch.tensor([[1e-45, 1e-45, 1e-45]]))
    assert crossing.tolist() == [[-down.item(), 0.0, down.item()]]


def test_answers_are_the_confidences_of_the_random_input_in_the_querys_order():
    shape, x = (2, 4, 4), np.random.default_rng(0).integers(0, 256, (40, 4, 4, 2), dtype=np.uint8)
    model = filtered(shape, x)
    answers, logits = predict(model, x, device="cpu"), predict(model.model, x, device="cpu")
    np.testing.assert_array_equal(np.argsort(-answers), np.argsort(-logits))
    batch = torch.from_numpy(x).permute(0, 3, 1, 2) / 255
    pixels = model.random_inputs(batch)
    assert pixels.shape == batch.shape
    levels = pixels * 255
    torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-4)
    assert pixels.min() == 0
    assert pixels.max() == 1
    with torch.no_grad():
        random = functional.softmax(model.model(pixels), dim=1).numpy()
    np.testing.assert_allclose(np.sort(np.exp(answers)), np.sort(random), rtol=1e-5)
    assert len({row.tobytes() for row in pixels.numpy()}) == len(x)


def test_the_same_answer_to_the_same_query_in_any_batch():
    shape, x = (1, 4, 4), np.random.default_rng(1).integers(0, 256, (64, 4, 4, 1), dtype=np.uint8)
    model = filtered(shape, x)
    together = predict(model, x, device="cpu")
    np.testing.assert_array_equal(predict(model, x, device="cpu"), together)
    order = np.random.default_rng(2).permutation(64)
    for batch in (1, 7, 64):
        np.testing.assert_allclose(predict(model, x[order], device="cpu", batch=batch), together[order], atol=1e-5)
    as_floats = x.astype(np.float32) / np.float32(255)
    np.testing.assert_allclose(predict(model, as_floats, device="cpu"), together, atol=1e-5)


def test_no_confidence_of_the_query_is_left():
    """A model ten times as sure of everything that is asked answers the same: only its answer to noise counts."""
    shape, x = (1, 4, 4), np.random.default_rng(3).integers(0, 256, (16, 4, 4, 1), dtype=np.uint8)
    model = filtered(shape, x)
    before = predict(model, x, device="cpu")
    calm = model.model

    class Sure(nn.Module):
        def forward(self, batch):
            asked = (batch[:, None] == torch.from_numpy(x).permute(0, 3, 1, 2)[None] / 255).flatten(2).all(-1).any(-1)
            return torch.where(asked[:, None], 10.0, 1.0) * calm(batch)

    model.model = Sure()
    np.testing.assert_allclose(predict(model, x, device="cpu"), before, atol=1e-5)


def test_random_rows_of_a_table_have_its_means_and_spreads():
    rng = np.random.default_rng(4)
    x = rng.normal([-5, 0, 100], [1, 0.1, 20], (4000, 3)).astype(np.float32)
    model = filtered((3,), x)
    rows = model.random_inputs(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(rows.mean(axis=0), x.mean(axis=0), atol=4 * x.std(axis=0).max() / np.sqrt(4000))
    np.testing.assert_allclose(rows.std(axis=0), x.std(axis=0), rtol=0.05)
    assert predict(model, x[:5], device="cpu").shape == (5, CLASSES)


def test_all_is_on_the_device_of_the_query():
    model = filtered((1, 4, 4), np.zeros((1, 4, 4, 1), np.uint8)).to("meta")
    assert model(torch.rand(3, 1, 4, 4, device="meta")).shape == (3, CLASSES)
