"""The largest of many numbers are those that torch finds."""

import pytest
import torch

from core.nn import largest


@pytest.mark.parametrize("vocab", [3, 64, 191, 192, 640, 641, 1009])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("shape", [(5,), (2, 3)])
def test_equal_to_topk(shape: tuple[int, ...], count: int, vocab: int) -> None:
    torch.manual_seed(vocab)
    scores = torch.randn(*shape, vocab)
    values, places = largest(scores, count)
    expected = scores.topk(count)
    assert torch.equal(values, expected.values)
    assert torch.equal(places, expected.indices)


def test_one_block_may_hold_them_all_and_so_may_the_rest() -> None:
    scores = torch.zeros(2, 1009)
    scores[0, 130:138] = torch.arange(1.0, 9.0)
    scores[1, 1001:] = torch.arange(1.0, 9.0)
    _, places = largest(scores, 8)
    assert places.tolist() == [list(range(137, 129, -1)), list(range(1008, 1000, -1))]


def test_the_first_of_equals() -> None:
    scores = torch.zeros(3, 1009)
    scores[1, [70, 71, 500]] = 1
    scores[2, 1000:] = 1
    assert largest(scores, 1)[1].squeeze(1).tolist() == [0, 70, 1000]
