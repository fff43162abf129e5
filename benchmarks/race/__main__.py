"""Equal wall-clock and slots on the built-in corpus: best validation BLEU over time.

    python -m benchmarks.race [--seconds 240] [--jobs 1] [--seeds 5] [--out FOLDER]

Writes `race.csv`, a row for each time a contestant's best score rose, and `race.html`, the median
over seeds with the band from the lowest to the highest. A score counts when its trial is complete.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import plotly.graph_objects as go

from benchmarks.race.contestants import CONTESTANTS, Contestant
from hpo import load_study
from hpo.events import Event, TrialEnded
from hpo.launch import launch
from hpo.options import RunOptions

STUDY = Path(__file__).with_name("study.toml")
Climb = list[tuple[float, float]]
"""(seconds since the start, best score from then on), in order."""


def main() -> None:
    arguments = _parse()
    arguments.out.mkdir(parents=True, exist_ok=True)
    chosen = [one for one in CONTESTANTS if one.name in arguments.contestants.split(",")]
    climbs: dict[str, list[Climb]] = {one.name: [] for one in chosen}
    with (arguments.out / "race.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("contestant", "seed", "seconds", "best"))
        for seed in range(1, arguments.seeds + 1):
            for one in chosen:
                climb = race(one, seed, arguments.seconds, arguments.jobs)
                climbs[one.name].append(climb)
                table.writerows((one.name, seed, round(at, 2), best) for at, best in climb)
                file.flush()
                last = climb[-1] if climb else (0.0, 0.0)
                print(f"seed {seed}  {one.name:8} {last[1]:.2f} at {last[0]:.0f} s", flush=True)
    _summarize(climbs, arguments.seconds)
    _draw(climbs, arguments.seconds).write_html(arguments.out / "race.html")


def race(contestant: Contestant, seed: int, seconds: float, jobs: int) -> Climb:
    """One contestant's run."""
    study = load_study(STUDY, overrides=contestant.settings, name=contestant.name, seed=seed)
    climb: Climb = []
    trials = 0
    began = time.monotonic()

    def watch(event: Event) -> None:
        nonlocal trials
        if isinstance(event, TrialEnded) and event.outcome == "complete":
            trials += 1
            if event.is_best and event.value is not None:
                climb.append((time.monotonic() - began, event.value))

    with tempfile.TemporaryDirectory() as folder:
        launch(
            study,
            RunOptions(time_limit_s=seconds, jobs=jobs, runs_dir=Path(folder)),
            watch,
            make_slots=contestant.slots,
            scheduler=contestant.scheduler,
        )
    print(f"  {contestant.name}: {trials} complete, {time.monotonic() - began:.0f} s", flush=True)
    return climb


def best_at(climb: Climb, seconds: float) -> float:
    """The best score so far at a time; 0 before the first."""
    return max((best for at, best in climb if at <= seconds), default=0.0)


def _summarize(climbs: dict[str, list[Climb]], seconds: float) -> None:
    print("\ncontestant  final: mean  median  lowest  highest   reaches random's final after")
    for name, runs in climbs.items():
        finals = [best_at(climb, seconds) for climb in runs]
        print(
            f"{name:10} {statistics.fmean(finals):12.2f} {statistics.median(finals):7.2f} "
            f"{min(finals):7.2f} {max(finals):8.2f}   {_overtakes(climbs, name, seconds)}"
        )


def _overtakes(climbs: dict[str, list[Climb]], name: str, seconds: float) -> str:
    """When the mean over seeds first reaches random search's final mean, as a share of its time.

    Random search itself is measured by when it came to its final level.
    """
    if "random" not in climbs:
        return ""
    goal = statistics.fmean(best_at(climb, seconds) for climb in climbs["random"])
    times = sorted({at for climb in climbs[name] for at, _ in climb})
    for at in times:
        if statistics.fmean(best_at(climb, at) for climb in climbs[name]) >= goal:
            return f"{at:.0f} s, {at / seconds:.2f} of the time"
    return "never"


def _draw(climbs: dict[str, list[Climb]], seconds: float) -> go.Figure:
    figure = go.Figure()
    times = [seconds * step / 200 for step in range(201)]
    colours = ("#0072b2", "#d55e00", "#009e73")
    for (name, runs), colour in zip(climbs.items(), colours, strict=False):
        columns = [sorted(best_at(climb, at) for climb in runs) for at in times]
        _add_band(figure, times, columns, colour)
        middle = [statistics.median(column) for column in columns]
        figure.add_scatter(x=times, y=middle, name=name, line={"color": colour, "shape": "hv"})
    figure.update_layout(
        template="plotly_white",
        title="Best validation score over time: median and range over seeds",
        xaxis_title="seconds",
        yaxis_title="BLEU",
    )
    return figure


def _add_band(
    figure: go.Figure, times: Sequence[float], columns: Sequence[Sequence[float]], colour: str
) -> None:
    edge = {"width": 0, "shape": "hv"}
    figure.add_scatter(
        x=times,
        y=[column[-1] for column in columns],
        line=edge,
        showlegend=False,
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=times,
        y=[column[0] for column in columns],
        line=edge,
        fill="tonexty",
        fillcolor=f"rgba{(*bytes.fromhex(colour[1:]), 0.15)}",
        showlegend=False,
        hoverinfo="skip",
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.race", description=(__doc__ or "").split("\n", 1)[0]
    )
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--contestants", default=",".join(one.name for one in CONTESTANTS), help="by comma"
    )
    parser.add_argument("--out", type=Path, default=Path("race"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
