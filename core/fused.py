"""The loop's fused form: runs that share all but how they are fine-tuned, trained as one model.

What comes before the last stage is done by one of them and taken from the cache by the others.
From there on they are a company: a step is one step of their stack, everything else (events,
verdicts, history, checkpoints) is each one's own, as `core.train` has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from core.nn.dropout import drawing_from
from core.optimizer import StageOptimizer
from core.registry import digest_of_shared
from core.reporting import End
from core.seeding import put_generators, read_generators
from core.settings import RunConfig
from core.stack import Stack
from core.stage_cache import StageCache
from core.stopwatch import evaluating, training
from core.task import FusableTask, OnEvent, Outcome, Placement, Scores, Stage
from core.train import Run

OnOutcome = Callable[[int, Outcome], None]
"""(place of a run among those that were given, what it came to)."""


def train_fused(  # noqa: PLR0917  # as `train` has them
    tasks: Sequence[FusableTask],
    configs: Sequence[RunConfig],
    placement: Placement,
    folders: Sequence[Path],
    cache: StageCache | None,
    on_events: Sequence[OnEvent],
    on_outcome: OnOutcome = lambda index, outcome: None,
) -> list[Outcome]:
    """What `train` gives for each configuration, up to rounding; the last stage is trained fused.

    `on_outcome` is called as soon as a run has left, and the others wait meanwhile.

    Whoever is told to end, diverges or collapses leaves, and the others go on. A folder is as
    `train` leaves it, and what one paused the other takes up. With dropout a run's numbers depend
    on its company: masks are drawn for the longest batch and, on a GPU, from one generator.

    Raises: ValueError if the configurations differ in more than seed and fine-tuning; TypeError if
        the model cannot be stacked; what `train` raises, for all of them.
    """
    if len({digest_of_shared(config) for config in configs}) > 1:
        raise ValueError("only runs of one structure, protocol and data can be fused")
    members: list[_Member] = []
    outcomes: dict[int, Outcome] = {}
    given = zip(tasks, configs, folders, on_events, strict=True)
    for index, (task, config, folder, on_event) in enumerate(given):
        member = _Member(index, task, config, placement, folder, cache, on_event, on_outcome)
        end = member.reach_last_stage()
        if end is None:
            members.append(member)
        else:
            outcomes[index] = member.conclude(end)
    outcomes |= _Company(members).train()
    return [outcomes[index] for index in range(len(tasks))]


class _Member(Run):
    """A run whose last stage is trained in company, its random generators kept aside meanwhile."""

    def __init__(  # noqa: PLR0917  # as `train` has them
        self,
        index: int,
        task: FusableTask,
        config: RunConfig,
        placement: Placement,
        folder: Path,
        cache: StageCache | None,
        on_event: OnEvent,
        on_outcome: OnOutcome,
    ) -> None:
        super().__init__(task, config, placement, folder, cache, on_event)
        self.index, self.task = index, task
        self._on_outcome = on_outcome
        self.generator = torch.Generator()
        """Draws this member's masks on the CPU, as torch's global one would."""
        self.joined = 1
        """Runs in the company that it joined, itself included."""
        self._aside: Mapping[str, torch.Tensor] = {}

    def reach_last_stage(self) -> End | None:
        """Does all before the last stage, and waits at its start."""
        end = self.resume()
        while end is None and self._index < len(self._stages) - 1:
            end = self.do_stage()
        if end is None:
            self._begin_stage(is_flat=True)
            self._put_aside()
            self._clock.charge("wait")
        return end

    def conclude(self, end: End | None) -> Outcome:
        outcome = super().conclude(end)
        outcome = replace(outcome, facts={**outcome.facts, "fused_runs": self.joined})
        self._on_outcome(self.index, outcome)
        return outcome

    @property
    def is_through(self) -> bool:
        """Whether nothing is left to do."""
        return self._done == self.stage.steps and not self.is_evaluation_due

    @property
    def optimizer(self) -> StageOptimizer:
        """Of the last stage."""
        assert self._optimizer is not None
        return self._optimizer

    @contextmanager
    def charging(self, account: Callable[[Stage], str]) -> Iterator[None]:
        """Charges a block that does something for all members to an account of the stage."""
        with self._clock.charging(account(self.stage)):
            yield

    def next_batch(self) -> Any:
        """The batch of the next update."""
        return self.task.batch(self.stage, self._done)

    # Generators

    def score(self) -> Scores:
        with self._own_generators():
            return super().score()

    def _save_checkpoint(self) -> End | None:
        with self._own_generators():
            return super()._save_checkpoint()

    def _put_aside(self) -> None:
        states = read_generators(self._device)
        states.pop("cuda", None)  # all members draw from it
        self._aside = states
        self.generator.set_state(states["torch"])

    @contextmanager
    def _own_generators(self) -> Iterator[None]:
        """Makes this member's generators the global ones."""
        if not self._aside:  # it has not joined the others yet
            yield
            return
        put_generators({**self._aside, "torch": self.generator.get_state()}, self._device)
        try:
            yield
        finally:
            self._put_aside()


class _Company:
    """Members in their last stage, trained step by step until the last of them has left."""

    def __init__(self, members: Sequence[_Member]) -> None:
        self._members = list(members)
        self._stack: Stack | None = None
        self._outcomes: dict[int, Outcome] = {}
        for member in members:
            member.joined = member.company = len(members)

    def train(self) -> dict[int, Outcome]:
        """The outcomes by the members' indices."""
        self._look_around()  # for a pause may have come before an evaluation that was due
        while self._members:
            self._make_updates()
            self._look_around()
        return self._outcomes

    def _make_updates(self) -> None:
        members, first = self._members, self._members[0]
        stack = self._restack()
        with ExitStack() as blocks:
            for member in members:
                blocks.enter_context(member.charging(training))
            batches = [member.next_batch() for member in members]
            blocks.enter_context(drawing_from([member.generator for member in members]))
            with first.precision.autocast():
                stages = [member.stage for member in members]
                losses = first.task.losses(stack.model, batches, stages)
            updates = stack.update(losses)
        for member, loss, update in zip(members, losses, updates, strict=True):
            member.record(loss, update)

    def _look_around(self) -> None:
        """Does what is due after an update: evaluations together, all else one after another."""
        due = [member for member in self._members if member.is_evaluation_due]
        self._settle(
            {
                member: member.announce_evaluation() if member in due else member.show()
                for member in self._members
            }
        )
        due = [member for member in due if member in self._members]
        found = zip(due, self._score(due), strict=True)
        self._settle({member: member.take(scores) for member, scores in found})
        self._settle({member: member.keep() for member in self._members})

    def _score(self, due: Sequence[_Member]) -> list[Scores]:
        """Together if it is all there are, at one place of the curve."""
        if len(due) < len(self._members) or len({member.is_final for member in due}) != 1:
            return [member.score() for member in due]
        with ExitStack() as blocks:
            for member in due:
                blocks.enter_context(member.charging(evaluating))
            stacked, models = self._restack().model, [member.model for member in due]
            for model in (stacked, *models):
                model.eval()
            with torch.no_grad(), due[0].precision.autocast():
                is_final = due[0].is_final
                scores = due[0].task.evaluate_stacked(stacked, models, final=is_final)
            for model in (stacked, *models):
                model.train()
        return scores

    def _restack(self) -> Stack:
        """The stack of those who are there."""
        if self._stack is None:
            optimizers = [member.optimizer for member in self._members]
            self._stack = Stack(self._members[0].model, optimizers)
        return self._stack

    def _settle(self, ends: Mapping[_Member, End | None]) -> None:
        """Concludes those who have an end or nothing left to do."""
        for member, end in ends.items():
            if end is not None or member.is_through:
                self._members.remove(member)
                self._stack = None
                self._outcomes[member.index] = member.conclude(end)
        for member in self._members:
            member.company = len(self._members)
