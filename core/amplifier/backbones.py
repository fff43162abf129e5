"""What may stand between an amplifier's input and its output.

Legend: B batch, T samples, H units or d_model, W window, N heads. Samples are [B, T, 2]: I and Q.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from core.amplifier.settings import ModelSettings
from core.nn import Dropout, EncoderLayer, Gru
from core.nn.projections import projection

_PARTS = 2
"""I and Q."""
_ENCODED_AT_ONCE = 256
"""Samples of a long sequence, beside those that they look back at."""


def build_backbone(settings: ModelSettings) -> nn.Module:
    """The model that `settings` name, which maps [B, T, 2] to [B, T, 2] for any T."""
    if settings.backbone == "transformer_encoder":
        return Transformer(settings)
    return Recurrent(settings)


class Recurrent(nn.Module):
    """GRU or LSTM layers that begin from zeros, and a linear read-out, as OpenDPD has them."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        sizes = _PARTS, settings.hidden_size, settings.num_layers
        if settings.backbone == "gru":
            self.layers: nn.Module = Gru(*sizes)
        else:
            self.layers = _Lstm(*sizes)
        self.head = projection(settings.hidden_size, _PARTS)
        for name, weight in self.layers.named_parameters():
            for gate in torch.split(weight, settings.hidden_size):
                if "bias" in name:
                    nn.init.zeros_(gate)
                elif "weight_ih_l0" in name:
                    nn.init.xavier_uniform_(gate)
                else:
                    nn.init.orthogonal_(gate)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, 2] -> [B, T, 2]."""
        y: Tensor = self.head(self.layers(x))
        return y


class _Lstm(nn.LSTM):
    """torch's, which returns the states alone."""

    def __init__(self, features: int, units: int, num_layers: int) -> None:
        super().__init__(features, units, num_layers, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """[B, T, F] -> [B, T, H]."""
        states: Tensor = super().forward(x)[0]
        return states


class Transformer(nn.Module):
    """A pre-norm encoder whose attention looks back over a window.

    Where a sample stands does not matter, only how far back another one is: each head has a
    learned bias for each lag. So a frame is enough to learn from, and a sequence of any length is
    read as if it were one. There is no norm before the read-out: the residual sum carries the
    signal from end to end, and an amplifier is linear first of all.
    """

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        d_model, heads = settings.d_model, settings.num_heads
        self.window = settings.window
        self.context = settings.num_layers * (settings.window - 1)
        """Samples before the present one on which an output depends."""
        self.embed = projection(_PARTS, d_model)
        self.lag_bias = nn.Parameter(torch.zeros(heads, settings.window))
        self.dropout = Dropout(settings.dropout)
        self.layers = nn.ModuleList(
            EncoderLayer(d_model, heads, settings.d_ff, settings.dropout, "pre")
            for _ in range(settings.num_layers)
        )
        self.head = projection(d_model, _PARTS)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, 2] -> [B, T, 2]; a long sequence in pieces, each with the past that it needs."""
        length = x.size(1)
        if length <= self.context + _ENCODED_AT_ONCE:
            return self._encode(x)
        pieces = []
        for start in range(0, length, _ENCODED_AT_ONCE):
            past = min(start, self.context)
            pieces.append(self._encode(x[:, start - past : start + _ENCODED_AT_ONCE])[:, past:])
        return torch.cat(pieces, 1)

    def _encode(self, x: Tensor) -> Tensor:
        bias = self._bias(x.size(1))
        x = self.dropout(self.embed(x))
        for layer in self.layers:
            x = layer(x, bias)
        y: Tensor = self.head(x)
        return y

    def _bias(self, length: int) -> Tensor:
        """What is added to scores, [1, N, T, T]: by head and lag, the least number outside."""
        at = torch.arange(length, device=self.lag_bias.device)
        lags = at[:, None] - at
        bias = self.lag_bias[:, lags.clamp(0, self.window - 1)]
        is_out = (lags < 0) | (lags >= self.window)
        return bias.masked_fill(is_out, torch.finfo(bias.dtype).min)[None]
