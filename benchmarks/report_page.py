"""How large the report of a study of many trials is, and how fast Chromium opens it.

    python -m benchmarks.report_page [TRIALS ...] [--steps 2000] [--out FOLDER]

Makes studies that never ran, of the league's ten parameters: curves, telemetry, texts, slots.
Writes the page of each and opens it three times in Debian's Chromium, which Playwright drives:
until the page can be used, its tables laid out and the figures in sight drawn, and until all
figures are. CPU is the processor time of the page's main thread up to each, which a busy machine
stretches less. Without Playwright or Chromium only the size is told. The pages stay in `--out`.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import optuna
import pandas as pd
from optuna.trial import TrialState, create_trial

from core.health import ALARM_NORM
from core.task import Cost, Health
from hpo.analysis.report import write_report
from hpo.declarations import Study, load_study
from hpo.records import StudyRecord, TrialRecord
from hpo.sampling import SpacePoints
from hpo.spans import Span

if TYPE_CHECKING:
    from playwright.sync_api import CDPSession, Page

_STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED}
_NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
_OPENINGS = 3
_SLOTS, _TRIAL_S = 8, 90.0
_SENTENCES = 200
_WORDS = [
    "a",
    "man",
    "woman",
    "dog",
    "child",
    "red",
    "bike",
    "street",
    "plays",
    "the",
    "in",
    "with",
]


def main() -> None:
    """Makes, writes, opens; prints a row of a Markdown table for each number of trials."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("trials", nargs="*", type=int, help="1000 and 5000 by default")
    parser.add_argument("--steps", type=int, default=2_000, help="of a trial's telemetry")
    parser.add_argument("--out", type=Path, default=Path("report_pages"))
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    print(
        "| trials | page (MB) | written in (s) | in use (s) | all drawn (s) | CPU: in use | all |"
    )
    print("|---|---|---|---|---|---|---|")
    for trials in arguments.trials or [1_000, 5_000]:
        record = make_study(arguments.out / f"study{trials}", trials, arguments.steps)
        begun = time.perf_counter()
        page = write_report(record, arguments.out / f"report{trials}.html")
        written_s = time.perf_counter() - begun
        opened = _open(page)
        shown = (
            "– | – | – | –"
            if opened is None
            else " | ".join(f"{statistics.median(some):.1f}" for some in opened)
        )
        size = page.stat().st_size / 1e6
        print(f"| {trials:,} | {size:.1f} | {written_s:.0f} | {shown} |", flush=True)


def make_study(folder: Path, trials: int, steps: int) -> StudyRecord:
    """A study of the league with so many trials, a quarter of them pruned and some unstable."""
    declared = load_study("league", data="pocket")
    shutil.rmtree(folder, ignore_errors=True)
    points = SpacePoints(declared.space, declared.spec.structure_group)
    generator = np.random.default_rng(0)
    study = optuna.create_study(direction="maximize")
    made: list[TrialRecord] = []
    frozen = []
    for number in range(trials):
        drawn = points.draw(generator)
        trial = _trial(declared, folder, number, points.realise(drawn), steps)
        made.append(trial)
        frozen.append(
            create_trial(
                state=_STATES[trial.state],
                value=trial.value,
                params=drawn,
                distributions={name: points.distributions[name] for name in drawn},
            )
        )
    study.add_trials(frozen)
    return StudyRecord(
        name=f"made_{trials}",
        task="translation",
        metric=declared.spec.metric,
        grid=declared.grid,
        folder=folder,
        declaration=declared.as_json(),
        facts={},
        trials=tuple(made),
        readings=(),
        elapsed_s=trials * _TRIAL_S / _SLOTS,
        total=trials,
        is_owned=False,
        final_line=declared.spec.final_line,
        optuna_study=study,
    )


def _trial(
    declared: Study, folder: Path, number: int, parameters: Mapping[str, Any], steps: int
) -> TrialRecord:
    """A trial with its folder; every seventh is unstable, every fourth pruned after stage A."""
    generator = np.random.default_rng([1, number])
    grid, place = declared.grid, folder / "trials" / f"{number:04d}"
    rate = float(parameters["finetune.learning_rate"])
    top = 34 - 2 * (np.log10(rate) + 4) ** 2 - 0.4 * abs(parameters["model.num_layers"] - 5)
    is_pruned, is_unstable = number % 4 == 3, number % 7 == 5
    end = grid.stage_end(grid.stages[0][0]) if is_pruned else grid.total_steps
    curve = {
        step: round(float(top * (1 - np.exp(-step / 400)) + generator.normal(0, 0.3)), 4)
        for step in range(grid.eval_every, end + 1, grid.eval_every)
    }
    (place / "artifacts").mkdir(parents=True)
    norms = _write_telemetry(place, generator, steps, rate, is_unstable=is_unstable)
    if not is_pruned:
        _write_texts(place / "artifacts", generator, end)
    health = Health(
        "unstable" if is_unstable else "healthy",
        grad_norm_median=float(np.median(norms)),
        grad_norm_p95=float(np.quantile(norms, 0.95)),
        grad_norm_max=float(norms.max()),
        steps_above_alarm=int((norms > ALARM_NORM).sum()),
    )
    begun = _NOON + timedelta(seconds=_TRIAL_S * (number // _SLOTS))
    ended = begun + timedelta(seconds=_TRIAL_S * (0.6 if is_pruned else 0.98))
    state = "pruned" if is_pruned else "complete"
    return TrialRecord(
        number=number,
        state=state,
        value=curve[end],
        reason=f"behind other trials at step {end}" if is_pruned else "",
        parameters=parameters,
        curve=curve,
        folder=place,
        started=begun,
        ended=ended,
        attempts=1,
        health=asdict(health),
        cost=asdict(Cost(prepare_s=0.5, pretrain_s=50, finetune_s=20, evaluate_s=15)),
        device="made",
        ending="stopped" if is_pruned else "completed",
        spans=(Span(number, f"gpu {number % _SLOTS}", begun, ended, state),),
    )


def _write_telemetry(
    place: Path, generator: np.random.Generator, steps: int, rate: float, *, is_unstable: bool
) -> npt.NDArray[np.float64]:
    """Writes a run's telemetry of one row a step; returns its gradient norms."""
    step = np.arange(1, steps + 1)
    noise = generator.lognormal(0, 0.25, steps)
    norms = (0.6 + 5 * np.exp(-step / 60)) * noise
    losses = 3 + 6 * np.exp(-step / 300) + generator.normal(0, 0.1, steps)
    if is_unstable:
        bad = generator.integers(steps // 2, steps, 4)
        norms[bad], losses[bad] = 40.0, 12.0
    is_last = step > 0.75 * steps
    pd.DataFrame(
        {
            "stage": pd.Categorical(np.where(is_last, "finetune", "pretrain")),
            "step": step.astype(np.int32),
            "loss": losses.astype(np.float32),
            "learning_rate": np.where(is_last, rate * (2 - step / steps), 7e-4).astype(np.float32),
            "grad_norm": norms.astype(np.float32),
            "clipped": norms > 1,
            "amp_scale": np.full(steps, np.nan, np.float32),
        }
    ).to_parquet(place / "telemetry.parquet")
    return norms


def _write_texts(folder: Path, generator: np.random.Generator, step: int) -> None:
    """Sources, references and hypotheses; one word in five of a hypothesis is another."""
    shared = np.random.default_rng(2)
    lines = [shared.choice(_WORDS, 12) for _ in range(_SENTENCES)]
    texts = {"src": [" ".join(line).upper() for line in lines]}
    texts["ref"] = [" ".join(line) for line in lines]
    wrong = (np.where(generator.random(12) < 0.2, generator.choice(_WORDS, 12), o) for o in lines)
    texts["hyp"] = [" ".join(line) for line in wrong]
    for name, some in texts.items():
        (folder / f"step{step:06d}.validation.{name}").write_text("\n".join(some) + "\n", "utf-8")


def _open(page: Path) -> tuple[list[float], ...] | None:
    """Seconds until the page can be used, until all is drawn, and of its main thread's processor
    until either, of each opening; None without a browser to open it."""
    chromium = shutil.which("chromium")
    if chromium is None or find_spec("playwright") is None:
        return None
    from playwright.sync_api import sync_playwright

    rows = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for _ in range(_OPENINGS):
            tab = browser.new_page(viewport={"width": 1280, "height": 800})
            session = tab.context.new_cdp_session(tab)
            session.send("Performance.enable", {"timeDomain": "threadTicks"})
            tab.goto(page.absolute().as_uri(), wait_until="commit")
            marks = [_wait_for(tab, session, name) for name in ("in-use", "all-drawn")]
            rows.append([seconds for pair in zip(*marks, strict=True) for seconds in pair])
            tab.close()
        browser.close()
    return tuple(list(column) for column in zip(*rows, strict=True))


def _wait_for(tab: Page, session: CDPSession, mark: str) -> tuple[float, float]:
    """When the page set a mark, and its main thread's processor time, rather later."""
    while True:
        found = tab.evaluate(f"performance.getEntriesByName('{mark}').map((m) => m.startTime)")
        metrics = session.send("Performance.getMetrics")["metrics"]
        if found:
            cpu_s = next(one["value"] for one in metrics if one["name"] == "TaskDuration")
            return found[0] / 1e3, cpu_s
        time.sleep(0.02)


if __name__ == "__main__":
    main()
