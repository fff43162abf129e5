"""Encoder and decoder layers against torch's, with norms before and after."""

import pytest
import torch
from torch import Tensor, nn

from core.nn import DecoderLayer, EncoderLayer, FeedForward
from core.nn.attention_layers import SelfAttention
from core.nn.blocks import Blocks, mask_for
from core.nn.residual import NormPlace

B, S, T, D, H, F = 3, 7, 5, 6, 2, 11


def pairs(ours: nn.Module, theirs: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Parameters of our layer beside torch's of the same meaning."""
    names = {
        "self_attention.query_key_value.weight": "self_attn.in_proj_weight",
        "self_attention.query_key_value.bias": "self_attn.in_proj_bias",
    }
    is_decoder = isinstance(ours, DecoderLayer)
    modules = {
        "self_attention.out": "self_attn.out_proj",
        "self_residual.norm": "norm1",
        "feed_forward.expand": "linear1",
        "feed_forward.contract": "linear2",
        "feed_residual.norm": "norm3" if is_decoder else "norm2",
    }
    if is_decoder:
        modules |= {
            "cross_attention.out": "multihead_attn.out_proj",
            "cross_residual.norm": "norm2",
        }
    for own, other in modules.items():
        names |= {f"{own}.{kind}": f"{other}.{kind}" for kind in ("weight", "bias")}
    mine, torchs = dict(ours.named_parameters()), dict(theirs.named_parameters())
    found = [(mine[own], torchs[other]) for own, other in names.items()]
    if is_decoder:
        for kind in ("weight", "bias"):
            packed = torchs[f"multihead_attn.in_proj_{kind}"]
            found += [(mine[f"cross_attention.query.{kind}"], packed[:D])]
            found += [(mine[f"cross_attention.key_value.{kind}"], packed[D:])]
    return found


def copy_weights(ours: nn.Module, theirs: nn.Module) -> None:
    """Random weights for ours, and the same for torch's."""
    with torch.no_grad():
        for own, other in pairs(ours, theirs):
            own.normal_()
            other.copy_(own)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_encoder_layer_equals_torch(norm: NormPlace) -> None:
    torch.manual_seed(29)
    ours = EncoderLayer(D, H, F, 0.0, norm)
    theirs = nn.TransformerEncoderLayer(D, H, F, 0.0, batch_first=True, norm_first=norm == "pre")
    copy_weights(ours, theirs)
    x = torch.randn(B, S, D)
    is_pad = torch.zeros(B, S, dtype=torch.bool)
    is_pad[1, 4:] = True
    expected = theirs(x, src_key_padding_mask=is_pad)
    found = ours(x, ~is_pad[:, None, None])
    # Sums of a few numbers about 1 in another order.
    torch.testing.assert_close(found[~is_pad], expected[~is_pad], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_decoder_layer_equals_torch(norm: NormPlace) -> None:
    torch.manual_seed(31)
    ours = DecoderLayer(D, H, F, 0.0, norm)
    theirs = nn.TransformerDecoderLayer(D, H, F, 0.0, batch_first=True, norm_first=norm == "pre")
    copy_weights(ours, theirs)
    x, memory = torch.randn(B, T, D), torch.randn(B, S, D)
    is_pad = torch.zeros(B, S, dtype=torch.bool)
    is_pad[2, 1:] = True
    expected = theirs(
        x,
        memory,
        tgt_mask=~torch.ones(T, T, dtype=torch.bool).tril(),
        memory_key_padding_mask=is_pad,
    )
    ids, others = torch.zeros(B, T), torch.zeros(B, S)
    crossed = Blocks.of([ids], [others], [mask_for(~is_pad[:, None, None])])
    found = ours(x.flatten(0, 1), memory.flatten(0, 1), Blocks.causal([ids]), crossed)
    torch.testing.assert_close(found.view(B, T, D), expected, rtol=1e-4, atol=1e-4)


def test_feed_forward_is_two_products_and_a_relu() -> None:
    layer = FeedForward(D, F)
    x = torch.randn(B, S, D, requires_grad=True)
    hidden = (x @ layer.expand.weight.T + layer.expand.bias).clamp(min=0)
    expected = hidden @ layer.contract.weight.T + layer.contract.bias
    found = layer(x)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad(found.sum(), x), torch.autograd.grad(expected.sum(), x)
    )


def test_fused_projections_start_as_if_apart() -> None:
    torch.manual_seed(37)
    d_model = 64
    layer = SelfAttention(d_model, 4, 0.0)
    bound = (6 / (2 * d_model)) ** 0.5
    for weight in layer.query_key_value.weight.chunk(3):
        assert weight.abs().max() <= bound
        # The deviation of a uniform distribution; 4,096 draws find it within a few per cent.
        assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
    assert not layer.query_key_value.bias.any()
