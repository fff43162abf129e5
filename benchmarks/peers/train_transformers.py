"""Trains Marian by `transformers`' Seq2SeqTrainer, as people write it, or tuned for this CPU.

As people write it: random batches, fp32, the attention that `transformers` chooses. Tuned: batches
of like length in random order, plain attention, bf16 where the CPU has instructions for it. Both
have the recipe's label smoothing; the rest is default.

`group_by_length` would not do: it has the longest sentences first, of which a window of a few
updates would then be made.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import (
    DataCollatorForSeq2Seq,
    MarianConfig,
    MarianMTModel,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from benchmarks.like_lengths import LikeLengths
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
from core.kernels import ALL_ROWS
from core.precision import choose
from core.translation.pretrained import pretrained_tokenizer
from core.translation.settings import ModelSettings
from core.translation.special import BOS_ID, EOS_ID, PAD_ID
from core.translation.tokens import TokenRows


class _Closing(TrainerCallback):
    """Closes a window after the last update, before anything is written."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self.found: dict[str, Any] = {}

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **_: Any,
    ) -> None:
        del args, control
        if state.global_step == state.max_steps:
            self.found = self._window.close()


class _TimedTrainer(Seq2SeqTrainer):
    """Tells a window of every batch."""

    window: Window

    def training_step(
        self, model: torch.nn.Module, inputs: dict[str, torch.Tensor], *rest: Any
    ) -> torch.Tensor:
        self.window.begin_update(
            len(inputs["labels"]),
            int(inputs["attention_mask"].sum()),
            int((inputs["labels"] != -100).sum()),
        )
        return super().training_step(model, inputs, *rest)


def measure(request: Request) -> dict[str, Any]:
    """Tokens and seconds of `steps` updates after `warmup`."""
    tuned, updates = request["tuned"], request["warmup"] + request["steps"]
    corpora, tokenizer = read_captions(Path(request["data"]), Path(request["cache"]))
    src, tgt = encode(tokenizer, corpora.pretrain.train)
    if tuned:
        rows = _of_like_length(src, tgt, updates, seed=request["seed"])
        src, tgt = [src[row] for row in rows], [tgt[row] for row in rows]
    precision = choose("auto", torch.device("cpu")).name if tuned else "fp32"
    wrapped = pretrained_tokenizer(tokenizer, MAX_LEN)
    model = MarianMTModel(
        _marian_config(model_settings(request["d_model"]), tokenizer.vocab_size, tuned=tuned)
    )
    with tempfile.TemporaryDirectory() as folder:
        arguments = Seq2SeqTrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=BATCH_SIZE,
            max_steps=updates,
            learning_rate=RECIPE.learning_rate,
            warmup_steps=RECIPE.warmup_steps,
            lr_scheduler_type=RECIPE.lr_scheduler_type,
            weight_decay=RECIPE.weight_decay,
            label_smoothing_factor=RECIPE.label_smoothing_factor,
            seed=request["seed"],
            use_cpu=True,
            disable_tqdm=True,
            bf16=precision == "bf16",
            save_strategy="no",
            train_sampling_strategy="sequential" if tuned else "random",
        )
        trainer = _TimedTrainer(
            model=model,
            args=arguments,
            train_dataset=Dataset.from_dict({"input_ids": src, "labels": tgt}),
            data_collator=DataCollatorForSeq2Seq(wrapped, model=model),
            processing_class=wrapped,
        )
        trainer.window = Window(request["warmup"])
        closing = _Closing(trainer.window)
        trainer.add_callback(closing)
        trainer.train()
    return closing.found | {"precision": precision}


def _of_like_length(
    src: list[list[int]], tgt: list[list[int]], updates: int, *, seed: int
) -> list[int]:
    """The pairs of the first batches, one batch after the other."""
    plan = LikeLengths(
        TokenRows.of(src),
        TokenRows.of(tgt),
        batch_size=BATCH_SIZE,
        max_len=MAX_LEN,
        seed=seed,
        block_rows=ALL_ROWS,
    )
    return [row for step in range(updates) for row in plan.rows(step).tolist()]


def _marian_config(settings: ModelSettings, vocab_size: int, *, tuned: bool) -> MarianConfig:
    return MarianConfig(
        vocab_size=vocab_size,
        d_model=settings.d_model,
        encoder_layers=settings.num_layers,
        decoder_layers=settings.num_layers,
        encoder_attention_heads=settings.num_heads,
        decoder_attention_heads=settings.num_heads,
        encoder_ffn_dim=settings.d_ff,
        decoder_ffn_dim=settings.d_ff,
        dropout=settings.dropout,
        bos_token_id=BOS_ID,
        pad_token_id=PAD_ID,
        eos_token_id=EOS_ID,
        forced_eos_token_id=EOS_ID,
        decoder_start_token_id=BOS_ID,
        attn_implementation="eager" if tuned else "sdpa",
    )


if __name__ == "__main__":
    answer(measure)
