"""`torch.nn.Transformer` in the loop of PyTorch's tutorial on translation: random batches, padded
by `pad_sequence`, sequence first, masks made anew, `CrossEntropyLoss` over all logits, Adam.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

from benchmarks.peers.processes import Request, answer
from benchmarks.peers.setting import (
    BATCH_SIZE,
    MAX_LEN,
    RECIPE,
    encode,
    model_settings,
    read_captions,
)
from benchmarks.peers.window import Window
from core.translation.settings import ModelSettings
from core.translation.special import BOS_ID, PAD_ID


class PositionalEncoding(nn.Module):
    """The tutorial's, for [T, B, D]."""

    def __init__(self, d_model: int, dropout: float) -> None:
        super().__init__()
        rates = torch.exp(-torch.arange(0, d_model, 2) * math.log(10_000) / d_model)
        places = torch.arange(MAX_LEN + 1).reshape(-1, 1)
        table = torch.zeros(MAX_LEN + 1, 1, d_model)
        table[:, 0, 0::2] = torch.sin(places * rates)
        table[:, 0, 1::2] = torch.cos(places * rates)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("table", table)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(x + self.table[: x.size(0)])


class Translator(nn.Module):
    """The tutorial's `Seq2SeqTransformer`, its embeddings and output layer untied."""

    def __init__(self, settings: ModelSettings, vocab_size: int) -> None:
        super().__init__()
        d_model = settings.d_model
        self.transformer = nn.Transformer(
            d_model=d_model,
            nhead=settings.num_heads,
            num_encoder_layers=settings.num_layers,
            num_decoder_layers=settings.num_layers,
            dim_feedforward=settings.d_ff,
            dropout=settings.dropout,
        )
        self.generator = nn.Linear(d_model, vocab_size)
        self.src_embedding = nn.Embedding(vocab_size, d_model)
        self.tgt_embedding = nn.Embedding(vocab_size, d_model)
        self.positions = PositionalEncoding(d_model, settings.dropout)
        self.scale = math.sqrt(d_model)

    def forward(self, src: Tensor, tgt: Tensor) -> Tensor:
        """Logits [T, B, V] of sources [S, B] and shifted targets [T, B]."""
        causal = nn.Transformer.generate_square_subsequent_mask(tgt.size(0)).isinf()
        src_padding, tgt_padding = (src == PAD_ID).T, (tgt == PAD_ID).T
        states = self.transformer(
            self.positions(self.src_embedding(src) * self.scale),
            self.positions(self.tgt_embedding(tgt) * self.scale),
            tgt_mask=causal,
            src_key_padding_mask=src_padding,
            tgt_key_padding_mask=tgt_padding,
            memory_key_padding_mask=src_padding,
        )
        return self.generator(states)


def measure(request: Request) -> dict[str, Any]:
    """Tokens and seconds of `steps` updates after `warmup`."""
    torch.manual_seed(request["seed"])
    corpora, tokenizer = read_captions(Path(request["data"]), Path(request["cache"]))
    src, tgt = encode(tokenizer, corpora.pretrain.train)
    model = Translator(model_settings(request["d_model"]), tokenizer.vocab_size)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
    loss_of = nn.CrossEntropyLoss(
        ignore_index=PAD_ID, label_smoothing=RECIPE.label_smoothing_factor
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, betas=(0.9, 0.98), eps=1e-9)
    loader = DataLoader(
        list(zip(src, tgt, strict=True)), batch_size=BATCH_SIZE, shuffle=True, collate_fn=_collate
    )
    window = Window(request["warmup"])
    model.train()
    updates = request["warmup"] + request["steps"]
    for sources, targets in itertools.islice(_endless(loader), updates):
        labels = targets[1:]
        window.begin_update(
            sources.size(1), int((sources != PAD_ID).sum()), int((labels != PAD_ID).sum())
        )
        logits = model(sources, targets[:-1])
        optimizer.zero_grad()
        loss = loss_of(logits.reshape(-1, logits.size(-1)), labels.reshape(-1))
        loss.backward()
        optimizer.step()
        loss.item()
    return window.close() | {"precision": "fp32"}


def _collate(pairs: list[tuple[list[int], list[int]]]) -> tuple[Tensor, Tensor]:
    """Sources [S, B] and targets [T + 1, B], the latter begun by `<bos>`."""
    sources = [torch.tensor(src) for src, _ in pairs]
    targets = [torch.tensor([BOS_ID, *tgt]) for _, tgt in pairs]
    return (
        pad_sequence(sources, padding_value=PAD_ID),
        pad_sequence(targets, padding_value=PAD_ID),
    )


def _endless(loader: DataLoader[Any]) -> Iterator[tuple[Tensor, Tensor]]:
    while True:
        yield from loader


if __name__ == "__main__":
    answer(measure)
