"""Greedy and beam search: the same answers as transformers' `generate`, and the laws."""

from collections.abc import Sequence

import pytest
import torch
from lively import lively_model, random_ids, random_sources
from torch import Tensor, nn

from core.nn import token_cross_entropy
from core.nn.stacked import stack_layers
from core.translation.decoding import beam_search, greedy, greedy_stacked
from core.translation.model import Transformer
from core.translation.special import BOS_ID, EOS_ID, PAD_ID
from core.translation.twin import twin

MAX_LEN = 13


def exact_model(seed: int, norm: str = "pre", push: float = 2.5) -> Transformer:
    """In double precision, so that no two tokens are so close that rounding chooses."""
    return lively_model(seed, norm, push).double()


def generate(
    model: Transformer, sources: list[list[int]], max_len: int, **settings: float
) -> list[list[int]]:
    """What transformers makes of the same weights and sources."""
    longest = max(map(len, sources))
    src = torch.tensor([s + [EOS_ID] + [PAD_ID] * (longest - len(s)) for s in sources])
    found = twin(model).generate(
        input_ids=src,
        attention_mask=(src != PAD_ID).long(),
        max_new_tokens=max_len,
        do_sample=False,
        early_stopping=False,
        **settings,
    )
    return [without_specials(tokens[1:]) for tokens in found.tolist()]


def without_specials(tokens: list[int]) -> list[int]:
    """Tokens before the first `<eos>`."""
    end = tokens.index(EOS_ID) if EOS_ID in tokens else len(tokens)
    return [token for token in tokens[:end] if token not in (BOS_ID, PAD_ID)]


@pytest.mark.parametrize(
    ("seed", "push", "norm"),
    [(1, 2.5, "pre"), (5, 2.5, "pre"), (1, 4.0, "pre"), (6, 4.0, "pre"), (1, 2.5, "post")],
)
def test_equal_to_transformers(seed: int, push: float, norm: str) -> None:
    model = exact_model(seed, norm, push)
    sources = random_sources(31, seed)
    lengths = set()
    for beam_size, penalty in ((1, 1.0), (2, 1.0), (3, 0.6), (4, 0.0), (5, 1.0), (5, 2.0)):
        expected = generate(model, sources, MAX_LEN, num_beams=beam_size, length_penalty=penalty)
        found = beam_search(
            model,
            sources,
            beam_size=beam_size,
            max_len=MAX_LEN,
            length_penalty=penalty,
            batch_size=7 * beam_size,
        )
        assert found == expected
        if beam_size == 1:
            assert greedy(model, sources, max_len=MAX_LEN, batch_size=7) == expected
        lengths |= {len(tokens) for tokens in expected}
    # The comparison would say little if all hypotheses ended alike.
    assert len(lengths) >= 5


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_beam_1_is_greedy(norm: str) -> None:
    model = exact_model(4, norm)
    sources = random_sources(29, seed=4)
    for penalty in (0.0, 1.0):
        found = beam_search(model, sources, beam_size=1, max_len=MAX_LEN, length_penalty=penalty)
        assert found == greedy(model, sources, max_len=MAX_LEN)


def log_probs(model: Transformer, source: Sequence[int], tokens: Sequence[int]) -> Tensor:
    """Of the next token, without a cache."""
    src, tgt_in = torch.tensor([[*source, EOS_ID]]), torch.tensor([[BOS_ID, *tokens]])
    with torch.no_grad():
        return model.project(model(src, tgt_in))[0, -1].log_softmax(-1)


def test_cached_greedy_equals_uncached() -> None:
    model = exact_model(5)
    sources = random_sources(23, seed=5)
    expected = []
    for source in sources:
        tokens: list[int] = []
        while len(tokens) < MAX_LEN and EOS_ID not in tokens:
            tokens.append(int(log_probs(model, source, tokens).argmax()))
        expected.append(without_specials(tokens))
    assert greedy(model, sources, max_len=MAX_LEN) == expected


def test_stacked_models_say_what_they_say_alone() -> None:
    models = [exact_model(seed) for seed in (1, 5, 6)]
    weights = {
        name: nn.Parameter(torch.stack([model.get_parameter(name) for model in models]).detach())
        for name, _ in models[0].named_parameters()
    }
    stacked = stack_layers(models[0], weights)
    assert isinstance(stacked, Transformer)
    sources = random_sources(31, seed=5)
    alone = [greedy(model, sources, max_len=MAX_LEN) for model in models]
    for batch_size in (7, 31):  # the latter more rows than are encoded at once
        assert alone == greedy_stacked(
            stacked, sources, members=3, max_len=MAX_LEN, batch_size=batch_size
        )
    # Members must end at different places, or none would wait for another.
    assert len({tuple(map(len, hypotheses)) for hypotheses in alone}) == 3


def plain_beam_search(
    model: Transformer, source: Sequence[int], width: int, max_len: int, penalty: float
) -> list[int]:
    """One sentence, with lists and without a cache."""
    running: list[tuple[float, list[int]]] = [(0.0, [])]
    finished: list[tuple[float, list[int]]] = []
    for length in range(1, max_len + 1):
        extensions = [
            (score + log_prob, [*tokens, token])
            for score, tokens in running
            for token, log_prob in enumerate(log_probs(model, source, tokens).tolist())
        ]
        best = sorted(extensions, reverse=True)[: 2 * width]
        is_last = length == max_len
        finished += [
            (score / length**penalty, tokens)
            for score, tokens in best[:width]
            if is_last or tokens[-1] == EOS_ID
        ]
        finished = sorted(finished, reverse=True)[:width]
        running = [(score, tokens) for score, tokens in best if tokens[-1] != EOS_ID][:width]
        if len(finished) == width and running[0][0] / length**penalty <= finished[-1][0]:
            break
    return without_specials(finished[0][1])


@pytest.mark.parametrize("penalty", [0.3, 1.0])
def test_cached_beam_search_equals_uncached(penalty: float) -> None:
    model = exact_model(6)
    sources = random_sources(7, seed=6)
    found = beam_search(model, sources, beam_size=3, max_len=MAX_LEN, length_penalty=penalty)
    assert found == [plain_beam_search(model, s, 3, MAX_LEN, penalty) for s in sources]


@pytest.mark.parametrize("beam_size", [1, 4])
def test_batches_and_order_change_nothing(beam_size: int) -> None:
    model = exact_model(7)
    sources = random_sources(19, seed=7)

    def decode(some: list[list[int]], batch_size: int) -> list[list[int]]:
        return beam_search(
            model, some, beam_size=beam_size, max_len=MAX_LEN, batch_size=batch_size
        )

    expected = decode(sources, 1000)
    for batch_size in (1, 11, 40):
        assert decode(sources, batch_size) == expected
    assert decode(sources[::-1], 40) == expected[::-1]
    # A long companion pads all others.
    companion = random_ids(61).tolist()
    assert decode([*sources, companion], 1000)[:-1] == expected


@pytest.mark.parametrize("max_len", [1, 2, 13, 29])
def test_max_len_bounds_the_tokens(max_len: int) -> None:
    model = exact_model(8)
    sources = random_sources(19, seed=8)
    for beam_size in (1, 3):
        found = beam_search(model, sources, beam_size=beam_size, max_len=max_len)
        assert max(map(len, found)) <= max_len
        assert found == generate(model, sources, max_len, num_beams=beam_size)


def test_a_source_may_be_empty_and_so_may_the_list() -> None:
    model = exact_model(9)
    for found in (
        greedy(model, [[]], max_len=MAX_LEN),
        beam_search(model, [[]], beam_size=3, max_len=MAX_LEN),
    ):
        assert len(found) == 1
    assert greedy(model, [], max_len=MAX_LEN) == []
    assert beam_search(model, [], beam_size=3, max_len=MAX_LEN) == []


def test_more_beams_than_tokens_to_choose_from() -> None:
    model = exact_model(10)
    found = beam_search(model, random_sources(5, seed=10), beam_size=64, max_len=3)
    assert all(len(tokens) <= 3 for tokens in found)


class Scripted(Transformer):
    """Says the tokens it is given, whatever the source."""

    script: tuple[int, ...] = ()

    def project(self, states: Tensor) -> Tensor:
        logits = super().project(states)
        logits[..., self.script[self.place]] = 1e3
        self.place += 1
        return logits


def test_hypotheses_are_without_specials() -> None:
    model = exact_model(11)
    model.__class__ = Scripted
    assert isinstance(model, Scripted)
    model.script, model.place = (BOS_ID, 7, PAD_ID, 5, EOS_ID, 6), 0
    assert greedy(model, [[4, 5]], max_len=6) == [[7, 5]]


def test_callback_after_each_batch() -> None:
    model = exact_model(12)
    calls: list[None] = []
    sources = random_sources(17, seed=12)
    greedy(model, sources, max_len=3, batch_size=5, on_batch=lambda: calls.append(None))
    assert len(calls) == 4
    beam_search(
        model,
        sources,
        beam_size=2,
        max_len=3,
        batch_size=5,
        on_batch=lambda: calls.append(None),
    )
    # Five beams are two sentences.
    assert len(calls) == 4 + 9


class Halt(Exception):
    """Stops a search from its callback."""


@pytest.mark.parametrize("training", [False, True])
def test_training_flag_is_restored(training: bool) -> None:
    model = exact_model(13).train(training)
    expected = greedy(model.eval(), [[5, 6]], max_len=MAX_LEN)
    model.train(training)
    assert greedy(model, [[5, 6]], max_len=MAX_LEN) == expected
    assert model.training is training

    def halt() -> None:
        raise Halt

    with pytest.raises(Halt):
        greedy(model, [[5, 6]], max_len=MAX_LEN, on_batch=halt)
    assert model.training is training


def test_a_model_learns_after_it_decoded() -> None:
    model = exact_model(14)
    # Longer than the first table of positions, which grows in inference mode.
    greedy(model, [random_ids(300).tolist()], max_len=3)
    model.train()
    src, tgt_in = random_ids(2, 301), random_ids(2, 7, seed=2)
    weight = model.embedding.weight
    token_cross_entropy(model(src, tgt_in), weight, tgt_in, ignore_id=PAD_ID).backward()
    assert weight.grad is not None


@pytest.mark.parametrize("beam_size", [1, 3])
def test_runs_under_autocast(beam_size: int) -> None:
    model = lively_model(15)
    sources = random_sources(11, seed=15)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = beam_search(model, sources, beam_size=beam_size, max_len=MAX_LEN)
    expected = beam_search(model, sources, beam_size=beam_size, max_len=MAX_LEN)
    # Close choices may fall otherwise in bf16, and what follows them.
    assert sum(a[:1] == b[:1] for a, b in zip(found, expected, strict=True)) >= 8
