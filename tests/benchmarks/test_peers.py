"""The comparison with others: what it refuses, what it judges, and that its loop is the model."""

from __future__ import annotations

from pathlib import Path
from shutil import which

import pytest

from benchmarks.peers import training
from benchmarks.peers.bounds import Bound, print_bounds
from benchmarks.peers.decode_loop import Plain, decode_one
from benchmarks.peers.decoding import Answers
from benchmarks.peers.processes import (
    BenchError,
    ask,
    find_peers,
    one_core,
    own_python,
    run_command,
)
from benchmarks.peers.window import Window
from core.translation.decoding import greedy
from core.translation.model import Transformer
from core.translation.settings import ModelSettings
from core.translation.special import PAD_ID

NEEDS_TASKSET = pytest.mark.skipif(which("taskset") is None, reason="there is no taskset")


@pytest.mark.parametrize(
    ("at_least", "aim", "ratio", "verdict"),
    [
        (6.5, 8, 6.4, "missed"),
        (6.5, 8, 6.5, "met"),
        (6.5, 8, 8, "aim met"),
        (0.65, 0.5, 0.66, "missed"),
        (0.65, 0.5, 0.65, "met"),
        (0.65, 0.5, 0.5, "aim met"),
    ],
)
def test_a_ratio_is_judged(at_least: float, aim: float, ratio: float, verdict: str) -> None:
    assert Bound("", at_least, aim).judge(ratio) == verdict


def test_the_table_says_what_compares_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    print_bounds("some", [(Bound("speed", 2, 3), 2.5), (Bound("other", 2, 3), None)])
    _, header, first, second = capsys.readouterr().out.split("\n")[:4]
    assert header.split() == ["some", "measured", "at", "least", "aim"]
    assert first.split() == ["speed", "2.50", "2", "3", "met"]
    assert second.split() == ["other", "-", "2", "3", "void"]


@pytest.mark.parametrize("named", ["", "/no/such/folder"])
def test_without_data_it_refuses_in_one_line(
    named: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HPO_DATA", named)
    monkeypatch.setattr("sys.argv", ["training"])
    with pytest.raises(SystemExit) as exit_:
        run_command(training.main)
    assert exit_.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


@NEEDS_TASKSET
def test_a_missing_environment_is_told(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="make peers"):
        find_peers(tmp_path / "python")


@NEEDS_TASKSET
def test_a_contestant_answers_or_its_complaint_is_passed_on() -> None:
    found = ask(own_python(), "gemm", {"size": 7, "precision": "fp32"}, one_core())
    assert found["gflops"] > 0
    assert found["peak_rss_mb"] > 10
    with pytest.raises(BenchError, match="KeyError: 'bf8'"):
        ask(own_python(), "gemm", {"size": 7, "precision": "bf8"}, one_core())


def test_a_window_counts_after_its_warmup() -> None:
    window = Window(warmup=2)
    for pairs, src, tgt in ((2, 3, 5), (7, 11, 13), (17, 19, 23), (29, 31, 37)):
        window.begin_update(pairs, src, tgt)
    found = window.close()
    assert found.pop("seconds") > 0
    assert found == {"updates": 2, "pairs": 46, "src_tokens": 50, "tgt_tokens": 60}


def test_agreement_is_the_share_of_equal_hypotheses() -> None:
    ours = Answers(hypotheses=[[4, 5], [6], [7], [8]])
    assert Answers(hypotheses=[[4, 5], [6, 9]]).agreement(ours) == 0.5


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")  # torch's remark on its own default
def test_the_tutorials_decoder_computes_the_same_model() -> None:
    settings = ModelSettings(d_model=24, num_heads=3, num_layers=2, d_ff=41)
    model = Transformer(settings, 89, PAD_ID).eval()
    sources = [[5, 7, 11, 13], [17], [19, 23]]
    for parameter in model.parameters():  # at its usual start it repeats one token
        parameter.data.mul_(3)
    plain = Plain(model).eval()
    assert [decode_one(plain, source) for source in sources] == greedy(model, sources, max_len=64)
