"""A world in which runs cost what a law says, give or take: start-up, power, overhead, noise."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.task import Cost, Evaluation, Health, Load, Outcome, OutcomeState
from hpo.costs import effort_of
from hpo.declarations import Study
from hpo.declarations.assembly import build_groups

Groups = Mapping[str, Mapping[str, Any]]


def draw_groups(study: Study, rng: random.Random) -> Groups:
    """The groups of a random point, complete with defaults."""
    point = study.space.walk(lambda _, parameter, base: parameter.draw(rng, base))
    built = build_groups(study.space, study.spec, point, where="here")
    return {group: settings.model_dump(mode="json") for group, settings in built.items()}


@dataclass
class World:
    """Runs of a study; `noise` is a run's own, in the logarithm."""

    study: Study
    rng: random.Random
    noise: float = 0.1
    slope: float = 1.0
    flop_s: float = 1 / 4e10
    call_s: float = 1e-5
    second_stage: float = 1.2
    decoding: float = 1.5
    start_s: float = 0.4

    @classmethod
    def drawn(cls, study: Study, rng: random.Random) -> World:
        return cls(
            study,
            rng,
            slope=rng.choice([0.9, 1.0, 1.05]),
            flop_s=math.exp(rng.gauss(math.log(1 / 4e10), 0.8)),
            call_s=math.exp(rng.gauss(math.log(1e-5), 0.7)),
            second_stage=math.exp(rng.gauss(0, 0.2)),
        )

    def seconds(self, load: Load) -> float:
        """What a load takes before any noise."""
        return 1e9 * self.flop_s * (load.flops / 1e9) ** self.slope + load.calls * self.call_s

    def run(
        self, groups: Groups, *, cached: bool = False, to_step: int | None = None
    ) -> tuple[Outcome, float]:
        """An outcome and the seconds from its start to its end."""
        grid = self.study.grid
        total = grid.total_steps
        to_step = total if to_step is None else to_step
        effort = effort_of(self.study.spec, self.study.protocol, grid, groups)
        deviation = math.exp(self.rng.gauss(0, self.noise))

        def spend(load: Load) -> float:
            return self.seconds(load) * deviation * math.exp(self.rng.gauss(0, self.noise / 3))

        (first, first_steps), (second, _) = grid.stages
        pretrain_s = 0.0 if cached else min(to_step, first_steps) * spend(effort.updates[first])
        finetune_s = self.second_stage * spend(effort.updates[second])
        finetune_s *= max(to_step - first_steps, 0)
        curve = tuple(
            Evaluation(
                first if step <= first_steps else second,
                step,
                1.0,
                replayed=cached and step <= first_steps,
            )
            for step in range(grid.eval_every, to_step + 1, grid.eval_every)
        )
        evaluate_s = sum(
            self.decoding * spend(effort.final if one.step == total else effort.evaluation)
            for one in curve
            if not one.replayed
        )
        prepare_s = self.start_s * math.exp(self.rng.gauss(0, 0.2))
        outcome = Outcome(
            state=OutcomeState.COMPLETED if to_step == total else OutcomeState.PAUSED,
            step=to_step,
            value=1.0,
            curve=curve,
            health=Health("healthy"),
            cost=Cost(prepare_s, pretrain_s, finetune_s, evaluate_s, cache_hit=cached),
        )
        return outcome, prepare_s + pretrain_s + finetune_s + evaluate_s
