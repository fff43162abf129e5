"""Loads a study: its file, what overrides it, and the search space that it names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from core.errors import did_you_mean
from core.settings import Settings
from core.task import TaskSpec
from hpo.declarations.assembly import check_point, check_points
from hpo.declarations.errors import key_of, read_model
from hpo.declarations.files import (
    declared_files,
    expand_home,
    find_file,
    is_folder,
    is_path,
    read_toml,
)
from hpo.declarations.overrides import Origin, Override, apply_overrides, parse_override
from hpo.declarations.parameters import FloatParameter
from hpo.declarations.points import read_point
from hpo.declarations.space import SearchSpace
from hpo.declarations.space_file import flatten, read_space, task_named
from hpo.declarations.study import (
    DEFAULT_NAMES,
    NO_FINALS,
    PRUNERS,
    RANK_PRUNERS,
    SAMPLERS,
    SCHEDULERS,
    BruteForceSettings,
    FinalsSettings,
    PatientSettings,
    PrunerSettings,
    SamplerSettings,
    SchedulerSettings,
    StorageSettings,
    Study,
    ThawSettings,
)
from hpo.durations import ALLOWED, seconds_in
from hpo.mistakes import DeclarationError
from hpo.names import check_name, label


class StudyFile(Settings):
    """The top of a study's file."""

    description: str = ""
    task: str
    search_space: str
    trials: int = Field(ge=1, le=100_000)
    seed: int = Field(default=0, ge=0, lt=2**32)
    trial_time_limit: str | None = None
    protocol: dict[str, Any] = Field(default_factory=dict)
    data: dict[str, Any] = Field(default_factory=dict)
    sampler: dict[str, Any] = Field(default_factory=dict)
    pruner: dict[str, Any] = Field(default_factory=dict)
    scheduler: dict[str, Any] = Field(default_factory=dict)
    storage: StorageSettings = StorageSettings()
    finals: FinalsSettings = NO_FINALS
    enqueue: list[dict[str, Any]] = Field(default_factory=list)


@dataclass(frozen=True)
class Declared:
    """A study that can be run by its name."""

    name: str
    path: Path
    description: str
    """Empty where the file cannot be read; `problem` says why."""
    problem: str = ""


def declared_studies() -> list[Declared]:
    """The studies of the current folder and the shipped ones, by name; read, but not checked."""
    found = []
    for name, path in declared_files("study").items():
        try:
            description = read_toml(path).get("description", "")
            found.append(Declared(name, path, str(description)))
        except DeclarationError as error:
            found.append(Declared(name, path, "", str(error)))
    return found


def load_study(
    name_or_path: str,
    *,
    overrides: Sequence[str] = (),
    data: str | None = None,
    name: str | None = None,
    may_import: bool = True,
) -> Study:
    """The study declared under a name or in a TOML file, with its search space, checked.

    Args:
        overrides: `section.key=value`, as `--set` takes them; later ones win.
        data: what takes the place of `data.source`; a folder is relative to the current one.
        name: what to call the study instead of its file's name.
        may_import: whether to import a task of the user's own; else a study of one is refused.

    Raises: DeclarationError for the first mistake found.
    """
    path = find_file("study", name_or_path, where="--study")
    changes = [parse_override(text) for text in overrides]
    if data is not None:
        changes.append(Override(("data", "source"), data, f"--data {data}"))
    origin = Origin(label(path), tuple(changes))
    table = apply_overrides(read_toml(path), changes)
    file = read_model(StudyFile, table, where=origin.of)
    spec = task_named(file.task, where=origin.of(("task",)), path=path, may_import=may_import)
    loader = _Loader(origin, path, spec)
    study_name = path.stem if name is None else name
    check_name(
        study_name,
        where=origin.file if name is None else "--name",
        way_out="Rename the file, or name the study with --name." if name is None else "",
    )
    protocol = read_model(loader.spec.protocol, file.protocol, where=origin.of, at=("protocol",))
    space = loader.read_space(file.search_space, protocol, beside=is_path(name_or_path))
    sampler = loader.read_sampler(file.sampler, space)
    study = Study(
        name=study_name,
        description=file.description,
        task=loader.spec.name,
        spec=loader.spec,
        space=space,
        trials=file.trials,
        seed=file.seed,
        protocol=protocol,
        data=loader.read_data(file.data),
        sampler=sampler,
        pruner=loader.read_pruner(file.pruner),
        scheduler=loader.read_scheduler(file.scheduler, sampler),
        storage=file.storage,
        finals=file.finals,
        enqueue=loader.read_points(file.enqueue, space, protocol),
        path=path,
        trial_time_limit_s=loader.read_duration("trial_time_limit", file.trial_time_limit),
    )
    loader.check_assembly(study)
    return study


class _Loader:
    """Reads the sections of one study's file."""

    def __init__(self, origin: Origin, path: Path, spec: TaskSpec) -> None:
        self.spec = spec
        self._origin = origin
        self._path = path

    def read_duration(self, key: str, text: str | None) -> float | None:
        """The seconds of a time such as `30m`; `None` where none is given."""
        seconds = None if text is None else seconds_in(text)
        if text is not None and seconds is None:
            raise DeclarationError(
                "must be a time",
                key=key,
                where=self._origin.of((key,)),
                got=text,
                allowed=ALLOWED,
            )
        return seconds

    def read_space(self, name: str, protocol: Settings, *, beside: bool) -> SearchSpace:
        """The search space that the study names; a path is relative to the study's file."""
        where = self._origin.of(("search_space",))
        folder = self._path.absolute().parent if beside or is_path(name) else None
        path = find_file("search space", name, where=f"{where}: search_space", beside=folder)
        space = read_space(path, protocol)
        if space.task != self.spec.name:
            raise DeclarationError(
                f"search space {space.name!r} is of task {space.task!r}, not of the study's task",
                where=where,
                got=self.spec.name,
            )
        return space

    def read_data(self, table: dict[str, Any]) -> Settings:
        """The data settings, a folder made absolute.

        One that the file names is relative to the file, one that an option names to the current
        folder.
        """
        source = table.get("source")
        where = self._origin.of(("data", "source"))
        if isinstance(source, str) and "source" in self.spec.data.model_fields:
            if not source.strip():
                raise DeclarationError("is empty", key="data.source", where=where)
            if source not in self.spec.sources:
                given = where != self._origin.file
                folder = (Path() if given else self._path.parent) / expand_home(source)
                if "\0" in source or (given and not is_folder(folder)):
                    raise self._no_folder(source, where)
                table = {**table, "source": str(folder.resolve())}
        return read_model(self.spec.data, table, where=self._origin.of, at=("data",))

    def _no_folder(self, source: str, where: str) -> DeclarationError:
        return DeclarationError(
            "no such folder",
            where=where,
            got=source,
            allowed=", ".join((*self.spec.sources, "or a folder")),
            way_out=did_you_mean(source, self.spec.sources),
        )

    def read_sampler(self, table: dict[str, Any], space: SearchSpace) -> SamplerSettings:
        """The sampler's settings, fit for the space."""
        model = SAMPLERS[self._chosen(("sampler",), table, list(SAMPLERS))]
        sampler = read_model(model, table, where=self._origin.of, at=("sampler",))
        if isinstance(sampler, BruteForceSettings):
            for name, parameter in space.parameters.items():
                if isinstance(parameter, FloatParameter) and not parameter.is_finite:
                    raise DeclarationError(
                        f"brute_force needs a finite search space, and {name!r} is continuous",
                        where=self._origin.of(("sampler", "name")),
                        way_out="Give it a step, or take sampler random or tpe.",
                    )
        return sampler

    def read_pruner(self, table: dict[str, Any]) -> PrunerSettings:
        """The pruner's settings, with those of the one that `patient` is around."""
        model = PRUNERS[self._chosen(("pruner",), table, list(PRUNERS))]
        if model is PatientSettings and "around" in table:
            at, inner = ("pruner", "around"), table["around"]
            if not isinstance(inner, dict):
                raise DeclarationError(
                    "must be a table",
                    key=key_of(at),
                    where=self._origin.of(at),
                    got=inner,
                    way_out='For example around = { name = "median" }.',
                )
            asked = RANK_PRUNERS[self._chosen(at, inner, list(RANK_PRUNERS))]
            table = {**table, "around": read_model(asked, inner, where=self._origin.of, at=at)}
        return read_model(model, table, where=self._origin.of, at=("pruner",))

    def read_scheduler(self, table: dict[str, Any], sampler: SamplerSettings) -> SchedulerSettings:
        """The scheduler's settings."""
        model = SCHEDULERS[self._chosen(("scheduler",), table, list(SCHEDULERS))]
        scheduler = read_model(model, table, where=self._origin.of, at=("scheduler",))
        # The cap of `thaw` says nothing of what the sampler proposes.
        groups = scheduler.trials_per_structure > 1 and not isinstance(scheduler, ThawSettings)
        if groups and isinstance(sampler, BruteForceSettings):
            at = ("scheduler", "trials_per_structure")
            raise DeclarationError(
                "sampler brute_force takes every point once, whatever its structure",
                key=key_of(at),
                where=self._origin.of(at),
                got=scheduler.trials_per_structure,
                allowed="1",
                way_out="Leave it out, or take another sampler.",
            )
        return scheduler

    def _chosen(self, at: tuple[str, ...], table: dict[str, Any], names: list[str]) -> str:
        name = table.get("name", DEFAULT_NAMES[at[0]])
        if not isinstance(name, str) or name not in names:
            raise DeclarationError(
                f"unknown {key_of(at)}",
                where=self._origin.of((*at, "name")),
                got=name,
                allowed=", ".join(names),
                way_out=did_you_mean(name, names),
            )
        return name

    def read_points(
        self, points: list[dict[str, Any]], space: SearchSpace, protocol: Settings
    ) -> tuple[dict[str, Any], ...]:
        """The points to try first, in realised values."""
        read = []
        for place, table in enumerate(points):
            at, where = f"enqueue[{place + 1}]", self._origin.of(("enqueue", place))
            flat = flatten(table, self.spec.groups, where=f"{where}: {at}")
            point = read_point(space, flat, where=where, at=at)
            check_point(space, self.spec, protocol, point, where=f"{where}: {at}")
            read.append(point)
        return tuple(read)

    def check_assembly(self, study: Study) -> None:
        """Raises: DeclarationError if the protocol has no grid or some point cannot be built."""
        where = self._origin.of(("protocol",))
        try:
            study.grid  # noqa: B018 - computed for what it refuses
        except ValueError as error:
            raise DeclarationError(str(error), where=where) from None
        space = label(study.space.path)
        check_points(study.space, self.spec, study.protocol, where=f"{where}, {space}")
