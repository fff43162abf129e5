"""A toy study in a folder of its own: its drivers, and the audit of what they leave."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import random
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy

from benchmarks.faults.driver import Driver, Patch, load_databases, wait_until
from benchmarks.faults.journal import Journal, Line, Trouble, name_of
from benchmarks.faults.toy import Protocol
from benchmarks.postgres_server import NoServerError, PostgresServer, serving

SEED = 3
"""Of every toy study, so that one undisturbed run is the measure of all."""
MOST_TRIALS = 40
PERIOD = Protocol().eval_every
"""Steps from one checkpoint to the next."""
PATIENCE_S = 120.0
"""For a run of a driver; none takes a tenth of it on an idle machine."""

SPACE = """\
task = "toy"
[parameters]
"model.width" = { type = "int", low = 2, high = 97 }
"finetune.rate" = { type = "float", low = 1e-5, high = 1e-1, log = true }
"""
_ROWS = """
SELECT t.number, t.state, v.value, p.param_name, p.param_value
FROM trials t JOIN studies s ON s.study_id = t.study_id
LEFT JOIN trial_values v ON v.trial_id = t.trial_id
LEFT JOIN trial_params p ON p.trial_id = t.trial_id
WHERE s.study_name = :name
"""
_REASONS = """
SELECT t.number, a.value_json
FROM trials t JOIN studies s ON s.study_id = t.study_id
JOIN trial_user_attributes a ON a.trial_id = t.trial_id
WHERE s.study_name = :name AND a.key = 'reason'
"""
_CONSTRAINTS = """
SELECT t.number, a.key
FROM trials t JOIN studies s ON s.study_id = t.study_id
JOIN trial_system_attributes a ON a.trial_id = t.trial_id
WHERE s.study_name = :name AND a.key LIKE 'constraints:%'
"""
_EVALUATIONS = """
SELECT count(*)
FROM trial_intermediate_values i JOIN trials t ON t.trial_id = i.trial_id
JOIN studies s ON s.study_id = t.study_id
WHERE s.study_name = :name
"""


@dataclass
class Told:
    """A trial as the database has it."""

    state: str
    value: float | None
    parameters: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Audit:
    """What a study came to, by its database and its journal."""

    lost: int
    """Of the trials asked for: not finished, or not with the state and value they should have."""
    twice: int
    """Finished beyond the budget, worked at by two processes at once, or done again when done."""
    running: int
    """Left RUNNING."""
    repeated: int
    """Steps that were done more than once."""
    problems: tuple[str, ...] = ()
    """What else is wrong, a line each."""


class Rig:
    """One toy study."""

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        trials: int = 12,
        slots: int | None = 2,
        storage: str | None = None,
        settings: Mapping[str, object] | None = None,
        space: str = SPACE,
    ) -> None:
        """`storage` is a URL; without one the study has an SQLite file of its own.

        `slots` are on the CPU; `None` leaves them to the GPUs there are. `settings` are overrides
        of the declaration, by dotted key.
        """
        self.folder = folder
        self.name = name
        self.trials = trials
        self.slots = slots
        self.runs = folder / "runs"
        self.journal = Journal(folder)
        self.drivers: list[Driver] = []
        self._storage = storage
        self._settings = dict(settings or {})
        folder.mkdir(parents=True)
        (folder / "space.toml").write_text(space)
        (folder / "toy.toml").write_text(
            f'task = "toy"\nsearch_space = "space.toml"\ntrials = {trials}\nseed = {SEED}\n'
            '[sampler]\nname = "random"\n[pruner]\nname = "none"\n'
            f"[protocol]\njournal = '{folder}'\n"
        )

    def plan(self, troubles: Mapping[int, Iterable[Trouble]]) -> None:
        """Says what is to happen to which trials."""
        self.journal.plan({name_of(number): listed for number, listed in troubles.items()})

    def start(
        self,
        *more: str,
        patches: Sequence[Patch] = (),
        environment: Mapping[str, str] | None = None,
    ) -> Driver:
        """Starts a driver on the study, `more` added to its command line."""
        command = ["run", "--study", str(self.folder / "toy.toml"), "--name", self.name]
        command += ["--runs-dir", str(self.runs)]
        if self.slots is not None:
            command += ["--jobs", str(self.slots)]
        if self._storage is not None:
            command += ["--storage", self._storage]
        for key, value in self._settings.items():
            command += ["--set", f"{key}={value}"]
        log = self.folder / f"driver{len(self.drivers)}.log"
        driver = Driver([*command, *more], log, environment or {}, patches)
        self.drivers.append(driver)
        return driver

    def finish(self, limit_s: float = PATIENCE_S) -> Driver:
        """Runs a driver, undisturbed, to its end."""
        driver = self.start()
        driver.wait(limit_s)
        return driver

    def steps(self) -> int:
        """How many steps have been done, those done again too."""
        return sum(line.event == "step" for line in self.journal.lines())

    def evaluations(self) -> int:
        """How many are in the database."""
        ((count,),) = self._rows(_EVALUATIONS)
        return int(count)

    def wait_for_steps(self, steps: int) -> None:
        """Waits until so many steps have been done, or the last driver has ended."""
        driver = self.drivers[-1]
        wait_until(lambda: driver.has_ended or self.steps() >= steps, PATIENCE_S)

    def close(self) -> None:
        """Ends what still runs."""
        for driver in self.drivers:
            if not driver.has_ended:
                driver.kill()

    def told(self) -> dict[int, Told]:
        """The trials in the database, by number."""
        found: dict[int, Told] = {}
        for number, state, value, parameter, drawn in self._rows(_ROWS):
            told = found.setdefault(number, Told(str(state), value))
            if parameter is not None:
                told.parameters[parameter] = drawn
        return found

    def reasons(self) -> dict[int, str]:
        """Why trials ended as they did, by number."""
        return {number: json.loads(text) for number, text in self._rows(_REASONS)}

    def constraints(self) -> dict[int, list[str]]:
        """Names of the constraints that trials violate, by number."""
        found: dict[int, list[str]] = {}
        for number, key in self._rows(_CONSTRAINTS):
            found.setdefault(number, []).append(key)
        return found

    def _rows(self, query: str) -> Sequence[Any]:
        url = self._storage or f"sqlite:///{self.runs / 'hpo.db'}"
        engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
        with engine.connect() as connection:
            return connection.execute(sqlalchemy.text(query), {"name": self.name}).all()

    def audit(
        self,
        undisturbed: Mapping[int, Told],
        states: Mapping[int, str] | None = None,
        *,
        kills_per_period: bool = True,
    ) -> Audit:
        """Compares what there is with what an undisturbed run has.

        `states` are those in which trials should end other than COMPLETE. `kills_per_period`:
        each further attempt may repeat one checkpoint period of steps and no more.
        """
        told, problems = self.told(), []
        lost = 0
        for number in range(self.trials):
            wanted = (states or {}).get(number, "COMPLETE")
            one, other = told.get(number), undisturbed.get(number)
            if one is None or one.state != wanted:
                lost += 1
                what = "is not there" if one is None else f"is {one.state}"
                problems.append(f"trial {number} {what}, not {wanted}")
            elif wanted == "COMPLETE" and one != other:
                lost += 1
                problems.append(f"trial {number} is another than in the undisturbed run")
        surplus = sum(number >= self.trials for number in told)
        twice, repeated = surplus, 0
        if surplus:
            problems.append(f"{surplus} trials beyond the budget")
        for name, lines in self._histories():
            attempts: list[int] = []
            steps: list[str] = []
            has_ended = is_double = False
            for line in lines:
                if line.event == "begin":
                    attempts.append(line.pid)
                elif line.event == "step":
                    is_double |= has_ended or line.pid not in attempts[-1:]
                    steps.append(line.argument)
                elif line.event == "end":
                    has_ended = True
            if not attempts:
                continue  # a stage in the cache
            if is_double:
                twice += 1
                problems.append(f"trial {name} was worked at twice")
            again = len(steps) - len(set(steps))
            repeated += again
            if kills_per_period and again > PERIOD * (len(attempts) - 1):
                problems.append(f"trial {name} repeated {again} steps in {len(attempts)} attempts")
        running = sum(one.state == "RUNNING" for one in told.values())
        if running:
            problems.append(f"{running} trials are RUNNING")
        return Audit(lost, twice, running, repeated, tuple(problems))

    def _histories(self) -> Iterator[tuple[str, list[Line]]]:
        """What was done at each trial, in order, and where a node does not see the study's files
        in each job: its folder there has the number of a process that does one after another."""
        trials = {name_of(number) for number in self.told()}
        for name in sorted({line.trial for line in self.journal.lines()}):
            lines = self.journal.of(name)
            if name in trials or not name.isdigit():
                yield name, lines
                continue
            begins = [place for place, line in enumerate(lines) if line.event == "begin"]
            for begin, end in itertools.pairwise([*begins, len(lines)]):
                yield name, lines[begin:end]

    def wait_for_recovery(self, trial: str, killed: int, at: float) -> float | None:
        """As `recovery_s`, waited for."""
        driver = self.drivers[-1]
        wait_until(
            lambda: driver.has_ended or self.recovery_s(trial, killed, at) is not None, PATIENCE_S
        )
        return self.recovery_s(trial, killed, at)

    def recovery_s(self, trial: str, killed: int, at: float) -> float | None:
        """Seconds from a worker's death to the first step of the trial's next attempt."""
        for line in self.journal.of(trial):
            if line.at > at and line.pid != killed and line.event == "step":
                return line.at - at
        return None


@dataclass
class Row:
    """What came of one fault; a line of the table."""

    fault: str
    injections: int = 0
    lost: int = 0
    twice: int = 0
    running: int = 0
    repeated: int = 0
    recoveries_s: list[float] = field(default_factory=list)
    message: str = ""
    """The line that the user sees."""
    problems: list[str] = field(default_factory=list)
    """What is wrong."""
    slow: list[str] = field(default_factory=list)
    """Bounds on time that were not kept."""
    note: str = ""

    @property
    def is_clean(self) -> bool:
        """Whether nothing but time can be complained of."""
        return not (self.lost or self.twice or self.running or self.problems)

    @property
    def recovery(self) -> tuple[float, float] | None:
        """Median and maximum of the seconds to recover."""
        if not self.recoveries_s:
            return None
        return statistics.median(self.recoveries_s), max(self.recoveries_s)

    def add(self, audit: Audit, where: str = "") -> None:
        """Counts in what one study came to."""
        self.lost += audit.lost
        self.twice += audit.twice
        self.running += audit.running
        self.repeated += audit.repeated
        self.problems += [f"{where}: {one}" if where else one for one in audit.problems]

    def expect(self, is_so: bool, problem: str) -> bool:
        """Notes `problem` unless something is so."""
        if not is_so:
            self.problems.append(problem)
        return is_so

    def bound(self, what: str, *, median_s: float | None = None, most_s: float) -> None:
        """Notes where recovering took longer than it may."""
        if self.recovery is None:
            return
        median, most = self.recovery
        if median_s is not None and median > median_s:
            self.slow.append(f"{what}: median {median:.2f} s, allowed {median_s:g} s")
        if most > most_s:
            self.slow.append(f"{what}: up to {most:.2f} s, allowed {most_s:g} s")


class Bench:
    """What a fault needs to be injected: folders, chance, how often, the measure."""

    def __init__(
        self, folder: Path, *, seed: int = 0, short: bool = False, storage: str | None = None
    ) -> None:
        self.folder = folder
        self.short = short
        self.seed = seed
        self.storage = storage
        self.random = random.Random(seed)
        """Given a new seed, of `seed` and the fault's name, before each fault."""
        self._made = 0
        self._undisturbed: dict[str, dict[int, Told]] = {}
        self._rigs: list[Rig] = []
        self._stack = ExitStack()
        self._server: PostgresServer | None = None
        load_databases()

    def times(self, full: int, short: int) -> int:
        """How often: in `make faults`, in `make faults-short`."""
        return short if self.short else full

    def rig(self, **options: object) -> Rig:
        """A new toy study, with what `Rig` takes."""
        self._made += 1
        name = str(options.pop("name", f"toy{os.getpid()}-{self._made}"))
        options.setdefault("storage", self.storage)
        rig = Rig(self.folder / name, name, **options)  # type: ignore[arg-type]
        self._rigs.append(rig)
        return rig

    def undisturbed(self, **options: object) -> Mapping[int, Told]:
        """The trials of a run to which nothing happens, by number; `options` as a rig's."""
        known = str(options)
        if known not in self._undisturbed:
            settings = {**options.pop("settings", {}), "protocol.step_s": 0.0}  # type: ignore[dict-item]
            trials = self.times(MOST_TRIALS, 12)
            # In one slot, which takes one process less to start.
            given = {"trials": trials, "slots": 1, "storage": None, **options}
            rig = self.rig(**{**given, "settings": settings})
            driver = rig.finish()
            assert driver.code == 0, driver.text()
            self._undisturbed[known] = rig.told()
        return self._undisturbed[known]

    def server(self) -> PostgresServer:
        """A PostgreSQL server of the bench's own, whose password is in the environment.

        Raises: NoServerError.
        """
        if self._server is None:
            if importlib.util.find_spec("psycopg") is None:
                raise NoServerError("the extra `postgres` is not installed")
            self._server = self._stack.enter_context(serving())
            os.environ["PGPASSWORD"] = self._server.password
        return self._server

    def end_drivers(self) -> None:
        """Ends those that still run."""
        for rig in self._rigs:
            rig.close()

    def close(self) -> None:
        """Ends all that still runs."""
        self.end_drivers()
        self._stack.close()
