"""The Transformer: M2M100's mathematics, its laws, its start and its size."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from lively import SETTINGS, VOCAB, lively_model, random_ids
from torch import nn

from core.kernels import CPU
from core.nn import token_cross_entropy
from core.nn.blocks import lay_out
from core.nn.stacked import stack_layers
from core.translation.model import Transformer
from core.translation.settings import ModelSettings
from core.translation.special import PAD_ID
from core.translation.twin import twin

B, S, T = 5, 7, 11

NORMS = pytest.mark.parametrize("norm", ["pre", "post"])


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("padded", [False, True])
def test_logits_equal_m2m100(seed: int, padded: bool) -> None:
    model = lively_model(seed)
    src, tgt_in = random_ids(B, S, seed=seed), random_ids(B, T, seed=seed + 1)
    if padded:
        src[0, 3:] = src[2, 6:] = tgt_in[1, 4:] = tgt_in[2, 10:] = PAD_ID
    with torch.no_grad():
        found = model.project(model(src, tgt_in))
        expected = twin(model)(
            input_ids=src, attention_mask=(src != PAD_ID).long(), decoder_input_ids=tgt_in
        ).logits
    # fp32 sums in another order through nine sublayers; logits are about 1, at most 6.
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_loss_and_gradients_equal_m2m100() -> None:
    model = lively_model(4)
    theirs = twin(model)
    src, tgt_in, labels = random_ids(B, S), random_ids(B, T, seed=2), random_ids(B, T, seed=3)
    src[0, 3:] = labels[1, 4:] = PAD_ID
    found = token_cross_entropy(
        model(src, tgt_in), model.embedding.weight, labels, ignore_id=PAD_ID
    )
    logits = theirs(
        input_ids=src, attention_mask=(src != PAD_ID).long(), decoder_input_ids=tgt_in
    ).logits
    expected = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=PAD_ID)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    found.backward()
    expected.backward()
    largest = theirs.model.shared.weight.grad.abs().max().item()
    torch.testing.assert_close(
        model.embedding.weight.grad,
        theirs.model.shared.weight.grad,
        rtol=1e-3,
        atol=1e-4 * largest,
    )


@NORMS
def test_no_leak_from_future_tokens(norm: str) -> None:
    model = lively_model(5, norm)
    src, tgt_in = random_ids(B, S), random_ids(B, T, seed=2)
    with torch.no_grad():
        before = model(src, tgt_in)
        for place in range(T):
            changed = tgt_in.clone()
            changed[:, place:] = random_ids(B, T - place, seed=7 + place)
            after = model(src, changed)
            assert torch.equal(after[:, :place], before[:, :place])
            assert not torch.equal(after[:, place], before[:, place])


@NORMS
def test_padding_changes_nothing(norm: str) -> None:
    model = lively_model(6, norm)
    src, tgt_in = random_ids(B, S), random_ids(B, T, seed=2)
    wide_src, wide_tgt = (F.pad(ids, (0, 13), value=PAD_ID) for ids in (src, tgt_in))
    with torch.no_grad():
        expected = model(src, tgt_in)
        found = model(wide_src, wide_tgt)[:, :T]
        memory = model.encode(wide_src)[:, :S]
        # Matrix products of other sizes sum in another order.
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(memory, model.encode(src), rtol=1e-4, atol=1e-4)


def test_companions_change_nothing() -> None:
    model = lively_model(7)
    src, tgt_in = random_ids(B, S), random_ids(B, T, seed=2)
    src[3, 2:] = PAD_ID
    with torch.no_grad():
        together = model(src, tgt_in)
        for i in range(B):
            alone = model(src[i : i + 1], tgt_in[i : i + 1])
            torch.testing.assert_close(alone[0], together[i], rtol=1e-4, atol=1e-4)


@NORMS
def test_blocks_change_nothing(norm: str) -> None:
    model = lively_model(17, norm)
    sources = [random_ids(*shape, seed=sum(shape)) for shape in ((2, 3), (3, 7), (1, 9))]
    targets = [random_ids(*shape, seed=sum(shape)) for shape in ((2, 4), (3, 5), (1, 11))]
    sources[1][0, 4:] = targets[1][2, 3:] = PAD_ID
    whole_src, whole_tgt = (
        torch.cat([F.pad(ids, (0, 11 - ids.size(1)), value=PAD_ID) for ids in blocks])
        for blocks in (sources, targets)
    )
    with torch.no_grad():
        expected = model(whole_src, whole_tgt)[whole_tgt != PAD_ID]
        found = model.read(sources, targets)[lay_out(targets) != PAD_ID]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@NORMS
def test_stacked_models_read_blocks_as_each_alone(norm: str) -> None:
    models = [lively_model(seed, norm) for seed in (18, 19, 20)]
    weights = {
        name: nn.Parameter(torch.stack([model.get_parameter(name) for model in models]).detach())
        for name, _ in models[0].named_parameters()
    }
    stacked = stack_layers(models[0], weights)
    assert isinstance(stacked, Transformer)
    shapes = ((2, 3), (3, 7), (1, 9))
    blocks = [random_ids(3 * rows, length, seed=length) for rows, length in shapes]
    blocks[1][4, 2:] = PAD_ID
    with torch.no_grad():
        found = stacked.read(blocks, blocks, 3).chunk(3)
        for index, model in enumerate(models):
            own = [block.chunk(3)[index] for block in blocks]
            torch.testing.assert_close(found[index], model.read(own, own), rtol=1e-4, atol=1e-4)


@NORMS
def test_steps_equal_the_whole_sequence(norm: str) -> None:
    model = lively_model(8, norm)
    src = random_ids(B, S)
    src[2, 4:] = PAD_ID
    width, length = 3, 19
    tgt_in = random_ids(B, width, length, seed=2)
    with torch.inference_mode():
        state = model.start(src, width)
        steps = torch.stack([model.step(tgt_in[..., t], state) for t in range(length)], dim=2)
        for hypothesis in range(width):
            expected = model(src, tgt_in[:, hypothesis])
            torch.testing.assert_close(steps[:, hypothesis], expected, rtol=1e-4, atol=1e-4)


def test_sources_read_a_few_at_a_time_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = lively_model(10)
    src, tokens = random_ids(B, S), random_ids(B, 2, seed=2)
    src[3:, 2:] = PAD_ID
    with torch.inference_mode():
        expected = model.step(tokens, model.start(src, 2))
        monkeypatch.setattr("core.kernels.CPU", replace(CPU, encoded_at_once=2))
        found = model.step(tokens, model.start(src, 2))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_selected_hypotheses_keep_their_own_past() -> None:
    model = lively_model(9)
    src, tgt_in = random_ids(B, S), random_ids(B, 2, T, seed=2)
    with torch.inference_mode():
        state = model.start(src, 2)
        for t in range(4):
            model.step(tgt_in[..., t], state)
        # Sentences 1 and 4 stay; in the first both hypotheses come from the second.
        state.select_sentences(torch.tensor([1, 4]))
        state.select_rows(torch.tensor([3, 3, 8, 9]))
        found = model.step(tgt_in[[1, 4]][..., 4], state)
        for row, (sentence, past, now) in enumerate([(1, 1, 0), (1, 1, 1), (4, 0, 0), (4, 1, 1)]):
            tokens = torch.cat([tgt_in[sentence, past, :4], tgt_in[sentence, now, 4:5]])
            expected = model(src[sentence : sentence + 1], tokens[None])[0, -1]
            torch.testing.assert_close(found.flatten(0, 1)[row], expected, rtol=1e-4, atol=1e-4)


@NORMS
@pytest.mark.parametrize("layers", [1, 3])
def test_parameters_are_as_many_as_the_formula_says(norm: str, layers: int) -> None:
    d, f = 26, 41
    settings = ModelSettings.model_validate(
        {"d_model": d, "num_heads": 2, "num_layers": layers, "d_ff": f, "norm": norm}
    )
    attention, feed_forward, layer_norm = 4 * d * d + 4 * d, 2 * d * f + f + d, 2 * d
    encoder = attention + feed_forward + 2 * layer_norm
    decoder = 2 * attention + feed_forward + 3 * layer_norm
    final = 2 * layer_norm if norm == "pre" else 0
    expected = VOCAB * d + layers * (encoder + decoder) + final
    model = Transformer(settings, VOCAB, PAD_ID)
    assert sum(p.numel() for p in model.parameters()) == expected


def test_one_matrix_embeds_and_projects() -> None:
    model = lively_model(10)
    named = [name for name, p in model.named_parameters() if p.size(0) == VOCAB]
    assert named == ["embedding.weight"]
    states = torch.randn(3, SETTINGS.d_model)
    expected = states @ model.embedding.weight.T
    torch.testing.assert_close(model.project(states), expected)


def test_embeddings_are_scaled_before_positions_are_added() -> None:
    model = lively_model(11)
    ids = random_ids(2, 3)
    expected = model.embedding(ids) * math.sqrt(24) + model.positions(ids)
    torch.testing.assert_close(model._embed(ids), expected)


def test_initial_distributions() -> None:
    torch.manual_seed(12)
    settings = ModelSettings(d_model=64, num_heads=4, num_layers=1, d_ff=257)
    model = Transformer(settings, 1009, PAD_ID)
    weight = model.embedding.weight
    assert not weight[PAD_ID].any()
    # 64,000 draws: four standard errors of the mean are 3e-4, of the deviation 1.1 per cent.
    assert weight.mean().item() == pytest.approx(0, abs=3e-4)
    assert weight.std().item() == pytest.approx(0.02, rel=0.012)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            parts = 1 if 257 in module.weight.shape else module.out_features // 64
            for part in module.weight.chunk(parts):
                bound = math.sqrt(6 / sum(part.shape))
                assert part.abs().max().item() == pytest.approx(bound, rel=0.01)
                # A uniform distribution's deviation, to four standard errors of 4,096 draws.
                assert part.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.03)
            assert not module.bias.any()
        elif isinstance(module, nn.LayerNorm):
            assert (module.weight == 1).all()
            assert not module.bias.any()


def test_same_seed_same_weights() -> None:
    first, second = lively_model(13), lively_model(13)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_dropout_only_in_training_and_from_torchs_generator() -> None:
    model = lively_model(14)
    src, tgt_in = random_ids(B, S), random_ids(B, T, seed=2)
    expected = model(src, tgt_in)
    model.train()
    torch.manual_seed(1)
    first, second = model(src, tgt_in), model(src, tgt_in)
    torch.manual_seed(1)
    again = model(src, tgt_in)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert not torch.equal(first, expected)


def test_every_weight_learns() -> None:
    model = lively_model(15).train()
    src, tgt_in, labels = random_ids(B, S), random_ids(B, T, seed=2), random_ids(B, T, seed=3)
    weight = model.embedding.weight
    token_cross_entropy(model(src, tgt_in), weight, labels, ignore_id=PAD_ID).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def test_autocast_stays_near_fp32() -> None:
    model = lively_model(16)
    src, tgt_in = random_ids(B, S), random_ids(B, T, seed=2)
    expected = model(src, tgt_in)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model(src, tgt_in)
    assert found.dtype == torch.float32
    # bf16 keeps 8 bits; states are about 1 and pass nine sublayers.
    assert (found - expected).abs().mean().item() < 0.05
