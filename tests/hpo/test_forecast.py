"""What is foretold of repeats: finalists of one structure share its stage A on a fresh seed."""

from __future__ import annotations

from toy_bench import MakeBench

from core.task import Facts
from hpo.costs import CostModel
from hpo.forecast import Forecast
from hpo.pruners import build_pruner
from hpo.roster import Roster


def test_the_first_repeat_of_a_structure_pays_its_stage_a(bench: MakeBench) -> None:
    space = 'task = "toy"\n[parameters]\n"model.width" = { type = "int", low = 5, high = 6 }\n'
    one = bench({"protocol.first_steps": 30, "sampler.name": "random"}, space=space)
    one.run(6)
    study = one.study
    pruner = build_pruner(study.pruner, study.grid)
    roster = Roster(study, Facts({"data": "d" * 64}), one.found, one.folder, pruner)
    forecast = Forecast(study, CostModel(study), roster)
    widths = {n: roster.realised(n)["model.width"] for n in range(6)}
    first, other = ([n for n, width in widths.items() if width == wanted] for wanted in (5, 6))
    paid, shared, apart = (p.seconds for p in forecast.of_repeats([*first[:2], other[0]]))
    assert shared < paid
    assert apart > shared
