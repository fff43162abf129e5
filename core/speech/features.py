"""Log-mel frames of utterances, several of which one position of the model holds.

Legend: B utterances, N samples, F frames, M mel bands, A audio positions.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_WINDOW_S, _HOP_S = 0.025, 0.010
_LOWEST_HZ = 60.0
_LEAST_POWER = 1e-6


class LogMel(nn.Module):
    """Waves to positions: log-mel frames, less the utterance's mean, over its deviation.

    Bands are triangles, evenly spaced in mel (O'Shaughnessy: 2595 log10(1 + f / 700)).
    """

    window: Tensor
    filters: Tensor

    def __init__(self, rate: int, bands: int, frames_per_position: int) -> None:
        super().__init__()
        self._hop, self._length = round(_HOP_S * rate), round(_WINDOW_S * rate)
        self._fft = 2 ** math.ceil(math.log2(self._length))
        self._per_position = frames_per_position
        self.size = bands * frames_per_position
        """Numbers of a position."""
        self.register_buffer("window", torch.hann_window(self._length), persistent=False)
        filters = mel_filters(rate, self._fft, bands)
        self.register_buffer("filters", filters, persistent=False)

    def forward(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Positions [B, A, M * frames] of waves [B, N] of `lengths` [B], and how many count, [B].

        What lies behind an utterance's end is zero, and changes nothing before it.
        """
        counts = self.frames(lengths)
        padding = max(0, self._fft - waves.size(1))
        spectrum = torch.stft(
            F.pad(waves.float(), (0, padding)),
            self._fft,
            self._hop,
            self._length,
            self.window,
            center=False,
            return_complex=True,
        )
        power = spectrum.abs().square().transpose(1, 2)  # [B, F, fft / 2 + 1]
        mel = (power @ self.filters + _LEAST_POWER).log()
        is_heard = torch.arange(mel.size(1), device=mel.device) < counts[:, None]
        mel = _normalized(mel, is_heard)
        rest = -mel.size(1) % self._per_position
        stacked = F.pad(mel, (0, 0, 0, rest)).reshape(len(mel), -1, self.size)
        return stacked, (counts + self._per_position - 1) // self._per_position

    def frames(self, lengths: Tensor) -> Tensor:
        """How many frames waves of these lengths have; one at least."""
        frames: Tensor = (lengths - self._fft).clamp(min=0) // self._hop + 1
        return frames

    def positions(self, samples: int) -> int:
        """How many positions so many samples have."""
        frames = int(self.frames(torch.tensor(samples)))
        return -(-frames // self._per_position)


def mel_filters(rate: int, fft: int, bands: int) -> Tensor:
    """[fft / 2 + 1, bands], each a triangle of height 1 over its neighbours' middles."""

    def mel(hertz: float) -> float:
        return 2595 * math.log10(1 + hertz / 700)

    edges = torch.linspace(mel(_LOWEST_HZ), mel(rate / 2), bands + 2, dtype=torch.float64)
    hertz = 700 * (10 ** (edges / 2595) - 1)
    bins = torch.linspace(0, rate / 2, fft // 2 + 1, dtype=torch.float64)[:, None]
    rising = (bins - hertz[:-2]) / (hertz[1:-1] - hertz[:-2])
    falling = (hertz[2:] - bins) / (hertz[2:] - hertz[1:-1])
    filters: Tensor = torch.minimum(rising, falling).clamp(min=0).float()
    return filters


def _normalized(mel: Tensor, is_heard: Tensor) -> Tensor:
    """Each band less its mean over the utterance, over the deviation of all; zero beyond it."""
    heard = is_heard[..., None].to(mel.dtype)
    count = heard.sum(1, keepdim=True)
    mean = (mel * heard).sum(1, keepdim=True) / count
    centred = (mel - mean) * heard
    variance = centred.square().sum((1, 2), keepdim=True) / (count * mel.size(-1))
    normalized: Tensor = centred / (variance.sqrt() + 1e-3)
    return normalized
