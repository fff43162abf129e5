"""Parameter importance: PED-ANOVA and fANOVA side by side, with bootstrap bars.

PED-ANOVA tells what matters for reaching the top; fANOVA what explains the scores' variance. On
few trials they disagree often, and the bars say how far to trust either.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import numpy as np
import optuna
import pandas as pd
import plotly.graph_objects as go
from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator
from optuna.trial import FrozenTrial, TrialState, create_trial

from hpo.analysis.formats import count, is_finite
from hpo.analysis.palette import MUTED, OUTCOMES, START, bare_figure, plot_text
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

PED_ANOVA, FANOVA = "PED-ANOVA", "fANOVA"
COLUMNS = ["parameter", "method", "importance", "low", "high"]


def importance_table(record: StudyRecord) -> pd.DataFrame:
    """One row a parameter and method: parameter, method, importance, low, high.

    Importances of a method add up to one; `low` and `high` are bootstrap quantiles. Constant
    parameters are left out; a conditional one has no row for fANOVA, which cannot judge it.
    Sorted by PED-ANOVA's importance. Empty where `importance_obstacle` gives a reason.
    """
    if importance_obstacle(record) is not None:
        return pd.DataFrame(columns=COLUMNS)
    trials = _complete_trials(record)
    with _quiet():
        rows = [
            *_measured(PED_ANOVA, trials, record.metric.direction),
            *_measured(FANOVA, _thinned(trials), record.metric.direction),
        ]
    table = pd.DataFrame(rows, columns=COLUMNS)
    by_name = table.sort_values(["method", "importance"], ascending=False)
    order = list(dict.fromkeys(by_name.loc[by_name["method"] == PED_ANOVA, "parameter"]))
    return table.sort_values(
        ["parameter", "method"],
        key=lambda column: column.map(order.index) if column.name == "parameter" else column,
        ignore_index=True,
    )


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
        "resamples of the trials: long ones mean that the order may be chance."
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
    """Two bars a parameter with their whiskers, the most important one on top."""
    parameters = list(dict.fromkeys(table["parameter"]))
    figure = bare_figure("share of importance", "", height=130 + 52 * len(parameters))
    looks = ((PED_ANOVA, OUTCOMES["complete"].colour), (FANOVA, START))
    for method, colour in looks:
        rows = table[table["method"] == method]
        importance = rows["importance"]
        figure.add_bar(
            y=[_two_lines(name) for name in rows["parameter"]],
            x=importance.tolist(),
            error_x={
                "type": "data",
                "symmetric": False,
                # The quantiles of resamples need not hold the value itself between them.
                "array": (rows["high"] - importance).clip(lower=0).tolist(),
                "arrayminus": (importance - rows["low"]).clip(lower=0).tolist(),
                "color": MUTED,
                "thickness": 1.5,
                "width": 4,
            },
            orientation="h",
            marker={"color": colour},
            name=method,
            hovertemplate=f"%{{y}}<br>{method}: %{{x:.2f}}<extra></extra>",
        )
    figure.update_layout(barmode="group", bargap=0.35, legend_traceorder="normal")
    figure.update_yaxes(autorange="reversed", ticks="", gridcolor="rgba(0,0,0,0)")
    figure.update_xaxes(range=[0, 1], tickformat=".0%")
    return figure


def _measured(
    method: str, trials: Sequence[FrozenTrial], direction: Direction
) -> list[tuple[str, str, float, float, float]]:
    """(name, method, importance, low, high) for each parameter that varies."""
    whole = _shares(method, trials, direction, trees=TREES)
    generator = np.random.default_rng(0)
    resampled = []
    for _ in range(RESAMPLES):
        drawn = [trials[i] for i in generator.integers(len(trials), size=len(trials))]
        shares = _shares(method, drawn, direction, trees=TREES_OF_A_RESAMPLE)
        if shares:
            resampled.append(shares)
    rows = []
    for name, share in sorted(whole.items()):
        spread = [shares.get(name, 0.0) for shares in resampled] or [share]
        low, high = np.quantile(spread, BAR)
        rows.append((displayed_name(name), method, share, float(low), float(high)))
    return rows


def _shares(
    method: str, trials: Sequence[FrozenTrial], direction: Direction, *, trees: int
) -> dict[str, float]:
    """Optuna's name -> share of importance; empty where the trials show no difference."""
    if len({trial.value for trial in trials}) == 1:
        return {}
    study = optuna.create_study(direction=direction)
    study.add_trials(trials)
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
    found = {name: float(value) for name, value in found.items() if name in varied}
    total = sum(found.values())
    return {name: value / total for name, value in found.items()} if total > 0 else {}


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
