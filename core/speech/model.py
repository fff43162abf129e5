"""A decoder-only Transformer over [audio positions ; text].

Legend: B utterances, A audio positions, T text, S = A + T, D d_model, V units, F numbers of an
audio position, L layers, H heads, K = D / H, C cache.

Audio sees all audio; text sees all audio and the text up to itself. Each of the two has learned
positions of its own, counted from its own start, so that padding behind a short utterance's audio
moves nothing, and a learned vector that says which of the two it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.nn import Dropout, EncoderLayer
from core.nn.attention import attend_bias
from core.nn.projections import projection
from core.speech.settings import ModelSettings

_STD = 0.02
_AUDIO, _TEXT = 0, 1


@dataclass
class DecodingState:
    """What is remembered of a batch between two steps."""

    cache: Tensor
    """Keys and values of audio and text so far, [L, 2, B, H, C, K]."""
    bias: Tensor
    """[B, 1, 1, C], 0 but where the audio is padding."""
    length: int
    """Positions in the cache."""
    said: int = 0
    """Of which are text."""


class SpeechModel(nn.Module):
    """Layers of self-attention, a norm at their end if they are pre-norm, and a head."""

    def __init__(
        self,
        settings: ModelSettings,
        *,
        audio_size: int,
        max_audio: int,
        max_text: int,
        num_units: int,
    ) -> None:
        """`max_audio` and `max_text` positions, of `audio_size` numbers or one unit each."""
        super().__init__()
        d_model = settings.d_model
        self.settings = settings
        self.audio_proj = projection(audio_size, d_model)
        self.text_proj = _embedding(num_units, d_model)
        self.modalities = _embedding(2, d_model)
        self.audio_positions = _embedding(max_audio, d_model)
        self.text_positions = _embedding(max_text, d_model)
        self.dropout = Dropout(settings.dropout)
        sizes = d_model, settings.num_heads, settings.d_ff, settings.dropout, settings.norm
        self.layers = nn.ModuleList(EncoderLayer(*sizes) for _ in range(settings.num_layers))
        self.norm = nn.LayerNorm(d_model) if settings.norm == "pre" else nn.Identity()
        self.head = nn.Linear(d_model, num_units, bias=False)
        nn.init.normal_(self.head.weight, std=_STD)

    def forward(self, audio: Tensor, counts: Tensor, text: Tensor) -> Tensor:
        """States [B, T, D] of the text positions.

        Shapes: audio [B, A, F], of which `counts` [B] positions count; text [B, T], ids.
        """
        x = torch.cat([self._hear(audio), self._read(text)], dim=1)
        attend_mask = sequence_mask(counts, audio.size(1), text.size(1))
        for layer in self.layers:
            x = layer(x, attend_mask)
        states: Tensor = self.norm(x[:, audio.size(1) :])
        return states

    def start(self, audio: Tensor, counts: Tensor, room: int) -> DecodingState:
        """Listens to audio [B, A, F], and makes room for so many text positions."""
        x, heard = self._hear(audio), audio.size(1)
        attend_mask = sequence_mask(counts, heard, 0)
        heads, d_model = self.settings.num_heads, self.settings.d_model
        sizes = len(audio), heads, heard + room, d_model // heads
        layers = self._layers()
        cache: Tensor | None = None
        for place, layer in enumerate(layers):
            if cache is None:  # of the type that the products have under autocast
                made = layer.self_attention.query_key_value(x[:1, :1])
                cache = made.new_zeros(len(layers), 2, *sizes)
            x = layer.fill(x, cache[place], attend_mask)
        assert cache is not None
        is_seen = F.pad(attend_mask[:, :, :1], (0, room), value=True)
        return DecodingState(cache, attend_bias(is_seen, cache.dtype), heard)

    def step(self, ids: Tensor, state: DecodingState) -> Tensor:
        """States [B, D] after one more unit [B] of each utterance, kept in `state`."""
        x = self._read(ids[:, None], state.said)
        bias = state.bias[..., : state.length + 1]
        for layer, cache in zip(self._layers(), state.cache, strict=True):
            x = layer.step(x, cache, state.length, bias)
        state.length += 1
        state.said += 1
        states: Tensor = self.norm(x)[:, 0]
        return states

    def _layers(self) -> list[EncoderLayer]:
        return [cast("EncoderLayer", layer) for layer in self.layers]

    def _hear(self, audio: Tensor) -> Tensor:
        where = self.audio_positions.weight[: audio.size(1)]
        x: Tensor = self.dropout(self.audio_proj(audio) + where + self.modalities.weight[_AUDIO])
        return x

    def _read(self, ids: Tensor, start: int = 0) -> Tensor:
        where = self.text_positions.weight[start : start + ids.size(1)]
        x: Tensor = self.dropout(self.text_proj(ids) + where + self.modalities.weight[_TEXT])
        return x


def sequence_mask(counts: Tensor, audio: int, text: int) -> Tensor:
    """[B, 1, S, S], true where attention is allowed.

    Open over the `counts` [B] audio positions that count, of `audio`; causal over the text.
    """
    places = torch.arange(audio + text, device=counts.device)
    is_heard = places < counts[:, None]
    is_earlier = (places[None, :] >= audio) & (places[None, :] <= places[:, None])
    return is_heard[:, None, None, :] | is_earlier


def _embedding(count: int, d_model: int) -> nn.Embedding:
    embedding = nn.Embedding(count, d_model)
    nn.init.normal_(embedding.weight, std=_STD)
    return embedding
