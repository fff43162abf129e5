"""What a run takes: monotone, about proportional, and told without torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from core.task import Effort, Load
from core.translation.effort import update_flops
from core.translation.model import Transformer
from core.translation.settings import FinetuneSettings, ModelSettings, TranslationProtocol
from core.translation.spec import SPEC
from core.translation.special import PAD_ID
from core.translation.twin import twin


def effort(model: dict[str, Any] | None = None, **protocol: Any) -> Effort:
    assert SPEC.effort is not None
    groups = {"model": ModelSettings(**(model or {})), "finetune": FinetuneSettings()}
    return SPEC.effort(groups, TranslationProtocol(**protocol))


def loads(found: Effort) -> list[Load]:
    return [*found.updates.values(), found.evaluation, found.final, found.test]


@given(
    field=st.sampled_from(["d_model", "num_layers", "d_ff"]),
    width=st.sampled_from([64, 136, 512]),
    depth=st.integers(1, 11),
    inner=st.integers(64, 2048),
)
def test_a_larger_structure_takes_more_of_everything(
    field: str, width: int, depth: int, inner: int
) -> None:
    small = {"d_model": width, "num_layers": depth, "d_ff": inner}
    large = small | {field: 2 * small[field]}
    for less, more in zip(loads(effort(small)), loads(effort(large)), strict=True):
        assert less.flops < more.flops
        assert less.calls <= more.calls


def test_an_update_follows_the_batch_and_an_evaluation_the_sentences() -> None:
    one, two = effort(batch_size=1000), effort(batch_size=2000)
    # The optimizer's part stays.
    assert two.updates["pretrain"].flops == pytest.approx(
        2 * one.updates["pretrain"].flops, rel=0.05
    )
    assert two.evaluation == one.evaluation
    few, many = effort(validation_pairs=256), effort(validation_pairs=1024)
    assert many.evaluation.flops == pytest.approx(4 * few.evaluation.flops)
    assert many.evaluation.calls == 4 * few.evaluation.calls


def test_talks_are_longer_and_the_last_evaluation_and_the_test_do_more() -> None:
    found = effort(beam_size=5)
    assert found.updates["finetune"].flops > found.updates["pretrain"].flops
    assert found.final.flops > found.evaluation.flops
    assert found.test.flops > 2 * found.evaluation.flops


def test_known_structures_are_in_proportion() -> None:
    """Width 128, 3 layers, vocabulary 8,000, 128 pairs: 30 GFLOP, 2 a second on a core that does
    60 GFLOP/s."""
    small = effort({"d_model": 128, "num_layers": 3, "d_ff": 512})
    assert small.updates["pretrain"].flops == pytest.approx(3e10, rel=0.1)


def test_products_are_counted_as_torch_counts_those_of_m2m100() -> None:
    vocab, src, tgt = 89, 7, 11
    settings = ModelSettings(d_model=24, num_heads=3, num_layers=2, d_ff=41)
    # The same mathematics in products that torch's counter knows, all of them.
    theirs = twin(Transformer(settings, vocab, PAD_ID), attention="eager")
    ids = torch.full((1, src), PAD_ID + 1), torch.full((1, tgt), PAD_ID + 1)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        theirs(input_ids=ids[0], decoder_input_ids=ids[1])
    # An update is a forward pass and a backward one, which is twice as much.
    assert update_flops(settings, vocab, src, tgt) == 3 * counter.get_total_flops()
