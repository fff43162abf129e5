"""Positions as M2M100 has them, whatever the length and wherever the pads."""

import pytest
import torch
from transformers.models.m2m_100.modeling_m2m_100 import M2M100SinusoidalPositionalEmbedding

from core.nn.positions import SinusoidalPositions

PAD = 1


@pytest.mark.parametrize("d_model", [8, 26, 27])
@pytest.mark.parametrize("start", [0, 5])
def test_equal_to_m2m100(d_model: int, start: int) -> None:
    ids = torch.tensor([[4, 5, 6, 7, 8], [9, 4, 4, PAD, PAD], [PAD, PAD, 5, PAD, 6]])
    theirs = M2M100SinusoidalPositionalEmbedding(31, d_model, PAD)
    expected = theirs(input_ids=ids, past_key_values_length=start)
    # The same formula in the same precision; cosines of the last position may round differently.
    torch.testing.assert_close(
        SinusoidalPositions(d_model, PAD)(ids, start), expected, rtol=0, atol=1e-6
    )


def test_pads_get_zeros_and_are_not_counted() -> None:
    positions = SinusoidalPositions(14, PAD)
    padded = positions(torch.tensor([[PAD, 4, PAD, 5]]))[0]
    plain = positions(torch.tensor([[4, 5]]))[0]
    assert torch.equal(padded[[0, 2]], torch.zeros(2, 14))
    assert torch.equal(padded[[1, 3]], plain)


def test_start_goes_on_where_the_sequence_stopped() -> None:
    positions = SinusoidalPositions(14, PAD)
    ids = torch.randint(4, 31, (3, 11))
    together = positions(ids)
    assert torch.equal(positions(ids[:, 7:], start=7), together[:, 7:])


def test_table_grows_for_long_sequences_and_is_no_weight() -> None:
    positions = SinusoidalPositions(14, PAD)
    short = positions(torch.full((1, 13), 4))
    long = positions(torch.full((1, 1009), 4))
    assert long.shape == (1, 1009, 14)
    assert torch.equal(long[:, :13], short)
    assert not positions.state_dict()


def test_a_table_grown_in_inference_serves_training() -> None:
    positions = SinusoidalPositions(14, PAD)
    ids = torch.full((1, 1009), 4)
    with torch.inference_mode():
        positions(ids)
    weight = torch.ones(14, requires_grad=True)
    (positions(ids) * weight).sum().backward()
    assert weight.grad is not None
