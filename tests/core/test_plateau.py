"""Reducing on a plateau: against torch where torch is right, and where it is not."""

from __future__ import annotations

import pytest
import torch

from core.plateau import PlateauRecipe, reduction
from core.settings import Recipe
from core.task import Metric

ERROR = Metric("error", "", "minimize", 100.0)
NMSE = Metric("NMSE", "dB", "minimize", 0.0)
BLEU = Metric("BLEU", "", "maximize", 0.0)
WATCHFUL = PlateauRecipe(
    lr_scheduler_type="reduce_on_plateau", plateau_patience=2, plateau_least=0.1
)


@pytest.mark.parametrize(
    ("metric", "values", "expected"),
    [
        (NMSE, [], 1.0),
        (NMSE, [-20, -21, -22, -23, -24], 1.0),
        # The best, then three that are no better: more than two.
        (NMSE, [-20, -19, -18], 1.0),
        (NMSE, [-20, -19, -18, -19], 0.5),
        # Counted anew after a reduction, and after a better value.
        (NMSE, [-20, -19, -18, -19, -19, -19], 0.5),
        (NMSE, [-20, -19, -18, -19, -19, -19, -19], 0.25),
        (NMSE, [-20, -19, -18, -21, -20, -20], 1.0),
        # Hardly better is not better; torch takes even -19.999 for better than -20.
        (NMSE, [-20, -20.001, -20.001, -19.999], 0.5),
        # Not below the least: 0.5, 0.25, 0.125, then 0.1.
        (NMSE, [-20] * 20, 0.1),
        (BLEU, [20, 21, 21, 20, 19], 0.5),
        (BLEU, [20, 19, 18, 17], 0.5),
    ],
)
def test_reductions(metric: Metric, values: list[float], expected: float) -> None:
    assert reduction(values, WATCHFUL, metric) == expected


def test_as_torch_has_it_for_values_above_zero() -> None:
    torch.manual_seed(1)
    values = (5 + torch.randn(60)).tolist()
    recipe = PlateauRecipe(lr_scheduler_type="reduce_on_plateau", plateau_least=0.05)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=5, threshold=1e-4, min_lr=0.05
    )
    for count, value in enumerate(values, start=1):
        theirs.step(value)
        assert reduction(values[:count], recipe, ERROR) == optimizer.param_groups[0]["lr"]


def test_other_schedules_do_not_look_at_evaluations() -> None:
    assert reduction([-20] * 9, PlateauRecipe(lr_scheduler_type="constant"), NMSE) == 1.0
    assert reduction([-20] * 9, Recipe(), NMSE) == 1.0
