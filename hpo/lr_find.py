"""Learning-rate range tests of a declared study, before any of it is run."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import did_you_mean
from core.settings import RunConfig, derive_seed
from core.task import Evaluation, Progress, Verdict
from hpo.analysis.range_test import RangeTest
from hpo.declarations import Study
from hpo.declarations.assembly import build_config, check_point
from hpo.declarations.narrowing import check_new, narrow, write_space
from hpo.declarations.overrides import parse_override
from hpo.declarations.parameters import Parameter
from hpo.folders import StudyFolder, make_private
from hpo.mistakes import DeclarationError
from hpo.names import label
from hpo.translating import placement_here

RATE = "learning_rate"


@dataclass(frozen=True)
class Ramp:
    """How the rate rises, and on how many seeds."""

    low: float = 1e-6
    high: float = 1.0
    steps: int = 120
    seeds: int = 3


def find_rates(
    study: Study,
    runs_dir: Path,
    ramp_of: Ramp,
    *,
    at: Sequence[str] = (),
    stage: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> RangeTest:
    """Tests the start configuration of a study, or its neighbour with what `at` says.

    Nothing of the study is touched, neither its database nor its folder; the stages before the one
    that is tested come from the runs folder's cache, or are trained and left there, as a trial
    would. By default that is the last stage.

    Args:
        at: `NAME=VALUE` for parameters of the search space.
        stage: another stage of the study's grid.

    Raises: DeclarationError for a point or stage that there is not, SettingsError for ends that
        are none, and what the task raises for its data.
    """
    tested = _stage_called(study, stage)
    if not 0 < ramp_of.low < ramp_of.high <= 1:
        raise DeclarationError(
            "the ramp must rise",
            where="--low and --high",
            got=f"{ramp_of.low:g} to {ramp_of.high:g}",
            allowed="0 < low < high <= 1",
        )
    point = choose_point(study, at)
    from core.range_test import ramp, range_test  # loads torch, which a mistake need not wait for

    folder = StudyFolder(make_private(runs_dir.expanduser()), study.name)
    facts = study.spec.prepare(study.protocol, study.data, folder.cache)
    config = build_config(study, point, facts, 0)
    rates = ramp(ramp_of.low, ramp_of.high, ramp_of.steps)
    placement = placement_here()
    losses = []
    for seed in range(1, ramp_of.seeds + 1):
        say(f"seed {seed} of {ramp_of.seeds}: {ramp_of.steps} updates of stage {tested}")
        own = _seeded(config, study, seed, is_first=tested == study.grid.stages[0][0])
        losses.append(range_test(own, placement, folder.cache, _Telling(say), rates, stage=tested))
    return RangeTest(study.name, tested, dict(point), rate_parameter(study, tested), rates, losses)


def check_narrowing(study: Study, ramp_of: Ramp, stage: str | None, path: Path) -> None:
    """Raises: DeclarationError for what `write_narrowed` is sure to refuse, before any test."""
    check_new(path)
    narrow(
        study.space, rate_parameter(study, _stage_called(study, stage)), ramp_of.low, ramp_of.high
    )


def write_narrowed(study: Study, found: RangeTest, path: Path) -> Path:
    """Writes the study's search space, its learning rate within the suggested range, to a file.

    Raises: DeclarationError where nothing of the declared range would be left.
    """
    assert found.suggested is not None
    narrowed = narrow(study.space, found.parameter, *found.suggested)
    comment = f"{study.space.name}, its {found.parameter} narrowed by hpo lr-find"
    return write_space(narrowed, path, comment=comment)


def _stage_called(study: Study, name: str | None) -> str:
    """The stage that is meant, the last one by default."""
    names = [stage for stage, _ in study.grid.stages]
    if name is not None and name not in names:
        raise DeclarationError(
            "there is no such stage",
            where="--stage",
            got=name,
            allowed=", ".join(names),
            way_out=did_you_mean(name, names),
        )
    return name or names[-1]


def rate_parameter(study: Study, stage: str) -> str:
    """The dotted name of a stage's learning rate: of the group that is called so, else of the only
    one that has a rate, else of the protocol."""
    groups = study.spec.groups
    having = [group for group, model in groups.items() if RATE in model.model_fields]
    if stage in having:
        return f"{stage}.{RATE}"
    if stage in type(study.protocol).model_fields or not having:
        return f"protocol.{stage}.{RATE}"
    return f"{having[0]}.{RATE}"


def choose_point(study: Study, at: Sequence[str]) -> dict[str, Any]:
    """The start configuration with the values that `at` gives; without one, a drawn point.

    A derived value that the start has and its new base does not becomes the first one there is.

    Raises: DeclarationError for what is no parameter, or no value of it.
    """
    given = {}
    for text in at:
        name, equals, _ = text.partition("=")
        if not equals or name not in study.space.parameters:
            raise DeclarationError(
                "names no parameter of the search space",
                where="--at",
                got=text,
                allowed=f"NAME=VALUE with {', '.join(study.space.parameters)}",
                way_out=did_you_mean(name, study.space.parameters),
            )
        given[name] = parse_override(f"value{equals}{text.partition('=')[2]}").value
    rng = random.Random(study.seed)  # noqa: S311  # an example, not a secret
    start: Mapping[str, Any] = study.start or {}

    def choose(name: str, parameter: Parameter, base: Any) -> Any:
        if name in given:
            raw = parameter.invert(given[name], base)
            if raw is None:
                raise DeclarationError(
                    "is not drawn by the search space",
                    where=f"--at {name}",
                    got=given[name],
                    allowed=parameter.describe(base),
                )
            return raw
        if name not in start:
            return parameter.draw(rng, base)
        raw = parameter.invert(start[name], base)
        return parameter.raw_end(base, last=False) if raw is None else raw

    point = study.space.walk(choose)
    idle = given.keys() - point.keys()
    if idle:
        raise DeclarationError(
            f"{', '.join(sorted(idle))} is not drawn at this point",
            where="--at",
            way_out="Give what it depends on, too.",
        )
    check_point(study.space, study.spec, study.protocol, point, where=label(study.space.path))
    return point


def _seeded(config: RunConfig, study: Study, seed: int, *, is_first: bool) -> RunConfig:
    """On a seed of its own. Later stages start from the weights that the study's trials do, which
    are trained once; a first stage from fresh ones."""
    own = derive_seed(study.seed, "range test", seed)
    changed = {"seed": own, "structure_seed": own} if is_first else {"seed": own}
    return config.model_copy(update=changed)


class _Telling:
    """Says of the stages before the tested one how far they are, at each evaluation."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def __call__(self, event: Progress | Evaluation) -> Verdict:
        if isinstance(event, Evaluation) and not event.replayed:
            self._say(f"stage {event.stage}, not cached yet: {event.step} updates done")
        return Verdict.CONTINUE
