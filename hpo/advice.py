"""What of a declared study goes against the recommendations for Transformers, and why.

A rule looks at single points of the search space and knows settings by their field's name alone,
in whatever group of whatever task: it applies where a task has them. Over many points it is seen
how much of a space a rule concerns, whatever ranges, conditions and derived values make it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple

from rich.text import Text

from core.settings import Settings
from core.task import Grid
from hpo.analysis.formats import count, percent, rate_text, value_text
from hpo.declarations import Study
from hpo.declarations.assembly import build_groups, end_points
from hpo.names import label

_DRAWS = 1_000
"""Points drawn: a share is then known to within three percent."""
_RECURRENT = frozenset({"gru", "lstm", "rnn"})
_WIDTHS = ("d_model", "hidden_size", "width")
"""What tasks call the width of a position."""

RATES_BY_WIDTH = ((512, 3e-4, 3e-4), (1024, 1e-4, 1e-4), (None, 5e-5, 1e-4))
"""(width below which, lowest, highest) recommended peak rate of AdamW; `None`: all others."""
RATES_BY_DEPTH = ((6, None, None), (8, 1e-4, 1e-4), (12, 5e-5, 8e-5), (None, 3e-5, 5e-5))
"""The same by number of layers, where that has a say."""


class Found(NamedTuple):
    """One point's settings against a rule."""

    names: tuple[str, ...]
    """Dotted names of what it rests on, the one to change first."""
    value: float
    """How far it goes against the rule; the further, the higher."""
    said: str
    """What was found, in words that follow a name."""


@dataclass(frozen=True)
class Point:
    """A point of a search space, complete: what a trial there would be."""

    groups: Mapping[str, Settings]
    protocol: Settings
    grid: Grid

    def find(self, *fields: str) -> tuple[str, Any] | None:
        """Dotted name and value of the first setting called so; `None` if there is none."""
        for prefix, settings in (*self.groups.items(), ("protocol", self.protocol)):
            for name in fields:
                if name in type(settings).model_fields:
                    return f"{prefix}.{name}", getattr(settings, name)
        return None

    def number(self, *fields: str) -> tuple[str, float] | None:
        """The same where the value is a number."""
        found = self.find(*fields)
        if found is None or isinstance(found[1], bool) or not isinstance(found[1], int | float):
            return None
        return found

    @property
    def is_transformer(self) -> bool:
        """Whether it has attention heads and no setting chooses a recurrent net instead."""
        words = {
            value
            for settings in self.groups.values()
            for name in type(settings).model_fields
            if isinstance(value := getattr(settings, name), str)
        }
        return self.find("num_heads") is not None and not words & _RECURRENT

    def recipes(self) -> Iterator[tuple[str, Settings, int]]:
        """(dotted prefix, settings, updates) of everything that has a learning rate.

        The stage of a recipe is called as its group, or as its key in the protocol; where none is,
        it is the whole curve.
        """
        stages = dict(self.grid.stages)
        for group, settings in self.groups.items():
            if _has_rate(settings):
                yield group, settings, stages.get(group, self.grid.total_steps)
        for key in type(self.protocol).model_fields:
            settings = getattr(self.protocol, key)
            if key in stages and _has_rate(settings):
                yield f"protocol.{key}", settings, stages[key]


@dataclass(frozen=True)
class Rule:
    """One recommendation."""

    name: str
    look: Callable[[Point], Iterator[Found]]
    recommended: str
    why: str
    source: str


@dataclass(frozen=True)
class Note:
    """What a rule has to say of a study."""

    rule: Rule
    names: tuple[str, ...]
    share: float
    """Of the points drawn."""
    furthest: str
    """What was found where it goes furthest."""
    enqueued: tuple[int, ...]
    """Which of the points to try first are concerned, from 1."""

    def as_json(self) -> dict[str, Any]:
        """The note as JSON."""
        return {
            "rule": self.rule.name,
            "settings": list(self.names),
            "furthest": self.furthest,
            "share": self.share,
            "enqueued": list(self.enqueued),
            "recommended": self.rule.recommended,
            "why": self.rule.why,
            "source": self.rule.source,
        }


def _has_rate(settings: object) -> bool:
    return isinstance(settings, Settings) and "learning_rate" in type(settings).model_fields


def _warmup_of(settings: Settings, steps: int) -> tuple[str, float] | None:
    """The field that gives the warmup, and its length in updates."""
    given = {name: getattr(settings, name, None) for name in ("warmup_ratio", "warmup_steps")}
    if given["warmup_ratio"] is not None:
        return "warmup_ratio", given["warmup_ratio"] * steps
    if "warmup_steps" in type(settings).model_fields:
        return "warmup_steps", given["warmup_steps"] or 0
    return None


def _warmups(point: Point) -> Iterator[tuple[str, float, int]]:
    """(dotted name, updates of warmup, updates of the stage) of everything that may have one."""
    for prefix, settings, steps in point.recipes():
        found = _warmup_of(settings, steps)
        if found is not None:
            yield f"{prefix}.{found[0]}", found[1], steps


def _warmup_is_short(point: Point) -> Iterator[Found]:
    for name, warmup, steps in _warmups(point):
        if warmup < 0.01 * steps:
            yield Found((name,), -warmup, _of_updates(warmup, steps))


def _warmup_is_long(point: Point) -> Iterator[Found]:
    for name, warmup, steps in _warmups(point):
        if 0.1 * steps + 0.5 < warmup < steps:
            yield Found((name,), warmup, _of_updates(warmup, steps))


def _warmup_is_all(point: Point) -> Iterator[Found]:
    for name, warmup, steps in _warmups(point):
        if warmup >= steps:
            yield Found((name,), warmup, _of_updates(warmup, steps))


def _of_updates(warmup: float, steps: int) -> str:
    return f"{warmup:.0f} of {steps:,} updates ({percent(warmup / steps)})"


def recommended_rates(width: float | None, depth: float | None) -> tuple[float, float]:
    """Lowest and highest recommended peak rate; the stricter where width and depth both speak."""
    by_width = next(
        (low, high)
        for below, low, high in RATES_BY_WIDTH
        if below is None or width is None or width < below
    )
    by_depth = next(
        (low, high)
        for below, low, high in RATES_BY_DEPTH
        if below is None or depth is None or depth < below
    )
    if by_depth[0] is None or by_depth[1] is None:
        return by_width
    return min(by_width[0], by_depth[0]), min(by_width[1], by_depth[1])


def _rates(point: Point) -> Iterator[tuple[tuple[str, ...], float, tuple[float, float], str]]:
    """(names, rate, recommended, of what) for each learning rate of a Transformer."""
    width, depth = point.number(*_WIDTHS), point.number("num_layers")
    if not point.is_transformer or (width is None and depth is None):
        return
    shape = [
        f"{word} {one[1]}" for word, one in (("width", width), ("depth", depth)) if one is not None
    ]
    limits = recommended_rates(width and width[1], depth and depth[1])
    names = tuple(one[0] for one in (width, depth) if one is not None)
    for prefix, settings, _ in point.recipes():
        rate = getattr(settings, "learning_rate")  # noqa: B009  # a field that `recipes` looked for
        yield (f"{prefix}.learning_rate", *names), rate, limits, " and ".join(shape)


def _rate_is_high(point: Point) -> Iterator[Found]:
    for names, rate, (_, high), shape in _rates(point):
        if rate > 2 * high:
            times = rate / high
            said = f"{rate_text(rate)} at {shape}, {times:.0f} times {rate_text(high)}"
            yield Found(names, times, said)


def _rate_is_low(point: Point) -> Iterator[Found]:
    for names, rate, (low, _), shape in _rates(point):
        if rate < low / 10:
            said = f"{rate_text(rate)} at {shape}, {rate_text(low)} divided by {low / rate:.0f}"
            yield Found(names, low / rate, said)


def _clip_of_an_rnn(point: Point) -> Iterator[Found]:
    clip = point.number("grad_clip")
    if clip is not None and point.is_transformer and clip[1] > 10:
        yield Found((clip[0],), clip[1], value_text(clip[1]))


def _deep_post_norm(point: Point) -> Iterator[Found]:
    norm, depth = point.find("norm"), point.number("num_layers")
    if norm is None or depth is None or not point.is_transformer:
        return
    if norm[1] == "post" and depth[1] >= 6:
        yield Found((norm[0], depth[0]), depth[1], f"post at depth {depth[1]}")


def _smoothing(point: Point) -> Iterator[Found]:
    for prefix, settings, steps in point.recipes():
        share = getattr(settings, "label_smoothing_factor", 0.0)
        if share > 0.1 and steps <= 1_000:
            said = f"{value_text(share)} for {steps} updates"
            yield Found((f"{prefix}.label_smoothing_factor",), share, said)


def _dropout(point: Point) -> Iterator[Found]:
    dropout, steps = point.number("dropout"), point.grid.total_steps
    if dropout is not None and dropout[1] > 0.2 and steps <= 1_000:
        said = f"{value_text(dropout[1])} for {steps} updates"
        yield Found((dropout[0],), dropout[1], said)


def _head_size(point: Point) -> Iterator[Found]:
    width, heads = point.number(*_WIDTHS), point.number("num_heads")
    if width is None or heads is None or not point.is_transformer:
        return
    size = width[1] / heads[1]
    if size < 16:
        said = f"heads of {size:g} at width {width[1]} with {heads[1]} heads"
        yield Found((heads[0], width[0]), -size, said)


RULES = (
    Rule(
        "warmup-short",
        _warmup_is_short,
        "1 to 10 percent of the updates",
        "AdamW's first steps divide by second moments that few gradients have told, and curvature "
        "is highest at the start: without a warmup they are too long.",
        "Devlin et al. 2019, arXiv:1810.04805 (1 percent); Liu et al. 2020, arXiv:1908.03265; Ma "
        "and Yarats 2019, arXiv:1910.04209",
    ),
    Rule(
        "warmup-long",
        _warmup_is_long,
        "1 to 10 percent of the updates",
        "A longer warmup spends updates far below the rate that was asked for. Deep stacks with "
        "norms after the sums may need it; others would rather have a lower rate.",
        "Vaswani et al. 2017, arXiv:1706.03762 (4 percent); Liu et al. 2019, arXiv:1907.11692 (5 "
        "to 6); Popel and Bojar 2018, arXiv:1804.00247",
    ),
    Rule(
        "warmup-is-all",
        _warmup_is_all,
        "a warmup that ends early in the budget",
        "The peak is reached with the last update and no decay follows: what is tuned as learning "
        "rate is hardly ever used.",
        "Gotmare et al. 2019, arXiv:1810.13243",
    ),
    Rule(
        "rate-high",
        _rate_is_high,
        "width below 512 3e-4, below 1,024 1e-4, else 5e-5 to 1e-4; depth 6 1e-4, 8 5e-5 to 8e-5, "
        "12 3e-5 to 5e-5; the lower of the two",
        "The wider or deeper, the more a step of the same size changes what the model computes. A "
        "short training from scratch of a small model bears several times more: measure it with "
        "`hpo lr-find`.",
        "search_spaces/league.toml; Brown et al. 2020, arXiv:2005.14165, table 2.1; Yang et al. "
        "2022, arXiv:2203.03466",
    ),
    Rule(
        "rate-low",
        _rate_is_low,
        "no less than a tenth of the rate recommended for width and depth",
        "In a budget of few updates so low a rate hardly moves the weights. That may be what is "
        "wanted, where fine-tuning costs what pretraining learned.",
        "search_spaces/league.toml; Brown et al. 2020, arXiv:2005.14165, table 2.1",
    ),
    Rule(
        "clip-of-an-rnn",
        _clip_of_an_rnn,
        "1.0 for a Transformer, 0.5 for a deep one",
        "Gradient norms of a Transformer that trains lie below 10, so that a clip made for "
        "recurrent nets never acts: the one update that it should have caught passes.",
        "Brown et al. 2020, arXiv:2005.14165, appendix B (1.0); for recurrent nets Pascanu et al. "
        "2013, arXiv:1211.5063",
    ),
    Rule(
        "deep-post-norm",
        _deep_post_norm,
        "norm = pre from depth 6 on, or a longer warmup and a lower rate",
        "With norms after the residual sums the gradients near the output are large and those "
        "below vanish with depth: deep stacks learn at first and then collapse, or never start.",
        "Xiong et al. 2020, arXiv:2002.04745; Wang et al. 2019, arXiv:1906.01787; Liu et al. "
        "2020, arXiv:2004.08249",
    ),
    Rule(
        "smoothing-unpaid",
        _smoothing,
        "at most 0.1 where there are at most 1,000 updates",
        "Smoothing slows what is learned at first and pays against overconfidence, which so few "
        "updates do not reach.",
        "Vaswani et al. 2017, arXiv:1706.03762 (0.1 over 100,000 updates); Müller et al. 2019, "
        "arXiv:1906.02629",
    ),
    Rule(
        "dropout-unpaid",
        _dropout,
        "at most 0.2 where there are at most 1,000 updates; 0 where nothing is seen twice",
        "Dropout pays against overfitting, which takes many passes over the data; until then it "
        "is only noise in the gradients.",
        "Vaswani et al. 2017, arXiv:1706.03762 (0.1 over 100,000 updates); search_spaces/"
        "depth.toml (0.1 cost two thirds of the score in 400 updates)",
    ),
    Rule(
        "head-size",
        _head_size,
        "heads of at least 16",
        "A head of that few dimensions cannot tell as many positions apart as a sentence has.",
        "Bhojanapalli et al. 2020, arXiv:2002.07028",
    ),
)


@dataclass
class _Tally:
    """What one rule found of the same settings."""

    drawn: int = 0
    found: list[Found] = field(default_factory=list)
    enqueued: list[int] = field(default_factory=list)


def advise(study: Study, rules: Sequence[Rule] = RULES) -> list[Note]:
    """The notes on a study, in the order of the rules."""
    rng = random.Random(0)  # noqa: S311  # examples, not secrets: the same ones every time
    space = study.space
    drawn = [
        space.walk(lambda _, parameter, base: parameter.draw(rng, base)) for _ in range(_DRAWS)
    ]
    tallies: dict[tuple[str, tuple[str, ...]], _Tally] = {}
    points = [*drawn, *study.enqueue, *end_points(space)]
    for place, realised in enumerate(points):
        groups = build_groups(space, study.spec, realised, where=label(space.path))
        point = Point(groups, study.protocol, study.grid)
        for rule in rules:
            for found in rule.look(point):
                tally = tallies.setdefault((rule.name, found.names), _Tally())
                tally.found.append(found)
                tally.drawn += place < _DRAWS
                if 0 <= place - _DRAWS < len(study.enqueue):
                    tally.enqueued.append(place - _DRAWS + 1)
    return [
        _note(rule, names, tally)
        for rule in rules
        for (name, names), tally in tallies.items()
        if name == rule.name
    ]


def _note(rule: Rule, names: tuple[str, ...], tally: _Tally) -> Note:
    furthest = max(tally.found, key=lambda found: found.value)
    return Note(rule, names, tally.drawn / _DRAWS, furthest.said, tuple(tally.enqueued))


def advice_page(study: Study, notes: Sequence[Note]) -> list[Text]:
    """The notes as the command prints them."""
    if not notes:
        return [Text(f"{study.name}: nothing in it goes against the recommendations.")]
    lines = [f"{study.name}: {count(len(notes), 'note')}. Nothing is refused for them."]
    for rule, group in groupby(notes, key=lambda note: note.rule):
        lines.append("")
        lines += [
            f"{note.names[0]} {'is' if note.share == 1 else 'reaches'} {note.furthest}; "
            f"concerns {_extent(note)}"
            for note in group
        ]
        lines += [f"  Recommended: {rule.recommended}.", f"  {rule.why}"]
        lines.append(f"  Source: {rule.source}.")
    return [Text(line) for line in lines]


def _extent(note: Note) -> str:
    """How much of the study it concerns."""
    if note.share == 1:
        return "all of the space"
    share = percent(note.share) if note.share >= 0.01 else "less than 1 %"
    points = ", ".join(map(str, note.enqueued))
    also = f", and of the points to try first: {points}" if points else ""
    return f"{share} of the space{also}"
