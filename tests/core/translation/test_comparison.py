from __future__ import annotations

from pathlib import Path

from core.translation.comparison import compare

SENTENCE = "ein kleiner hund läuft schnell über die grüne wiese am see"
WORDS = SENTENCE.split()
REFERENCES = [" ".join(WORDS[i % 7 :] + WORDS[: i % 5]) for i in range(53)]


def leave(folder: Path, hypotheses: list[str], references: list[str] | None = None) -> Path:
    artifacts = folder / "artifacts"
    artifacts.mkdir(parents=True)
    (artifacts / "step000020.validation.hyp").write_text("ein anderer Schritt\n")
    for name, lines in (("hyp", hypotheses), ("ref", references or REFERENCES)):
        text = "".join(f"{line}\n" for line in lines)
        (artifacts / f"step000040.validation.{name}").write_text(text, encoding="utf-8")
    return folder


def test_equal_texts_are_not_told_apart_and_bad_ones_are(tmp_path: Path) -> None:
    good = leave(tmp_path / "good", REFERENCES)
    same = leave(tmp_path / "same", REFERENCES)
    cut = [" ".join([*line.split()[:4], "nichts"]) for line in REFERENCES]
    bad = leave(tmp_path / "bad", cut)
    assert compare(good, same) == 1.0
    found = compare(good, bad)
    assert found is not None
    assert found < 0.01
    assert compare(good, bad) == found


def test_a_slight_difference_is_luck(tmp_path: Path) -> None:
    one = leave(tmp_path / "one", ["hund wiese", *REFERENCES[1:]])
    other = leave(tmp_path / "other", [*REFERENCES[:-1], "see hund"])
    found = compare(one, other)
    assert found is not None
    assert found > 0.1


def test_without_texts_of_the_same_sentences_there_is_no_comparison(tmp_path: Path) -> None:
    good = leave(tmp_path / "good", REFERENCES)
    assert compare(good, tmp_path / "nowhere") is None
    assert compare(good, leave(tmp_path / "short", REFERENCES[1:])) is None
    others = leave(tmp_path / "others", REFERENCES, REFERENCES[::-1])
    assert compare(good, others) is None
