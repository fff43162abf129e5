"""The backbones: how many weights, what an output may depend on, and pieces that equal a whole."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from core.amplifier import backbones
from core.amplifier.backbones import Transformer, build_backbone
from core.amplifier.effort import count_weights
from core.amplifier.settings import ModelSettings

B, T = 3, 23
SETTINGS: dict[str, dict[str, Any]] = {
    "gru": {"hidden_size": 11},
    "deep gru": {"backbone": "gru", "hidden_size": 7, "num_layers": 2},
    "lstm": {"hidden_size": 5, "num_layers": 2},
    "transformer_encoder": {
        "d_model": 6, "num_heads": 2, "d_ff": 13, "window": 5, "num_layers": 2,
    },
}  # fmt: skip


def model_of(name: str) -> torch.nn.Module:
    torch.manual_seed(3)
    model = build_backbone(settings_of(name))
    if isinstance(model, Transformer):
        torch.nn.init.normal_(model.lag_bias)
    return model


def settings_of(name: str) -> ModelSettings:
    return ModelSettings(**{"backbone": name, **SETTINGS[name]})


@pytest.mark.parametrize("name", SETTINGS)
def test_weights_are_counted_as_foretold(name: str) -> None:
    weights = sum(one.numel() for one in model_of(name).parameters())
    assert weights == count_weights(settings_of(name))


def test_opendpds_gru_has_519_weights() -> None:
    assert count_weights(ModelSettings()) == 519


@pytest.mark.parametrize("name", SETTINGS)
def test_no_output_depends_on_what_is_to_come(name: str) -> None:
    model, x = model_of(name), torch.randn(B, T, 2)
    changed = x.clone()
    changed[:, 12:] += 1
    before, after = model(x), model(changed)
    assert before.shape == (B, T, 2)
    # Products of equal rows may differ in their last bits.
    torch.testing.assert_close(before[:, :12], after[:, :12], rtol=0, atol=1e-6)
    assert (before[:, 12:] != after[:, 12:]).all(-1).any()


def test_attention_looks_back_over_its_windows_and_no_further() -> None:
    model = model_of("transformer_encoder")
    assert isinstance(model, Transformer)
    assert model.context == 8
    x = torch.randn(B, T, 2)
    for back, is_seen in ((8, True), (9, False)):
        changed = x.clone()
        changed[:, T - 1 - back] += 1
        moved = (model(x) - model(changed))[:, -1].abs().max() > 1e-6
        assert bool(moved) is is_seen


def test_where_a_sequence_begins_does_not_matter() -> None:
    model, x = model_of("transformer_encoder"), torch.randn(B, T, 2)
    torch.testing.assert_close(model(x)[:, 13:], model(x[:, 5:])[:, 8:], rtol=0, atol=1e-6)


def test_pieces_of_a_long_sequence_equal_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = model_of("transformer_encoder"), torch.randn(B, T, 2)
    whole = model(x)
    monkeypatch.setattr(backbones, "_ENCODED_AT_ONCE", 7)
    torch.testing.assert_close(model(x), whole, rtol=0, atol=1e-6)
