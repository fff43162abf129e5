"""Parameter importance: PED-ANOVA and fANOVA side by side, with bootstrap bars, of all parameters
together, of each group by itself, and of the groups.

PED-ANOVA tells what matters for reaching the top; fANOVA what explains the scores' variance. On
few trials they disagree often, and the bars say how far to trust either.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Any, Literal

import numpy as np
import optuna
import pandas as pd
import plotly.graph_objects as go
from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator
from optuna.trial import FrozenTrial, TrialState, create_trial

from hpo.analysis.formats import count, is_finite, percent
from hpo.analysis.palette import (
    INK,
    MUTED,
    OUTCOMES,
    START,
    SURFACE,
    UNCLEAR,
    bare_figure,
    plot_text,
)
from hpo.analysis.tables import rows_of
from hpo.records import StudyRecord
from hpo.sampling import displayed_name

Direction = Literal["maximize", "minimize"]

TRIALS_NEEDED = 10
"""Complete trials without which either measure is noise."""
MOST_TRIALS = 100
"""For fANOVA, whose time grows faster than the trials: 1.5 s for 100 of them, 40 s for 1,000."""
RESAMPLES = 20
TREES, TREES_OF_A_RESAMPLE = 64, 8
BAR = (0.1, 0.9)
"""The quantiles over resamples that a bar's whisker joins."""

LEAST_SHARE = 0.01
"""A share below one percent reads as zero."""

PED_ANOVA, FANOVA = "PED-ANOVA", "fANOVA"
METHODS = (PED_ANOVA, FANOVA)
ALL, GROUPS = "all", "groups"
"""Scopes of the table beside the groups themselves."""
COLUMNS = ["scope", "parameter", "method", "importance", "low", "high", "is_clear"]
_WORDS = {"model": "structure", "finetune": "fine-tuning"}
"""What a group's name stands for."""


def importance_table(record: StudyRecord) -> pd.DataFrame:
    """One row a scope, parameter and method: scope, parameter, method, importance, low, high,
    is_clear.

    Scope `all` has every parameter; that of a group, such as `model`, its own alone; `groups` has
    the groups in place of parameters. Importances of a method and scope add up to one; `low` and
    `high` are bootstrap quantiles, and `is_clear` tells whether they overlap neither zero nor
    those of another in the scope. With one group there is scope `all` only. Constant parameters
    are left out; a conditional one has no row for fANOVA, which cannot judge it. Within a scope
    sorted by PED-ANOVA's importance. Empty where `importance_obstacle` gives a reason.
    """
    if importance_obstacle(record) is not None:
        return pd.DataFrame(columns=COLUMNS)
    trials = _complete_trials(record)
    with _quiet():
        found = {
            method: _resampled(method, some, record.metric.direction)
            for method, some in ((PED_ANOVA, trials), (FANOVA, _thinned(trials)))
        }
    rows = []
    for scope, regroup in _scopes([displayed_name(name) for name in _varied(trials)]):
        measured = [
            row for method in METHODS for row in _spread(scope, method, found[method], regroup)
        ]
        order = sorted(measured, key=lambda row: (METHODS.index(row[2]), -row[3]))
        place = {row[1]: at for at, row in reversed(list(enumerate(order)))}
        rows += sorted(measured, key=lambda row: (place[row[1]], METHODS.index(row[2])))
    return pd.DataFrame(rows, columns=COLUMNS)


def scopes_of(table: pd.DataFrame) -> list[tuple[str, str]]:
    """(scope, its title) in the order of the table."""
    return [(str(scope), _title(str(scope))) for scope in dict.fromkeys(table["scope"])]


def _title(scope: str) -> str:
    if scope == ALL:
        return "All parameters together"
    return "The groups" if scope == GROUPS else f"Within {group_name(scope)}"


def group_name(group: str) -> str:
    """A group of parameters in words: `structure (model)`."""
    return f"{_WORDS[group]} ({group})" if group in _WORDS else group


def leaders(table: pd.DataFrame) -> list[str]:
    """The parameters that matter most by PED-ANOVA, at most two."""
    rows = table[(table["scope"] == ALL) & (table["method"] == PED_ANOVA)]
    return list(rows["parameter"])[:2]


def importance_sentences(table: pd.DataFrame) -> list[str]:
    """What matters most by either method, whether that is told from chance, and by group."""
    said = []
    for method in METHODS:
        rows = table[(table["scope"] == ALL) & (table["method"] == method)]
        if rows.empty:
            continue
        first = max(rows_of(rows), key=lambda row: row["importance"])
        clear = [row["parameter"] for row in rows_of(rows) if row["is_clear"]]
        told = (
            "no other parameter's bar reaches it"
            if first["parameter"] in clear
            else "its bar overlaps another's, so the order may be chance"
        )
        said.append(f"By {method}, {first['parameter']} matters most, {_share(first)}: {told}.")
    for method in METHODS:
        rows = table[(table["scope"] == GROUPS) & (table["method"] == method)]
        each = ", ".join(f"{group_name(row['parameter'])} {_share(row)}" for row in rows_of(rows))
        if each:
            said.append(f"By {method}, of the groups: {each}.")
    return said


def _share(row: dict[str, Any]) -> str:
    bar = f"{percent(row['low'])} to {percent(row['high'])}"
    return f"{percent(row['importance'])} ({bar})"


def importance_obstacle(record: StudyRecord) -> str | None:
    """Why there is no importance to show; None where there is."""
    trials = _complete_trials(record)
    if len(trials) < TRIALS_NEEDED:
        return (
            f"Not enough trials: importance needs {TRIALS_NEEDED} complete trials, and there "
            f"{'is' if len(trials) == 1 else 'are'} {len(trials)}."
        )
    if not _varied(trials):
        return "No parameter varies in this study, so none can be important."
    if len({trial.value for trial in trials}) == 1:
        return (
            f"All {len(trials)} complete trials have the same score: nothing is to be explained."
        )
    return None


def importance_notes(record: StudyRecord) -> list[str]:
    """What the figure rests on and what it leaves out."""
    trials = _complete_trials(record)
    top = math.ceil(_target_quantile(len(trials)) * len(trials))
    notes = [
        f"PED-ANOVA asks what separates the best {top} of {count(len(trials), 'complete trial')} "
        "from the rest; fANOVA asks what explains the differences between all of them. Whiskers "
        f"join the {100 * BAR[0]:.0f} % and {100 * BAR[1]:.0f} % quantiles over {RESAMPLES} "
        "resamples of the trials. Grey bars overlap zero or another parameter's: their order may "
        "be chance."
    ]
    if len(trials) > MOST_TRIALS:
        notes.append(f"fANOVA looks at {MOST_TRIALS} of the trials, evenly spaced.")
    varied = _varied(trials)
    constant = {name for trial in trials for name in trial.distributions} - set(varied)
    if constant:
        notes.append(f"Left out because they are constant: {_listed(constant)}.")
    conditional = {name for name in varied if any(name not in t.params for t in trials)}
    if conditional:
        notes.append(
            f"Drawn in some trials only, so that fANOVA cannot judge them: {_listed(conditional)}."
        )
    return notes


def draw_importance(table: pd.DataFrame) -> go.Figure:
    """Two bars a parameter of one scope with their whiskers, the most important one on top."""
    names = [_two_lines(name) for name in dict.fromkeys(table["parameter"])]
    figure = bare_figure("share of importance", "", height=130 + 52 * len(names))
    looks = ((PED_ANOVA, OUTCOMES["complete"].colour, ""), (FANOVA, START, "/"))
    for method, colour, pattern in looks:
        for is_clear in (True, False):
            rows = table[(table["method"] == method) & (table["is_clear"] == is_clear)]
            if rows.empty:
                continue
            importance = rows["importance"]
            figure.add_bar(
                y=[_two_lines(name) for name in rows["parameter"]],
                x=importance.round(4).tolist(),
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": (rows["high"] - importance).round(4).tolist(),
                    "arrayminus": (importance - rows["low"]).round(4).tolist(),
                    "color": INK,
                    "thickness": 1.5,
                    "width": 4,
                },
                orientation="h",
                offsetgroup=method,
                marker={
                    "color": colour if is_clear else UNCLEAR,
                    "pattern": {
                        "shape": pattern,
                        "fillmode": "overlay",
                        "fgcolor": SURFACE,
                        "size": 6,
                        "solidity": 0.25,
                    },
                },
                name=method if is_clear else f"{method}, not told apart",
                hovertemplate=f"%{{y}}<br>{method}: %{{x:.2f}}<extra></extra>",
            )
    figure.update_layout(barmode="group", bargap=0.35, legend_traceorder="normal")
    figure.update_layout(legend_font_color=MUTED)
    figure.update_yaxes(
        categoryorder="array",
        categoryarray=names,
        autorange="reversed",
        ticks="",
        gridcolor="rgba(0,0,0,0)",
        tickfont={"color": INK},
    )
    figure.update_xaxes(range=[0, 1], tickformat=".0%")
    return figure


def _resampled(
    method: str, trials: Sequence[FrozenTrial], direction: Direction
) -> list[dict[str, float]]:
    """Core's name -> importance: of the trials themselves first, then of each resample."""
    found = [_importances(method, trials, direction, trees=TREES)]
    generator = np.random.default_rng(0)
    for _ in range(RESAMPLES):
        drawn = [trials[i] for i in generator.integers(len(trials), size=len(trials))]
        shares = _importances(method, drawn, direction, trees=TREES_OF_A_RESAMPLE)
        if shares:
            found.append(shares)
    return [{displayed_name(name): share for name, share in one.items()} for one in found]


def _scopes(names: Sequence[str]) -> Iterator[tuple[str, Callable[[str], str | None]]]:
    """(scope, what a parameter is counted under in it, or None)."""
    yield ALL, lambda name: name
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_group_of(name), []).append(name)
    if len(groups) < 2:
        return
    for group, members in groups.items():
        if len(members) > 1:
            yield group, lambda name, group=group: name if _group_of(name) == group else None  # type: ignore[misc]
    yield GROUPS, _group_of


def _spread(
    scope: str,
    method: str,
    found: Sequence[dict[str, float]],
    regroup: Callable[[str], str | None],
) -> list[tuple[str, str, str, float, float, float, bool]]:
    """Rows of the table: shares of a scope, with the quantiles over resamples."""
    regrouped = [shares for one in found if (shares := _normed(one, regroup))]
    if not regrouped:
        return []
    whole, resamples = regrouped[0], regrouped[1:] or regrouped[:1]
    bars = {}
    for name, share in whole.items():
        low, high = np.quantile([shares.get(name, 0.0) for shares in resamples], BAR)
        # The quantiles of resamples need not hold the value itself between them.
        bars[name] = min(float(low), share), max(float(high), share)

    def is_clear(name: str) -> bool:
        low, high = bars[name]
        others = (bar for other, bar in bars.items() if other != name)
        return low >= LEAST_SHARE and all(high < under or over < low for under, over in others)

    return [
        (scope, name, method, share, *bars[name], is_clear(name)) for name, share in whole.items()
    ]


def _normed(shares: dict[str, float], regroup: Callable[[str], str | None]) -> dict[str, float]:
    summed: dict[str, float] = {}
    for name, share in shares.items():
        under = regroup(name)
        if under is not None:
            summed[under] = summed.get(under, 0.0) + share
    total = sum(summed.values())
    return {name: share / total for name, share in summed.items()} if total > 0 else {}


def _group_of(name: str) -> str:
    return name.partition(".")[0]


def _importances(
    method: str, trials: Sequence[FrozenTrial], direction: Direction, *, trees: int
) -> dict[str, float]:
    """Optuna's name -> importance; empty where the trials show no difference."""
    if len({trial.value for trial in trials}) == 1:
        return {}
    study = _Drawn(optuna.create_study(direction=direction), trials)
    if method == PED_ANOVA:
        quantile = _target_quantile(len(trials))
        found = PedAnovaImportanceEvaluator(target_quantile=quantile).evaluate(study)
    else:
        try:
            found = FanovaImportanceEvaluator(n_trees=trees, seed=0).evaluate(study)
        except RuntimeError:
            # "zero total variance in all trees": equal parameters with unequal scores.
            return {}
    varied = set(_varied(trials))
    shares = {name: float(value) for name, value in found.items() if name in varied}
    return shares if sum(shares.values()) > 0 else {}


class _Drawn(optuna.Study):
    """A study that has these trials; adding them to one would copy all that each one holds."""

    def __init__(self, empty: optuna.Study, trials: Sequence[FrozenTrial]) -> None:
        self.__dict__.update(vars(empty))
        self._drawn = [copy(trial) for trial in trials]
        for number, trial in enumerate(self._drawn):
            trial.number = trial._trial_id = number

    def get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """All of them, which are complete."""
        return self._drawn


def _target_quantile(trials: int) -> float:
    """Optuna's default of a tenth, and at least two trials, fewer of which have no density."""
    return max(0.1, 2 / trials)


def _complete_trials(record: StudyRecord) -> list[FrozenTrial]:
    """The finished ones as the evaluators need them: resampling copies each many times."""
    complete = record.optuna_study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [
        create_trial(value=trial.value, params=trial.params, distributions=trial.distributions)
        for trial in complete
        if is_finite(trial.value)
    ]


def _varied(trials: Sequence[FrozenTrial]) -> list[str]:
    """Optuna's names of the parameters that could take more than one value, sorted."""
    return sorted(
        {
            name
            for trial in trials
            for name, distribution in trial.distributions.items()
            if not distribution.single()
        }
    )


def _thinned(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    if len(trials) <= MOST_TRIALS:
        return trials
    return [trials[i] for i in np.linspace(0, len(trials) - 1, MOST_TRIALS).round().astype(int)]


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(displayed_name(name) for name in names))


def _two_lines(name: str) -> str:
    """The name broken after its group, so that it fits beside bars on a phone."""
    group, dot, field = name.rpartition(".")
    return f"{plot_text(group)}{dot}<br>{plot_text(field)}" if dot else plot_text(name)


@contextmanager
def _quiet() -> Iterator[None]:
    """Neither Optuna's warnings on few trials, which the notes replace, nor its log of studies."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)
