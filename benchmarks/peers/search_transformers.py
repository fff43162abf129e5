"""A search by Optuna over Seq2SeqTrainer as people write it: a trial pretrains, then fine-tunes
and is evaluated with `generate`; one trial at a time, with all cores.

The model is the project's by way of M2M100, so that the scores may be compared.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from datasets import Dataset
from transformers import (
    DataCollatorForSeq2Seq,
    EvalPrediction,
    M2M100ForConditionalGeneration,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    set_seed,
)
from transformers.models.m2m_100.modeling_m2m_100 import shift_tokens_right

from benchmarks.peers.processes import Request, answer
from benchmarks.peers.setting import encode
from core.settings import Recipe
from core.translation.bleu import corpus_bleu
from core.translation.corpus import PairSet, load_corpora
from core.translation.pretrained import pretrained_tokenizer
from core.translation.settings import (
    FinetuneSettings,
    ModelSettings,
    TranslationData,
    TranslationProtocol,
)
from core.translation.special import BOS_ID, PAD_ID
from core.translation.tokenizer import load_tokenizer
from core.translation.twin import m2m100_config


class _Translator(M2M100ForConditionalGeneration):
    """M2M100 with the method that the trainer's label smoothing needs and M2M100 lacks."""

    def prepare_decoder_input_ids_from_labels(self, labels: torch.Tensor) -> torch.Tensor:
        """What the decoder is given for `labels`."""
        return shift_tokens_right(labels, PAD_ID, BOS_ID)


class _Objective:
    """Trains the model of a trial through both stages and returns its BLEU."""

    def __init__(self, request: Request) -> None:
        self._protocol = protocol = TranslationProtocol.model_validate(request["protocol"])
        self._settings = ModelSettings.model_validate(request["model"])
        corpora = load_corpora(protocol, TranslationData.model_validate(request["data"]))
        self._tokenizer = load_tokenizer(protocol, corpora, Path(request["cache"]))
        self._wrapped = pretrained_tokenizer(self._tokenizer, self._protocol.max_len)
        self._captions = self._encode(corpora.pretrain.train)
        self._talks = self._encode(corpora.finetune.train)
        self._validation = self._encode(corpora.pretrain.validation)
        self._references = corpora.pretrain.validation.tgt

    def __call__(self, trial: optuna.Trial) -> float:
        schedules = ["linear", "cosine", "inverse_sqrt", "constant"]
        steps = self._protocol.finetune_steps
        recipe = FinetuneSettings(
            learning_rate=trial.suggest_float("finetune.learning_rate", 1e-6, 1e-3, log=True),
            lr_scheduler_type=trial.suggest_categorical("finetune.lr_scheduler_type", schedules),
            warmup_steps=trial.suggest_int("finetune.warmup_steps", 0, steps),
            weight_decay=trial.suggest_float("finetune.weight_decay", 0, 0.1),
            label_smoothing_factor=trial.suggest_float("finetune.label_smoothing_factor", 0, 0.2),
        )
        set_seed(1)
        model = _Translator(
            m2m100_config(self._settings, self._tokenizer.vocab_size, attention="sdpa")
        )
        stage_a = self._protocol.pretrain
        self._train(model, self._captions, stage_a, self._protocol.pretrain_steps)
        return self._train(model, self._talks, recipe, steps)

    def _train(self, model: _Translator, rows: Dataset, recipe: Recipe, steps: int) -> float:
        """Trains `model` and returns the BLEU of its last evaluation."""
        protocol, schedule = self._protocol, recipe.lr_scheduler_type
        with tempfile.TemporaryDirectory() as folder:
            arguments = Seq2SeqTrainingArguments(
                output_dir=folder,
                max_steps=steps,
                per_device_train_batch_size=protocol.batch_size,
                per_device_eval_batch_size=protocol.batch_size,
                learning_rate=recipe.learning_rate,
                lr_scheduler_type="constant_with_warmup" if schedule == "constant" else schedule,
                warmup_steps=recipe.resolve_warmup(steps),
                weight_decay=recipe.weight_decay,
                label_smoothing_factor=recipe.label_smoothing_factor,
                adam_beta1=recipe.adam_beta1,
                adam_beta2=recipe.adam_beta2,
                adam_epsilon=recipe.adam_epsilon,
                max_grad_norm=protocol.grad_clip,
                eval_strategy="steps",
                eval_steps=protocol.eval_every,
                save_strategy="no",
                predict_with_generate=True,
                generation_max_length=protocol.max_len,
                generation_num_beams=1,
                use_cpu=True,
                disable_tqdm=True,
            )
            trainer = Seq2SeqTrainer(
                model=model,
                args=arguments,
                train_dataset=rows,
                eval_dataset=self._validation,
                data_collator=DataCollatorForSeq2Seq(self._wrapped, model=model),
                processing_class=self._wrapped,
                compute_metrics=self._score,
            )
            trainer.train()
        scores = [
            entry["eval_bleu"] for entry in trainer.state.log_history if "eval_bleu" in entry
        ]
        return float(scores[-1])

    def _encode(self, pairs: PairSet) -> Dataset:
        src, tgt = encode(self._tokenizer, pairs)
        return Dataset.from_dict({"input_ids": src, "labels": tgt})

    def _score(self, prediction: EvalPrediction) -> dict[str, float]:
        ids = np.where(prediction.predictions < 0, PAD_ID, prediction.predictions)
        texts = self._tokenizer.decode(ids.tolist())
        return {"bleu": corpus_bleu(texts, self._references).value}


def measure(request: Request) -> dict[str, Any]:
    """Seconds of the search and the points' BLEU, in their order."""
    objective = _Objective(request)
    study = optuna.create_study(direction="maximize")
    for point in request["points"]:
        study.enqueue_trial(point)
    began = time.perf_counter()
    study.optimize(objective, n_trials=len(request["points"]), n_jobs=1)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "bleu": [trial.value for trial in study.trials]}


if __name__ == "__main__":
    answer(measure)
