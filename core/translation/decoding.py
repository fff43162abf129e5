"""Greedy and beam search over a batch, with cached keys and values.

Sources and hypotheses are token ids without specials. Sentences are decoded in batches of similar
length and leave their batch when they are done; the answers come in the order of the sources.

Legend: B sentences, W beams a sentence, R of them that run, V vocabulary, K stacked models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from core.nn import largest
from core.translation.model import Transformer
from core.translation.special import BOS_ID, EOS_ID, PAD_ID

Ids = Sequence[int]


def greedy(
    model: Transformer,
    sources: Sequence[Ids],
    *,
    max_len: int,
    batch_size: int = 256,
    on_batch: Callable[[], None] | None = None,
) -> list[list[int]]:
    """The most probable token at each step, until `<eos>` or `max_len` tokens, `<eos>` included.

    Decodes `batch_size` sentences at a time and calls `on_batch` after each batch. The model is in
    evaluation meanwhile, and as it was afterwards. Precision is the caller's, by autocast.
    """

    (hypotheses,) = greedy_stacked(
        model, sources, members=1, max_len=max_len, batch_size=batch_size, on_batch=on_batch
    )
    return hypotheses


def greedy_stacked(
    model: Transformer,
    sources: Sequence[Ids],
    *,
    members: int,
    max_len: int,
    batch_size: int = 256,
    on_batch: Callable[[], None] | None = None,
) -> list[list[list[int]]]:
    """What `greedy` gives for each of the `members` models that are stacked in `model`."""

    def decode(src: Tensor) -> list[list[int]]:
        return _greedy(model, src, max_len, members)

    return _in_batches(model, sources, decode, batch_size, on_batch, members=members)


def beam_search(
    model: Transformer,
    sources: Sequence[Ids],
    *,
    beam_size: int,
    max_len: int,
    length_penalty: float = 1.0,
    batch_size: int = 256,
    on_batch: Callable[[], None] | None = None,
) -> list[list[int]]:
    """The best hypothesis by log-probability / length ** `length_penalty`, `<eos>` counted.

    Scores and stops as `transformers`' `generate` does with `early_stopping=False`: a sentence is
    done when it has `beam_size` finished hypotheses and the best running one, were it to end here,
    would not beat the worst of them. Otherwise as `greedy`, which beam size 1 equals; `batch_size`
    counts beams.
    """

    def decode(src: Tensor) -> list[list[int]]:
        return _beam_search(model, src, beam_size, max_len, length_penalty)

    rows = max(batch_size // beam_size, 1)
    (hypotheses,) = _in_batches(model, sources, decode, rows, on_batch, members=1)
    return hypotheses


def _in_batches(
    model: Transformer,
    sources: Sequence[Ids],
    decode: Callable[[Tensor], list[list[int]]],
    batch_size: int,
    on_batch: Callable[[], None] | None,
    *,
    members: int,
) -> list[list[list[int]]]:
    """Each member's hypotheses; the longest sources first, so that what does not fit fails early.

    `decode` takes a batch of sources once for every member.
    """
    order = sorted(range(len(sources)), key=lambda i: len(sources[i]), reverse=True)
    hypotheses: list[list[list[int]]] = [[[]] * len(sources) for _ in range(members)]
    device = model.embedding.weight.device
    with _evaluating(model):
        for start in range(0, len(order), batch_size):
            places = order[start : start + batch_size]
            src = _padded([[*sources[i], EOS_ID] for i in places]).to(device)
            decoded = iter(decode(src.repeat(members, 1)))
            for own in hypotheses:
                for i in places:
                    own[i] = _without_specials(next(decoded))
            if on_batch:
                on_batch()
    return hypotheses


@contextmanager
def _evaluating(model: Transformer) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(was_training)


def _padded(sequences: list[list[int]]) -> Tensor:
    longest = max(map(len, sequences))
    return torch.tensor([ids + [PAD_ID] * (longest - len(ids)) for ids in sequences])


def _without_specials(tokens: list[int]) -> list[int]:
    end = tokens.index(EOS_ID) if EOS_ID in tokens else len(tokens)
    return [token for token in tokens[:end] if token not in (BOS_ID, PAD_ID)]


def _greedy(model: Transformer, src: Tensor, max_len: int, members: int) -> list[list[int]]:
    """Token ids of sources [K * B, S], what follows the first `<eos>` meaningless."""
    state = model.start(src, members=members)
    sentences = torch.arange(len(src), device=src.device)
    tokens = torch.full((len(src), 1), BOS_ID, device=src.device)
    is_done = torch.zeros(len(src), dtype=torch.bool, device=src.device)
    written = torch.full((len(src), max_len), EOS_ID, device=src.device)
    for place in range(max_len):
        tokens = largest(model.project(model.step(tokens, state)), 1)[1].squeeze(-1)
        written[sentences, place] = tokens[:, 0]
        is_done |= tokens[:, 0] == EOS_ID
        # Stacked models need as many rows of each: some leave with the one that has most left.
        by_member = is_done.view(members, -1)
        size, done = by_member.size(1), int(by_member.sum(1).min())
        if done == size:
            break
        # Finished rows cost less than moving the others' cache until they are an eighth.
        if done * 8 >= size:
            rows = by_member.byte().argsort(dim=1, stable=True)[:, : size - done]
            rows = (rows + torch.arange(members, device=rows.device)[:, None] * size).flatten()
            state.select_sentences(rows)
            state.select_rows(rows)
            sentences, tokens, is_done = sentences[rows], tokens[rows], is_done[rows]
    return written.tolist()


@dataclass
class _Beams:
    """The search of B sentences, W beams each; sentences that are done have left."""

    sentences: Tensor
    """[B], which sentence of the batch each is."""
    tokens: Tensor
    """[B, R, max_len], running hypotheses: one a sentence to begin with, then W."""
    scores: Tensor
    """[B, R], their log-probabilities, best first; -inf where there is none."""
    finished: Tensor
    """[B, W], penalized scores of the best finished hypotheses, best first; -inf where none."""
    best: Tensor
    """[B, max_len], the best finished hypothesis, filled with `<eos>`."""

    def select(self, rows: Tensor) -> None:
        """Keeps the sentences at `rows`."""
        self.sentences, self.tokens = self.sentences[rows], self.tokens[rows]
        self.scores, self.finished = self.scores[rows], self.finished[rows]
        self.best = self.best[rows]


def _beam_search(
    model: Transformer, src: Tensor, width: int, max_len: int, length_penalty: float
) -> list[list[int]]:
    """The best hypotheses of sources [B, S], what follows the first `<eos>` meaningless."""
    count, device = len(src), src.device
    # All begin alike, so one hypothesis is enough, if it has as many extensions as are sought.
    running = 1 if model.embedding.num_embeddings >= 2 * width else width
    state = model.start(src, running)
    scores = torch.full((count, running), -torch.inf, device=device)
    scores[:, 0] = 0
    beams = _Beams(
        sentences=torch.arange(count, device=device),
        tokens=torch.full((count, running, max_len), EOS_ID, device=device),
        scores=scores,
        finished=torch.full((count, width), -torch.inf, device=device),
        best=torch.full((count, max_len), EOS_ID, device=device),
    )
    written = torch.full((count, max_len), EOS_ID, device=device)
    last = torch.full((count, running), BOS_ID, device=device)
    for place in range(max_len):
        logits = model.project(model.step(last, state)).float()
        parents, last = _advance(beams, logits, place, length_penalty)
        # A running hypothesis is compared as if it ended here.
        ended = beams.scores[:, 0] / (place + 1) ** length_penalty
        is_open = ended > beams.finished[:, -1]
        if place + 1 == max_len:
            is_open = torch.zeros_like(is_open)
        written[beams.sentences] = beams.best
        rows = is_open.nonzero().squeeze(1)
        if len(rows) == 0:
            break
        if len(rows) < len(is_open):
            state.select_sentences(rows)
            beams.select(rows)
            parents, last = parents[rows], last[rows]
        state.select_rows((rows[:, None] * logits.size(1) + parents).flatten())
    return written.tolist()


def _advance(
    beams: _Beams, logits: Tensor, place: int, length_penalty: float
) -> tuple[Tensor, Tensor]:
    """Extends every hypothesis by one token: logits [B, R, V] -> parents and tokens, both [B, W].

    Of the 2 W best extensions those that end, if among the W best, are finished hypotheses; the W
    best of the others run on.
    """
    width, max_len = beams.finished.size(1), beams.tokens.size(2)
    top, token, parent = _best_extensions(beams.scores, logits, 2 * width)
    ends = token == EOS_ID
    if place + 1 == max_len:
        ends = torch.ones_like(ends)

    penalized = (top / (place + 1) ** length_penalty)[:, :width]
    penalized = penalized.masked_fill(~ends[:, :width], -torch.inf)
    new_best, which = penalized.max(1)
    is_better = new_best > beams.finished[:, 0]
    sentences = torch.arange(len(which), device=which.device)
    extended = beams.tokens[sentences, parent[sentences, which]]
    extended[:, place] = token[sentences, which]
    beams.best = torch.where(is_better[:, None], extended, beams.best)
    beams.finished = torch.cat([beams.finished, penalized], 1).topk(width).values

    beams.scores, order = top.masked_fill(ends, -torch.inf).topk(width)
    parent, token = parent.gather(1, order), token.gather(1, order)
    beams.tokens = beams.tokens.gather(1, parent[..., None].expand(-1, -1, max_len))
    beams.tokens[:, :, place] = token
    return parent, token


def _best_extensions(scores: Tensor, logits: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The `count` most probable extensions of each sentence: scores, tokens and parents, all
    [B, count]. Each hypothesis's own best are found first.
    """
    # One pass over each row, which stays in the cache: `logsumexp` alone takes longer.
    log_probs, tokens = largest(logits.log_softmax(-1), min(count, logits.size(-1)))
    candidates = (scores[..., None] + log_probs).flatten(1)
    top, places = candidates.topk(min(count, candidates.size(1)))
    return top, tokens.flatten(1).gather(1, places), places // tokens.size(-1)
