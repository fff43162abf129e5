"""What a study under a time limit keeps for its finals."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_bench import KINDS, MakeStudy, enqueue

from hpo.clock import StudyClock
from hpo.costs import Prediction
from hpo.finals.repeats import COMPARING_S
from hpo.forecast import Forecast
from hpo.outlook import FINALS_SHARE, Outlook, finals_seconds
from hpo.roster import Roster

_SECONDS = st.floats(0.01, 1e4)


@given(
    repeat_s=_SECONDS,
    reading_s=_SECONDS,
    entrants=st.integers(1, 9),
    seeds=st.integers(0, 9),
    slots=st.integers(1, 9),
    limit_s=_SECONDS,
    others_s=_SECONDS,
)
def test_whole_rounds_are_kept_within_the_share(
    repeat_s: float, reading_s: float, limit_s: float, others_s: float, **numbers: int
) -> None:
    seconds, repeats = finals_seconds(
        repeat_s, reading_s, limit_s=limit_s, others_s=others_s, **numbers
    )
    share_s, round_s = FINALS_SHARE * limit_s, repeat_s + reading_s
    slots, asked = numbers["slots"], numbers["entrants"] * numbers["seeds"]
    rounds = -(-repeats // slots)
    assert seconds <= share_s * (1 + 1e-9)
    assert repeats == min(asked, rounds * slots)
    # As many as fit: not one more round would.
    assert rounds * round_s <= share_s * (1 + 1e-9)
    assert repeats == asked or (rounds + 1) * round_s > share_s * (1 - 1e-9)
    assert seconds == pytest.approx(
        rounds * round_s + min(others_s, share_s - rounds * round_s), abs=1e-6
    )


def test_without_a_limit_everything_is_kept() -> None:
    kept = finals_seconds(9.0, 1.0, entrants=4, seeds=3, slots=5, limit_s=None, others_s=2.0)
    assert kept == (32.0, 12)


class _Foretold:
    """A finalist's repeat takes ten times its number, a reading one second."""

    def groups_of(self, number: int) -> int:
        return number

    def of_repeats(self, numbers: list[int]) -> list[Prediction]:
        return [Prediction(10.0 * number, 20.0 * number) for number in numbers]

    def of_test(self, groups: int) -> Prediction:
        return Prediction(1.0, 2.0)


class _Ranked:
    """Trials 3, 1 and 2 are complete; trial 0 is the start configuration, width 50."""

    def __init__(self, *ranking: int) -> None:
        self._ranking = list(ranking)
        self.best = (ranking[0], 1.0) if ranking else None

    def ranking(self) -> list[int]:
        return self._ranking

    def realised(self, number: int) -> dict[str, Any]:
        return {"model.width": 50 + number, "model.kind": "fine"}


@pytest.mark.parametrize(
    ("ranking", "slots", "kept_s"),
    [
        # Nine repeats and three of the start's, each of 20 + 1 s; two more readings; comparing.
        ((3, 1, 2), 1, 12 * 21 + 2 * 1 + 9 * COMPARING_S),
        ((3, 1, 2), 5, 3 * 21 + 1 + 9 * COMPARING_S),
        # The start among the finalists is repeated once.
        ((4, 2, 0), 1, 9 * 21 + 2 * 1 + 6 * COMPARING_S),
        # Only the best three are.
        ((3, 1, 2, 9), 1, 12 * 21 + 2 * 1 + 9 * COMPARING_S),
    ],
)
def test_a_run_keeps_time_for_all_entrants(
    ranking: tuple[int, ...], slots: int, kept_s: float, make_study: MakeStudy
) -> None:
    rest = f"{enqueue(50)}[finals]\ntop = 3\nseeds = 3\n"
    study = make_study(space=KINDS, rest=rest)

    def kept(roster: _Ranked, limit_s: float) -> float:
        outlook = Outlook(
            study,
            cast("Roster", roster),
            cast("Forecast", _Foretold()),
            StudyClock(0.0, lambda _: None, begun=0.0),
            limit_s=limit_s,
            slots=slots,
        )
        return outlook._finals_s()

    assert kept(_Ranked(*ranking), 1e6) == pytest.approx(kept_s)
    assert kept(_Ranked(), 1e6) == 0.0
    assert kept(_Ranked(3, 1, 2), 4 * 30.0) == pytest.approx(30.0), "a round of 21 s, the rest"
