from made_study import made_study

from hpo.analysis.translations import (
    Words,
    marked,
    outputs_of,
    read_texts,
    runner_up,
    told_apart,
    translations_obstacle,
    translations_table,
)
from hpo.analysis.translations_section import translations_section


def artifact(record, name):
    return record.best.folder / "artifacts" / f"step000200.validation.{name}"


def outputs(folder, lines):
    text = "".join(f"{line}\n" for line in lines)
    (folder / "artifacts" / "step000200.validation.hyp").write_text(text)


def test_samples_are_where_best_and_runner_up_differ_most_either_way(tmp_path):
    record = made_study(tmp_path)
    second = runner_up(record)
    ranked = sorted(
        (one for one in record.trials if one.state == "complete"), key=lambda one: -one.value
    )
    assert [record.best.number, second.number] == [one.number for one in ranked[:2]]
    same = read_texts(record.best.folder)["validation.ref"]
    outputs(record.best.folder, [*same[:5], "Three children are playing.", *same[6:]])
    outputs(second.folder, [*same[:3], "Nothing of it.", *same[4:]])
    table = translations_table(record)
    assert table["line"].tolist() == [4, 6]
    worst, other = table.to_dict("records")
    assert worst["source"] == "Drei Kinder spielen."
    assert (worst["best"], worst["runner_up"]) == ("Three kids are playing.", "Nothing of it.")
    assert worst["beam"] == "Three kids are playing."
    assert worst["difference"] > -other["difference"] > 0


def test_outputs_that_are_the_same_throughout_are_spread_over_the_set(tmp_path):
    record = made_study(tmp_path)
    same = read_texts(record.best.folder)["validation.hyp"]
    outputs(runner_up(record).folder, same)
    artifact(record, "beam").unlink()
    table = translations_table(record)
    assert table["line"].tolist()[:4] == [1, 2, 3, 4]
    assert len(table) == 24
    assert table["line"].tolist()[-1] == 28
    assert set(table["beam"]) == set(table["difference"]) == {None}
    assert (table["best"] == table["runner_up"]).all()


def test_a_trial_of_other_sentences_is_no_runner_up(tmp_path):
    record = made_study(tmp_path)
    second = runner_up(record)
    (second.folder / "artifacts" / "step000200.validation.src").write_text("other\n" * 29)
    assert runner_up(record).number != second.number
    alone = made_study(tmp_path / "alone", trials=1)
    assert runner_up(alone) is None
    assert set(translations_table(alone)["runner_up"]) == {None}


def test_best_and_runner_up_are_compared_over_all_sentences(tmp_path):
    record = made_study(tmp_path)
    number, p_value = told_apart(record)
    assert number == runner_up(record).number
    assert 0 <= p_value <= 1
    page = translations_section(record, translations_table(record), (number, 0.31))
    assert "does not tell the two apart (p = 0.31)" in page
    assert "<mark>" in page
    page = translations_section(record, translations_table(record), (number, 0.01))
    assert "tells the two apart (p = 0.01)" in page
    assert told_apart(made_study(tmp_path / "bare", with_texts=False)) is None


def test_words_that_differ_are_marked_and_the_text_stays_whole():
    ours, theirs = "a man  rides a bike .", "a woman rides the bike ."
    parts = marked(ours, theirs)
    assert "".join(part.text for part in parts) == ours
    assert [part.text.strip() for part in parts if part.differs and part.text.strip()] == [
        "man",
        "a",
    ]
    assert marked(ours, ours) == marked(ours, None) == [Words(ours, differs=False)]


def test_outputs_of_a_trial_are_those_of_the_lines_asked_for(tmp_path):
    record = made_study(tmp_path)
    assert outputs_of(record.trials[0], [2, 5]) == ["Because it rains he stay.", ""]
    assert outputs_of(record.trials[0], [30]) is None
    assert outputs_of(record.trials[4], [1]) is None  # pruned


def test_the_latest_step_counts(tmp_path):
    texts = read_texts(made_study(tmp_path).best.folder)
    assert "an older output" not in texts["validation.hyp"]


def test_lines_break_at_newlines_only(tmp_path):
    record = made_study(tmp_path)
    lines = ["a\u2028b\x85c\r"] * 29
    artifact(record, "src").write_bytes("".join(f"{line}\n" for line in lines).encode())
    assert translations_table(record)["source"].tolist()[0] == "a\u2028b\x85c\r"


def test_missing_files_and_unequal_lengths_are_said(tmp_path):
    record = made_study(tmp_path)
    number = record.best.number
    artifact(record, "ref").write_text("only one\n")
    assert translations_obstacle(record) == (
        f"The files of trial {number} have unequal numbers of lines: "
        "validation.src 29, validation.ref 1, validation.hyp 29."
    )
    artifact(record, "ref").unlink()
    artifact(record, "src").unlink()
    assert translations_obstacle(record) == (
        f"Trial {number} left no validation.src and no validation.ref among its artifacts."
    )
    assert translations_table(record).empty


def test_without_a_best_trial_or_its_folder_there_are_no_samples(tmp_path):
    nothing = made_study(tmp_path / "a", trials=1, states={0: "failed"})
    assert "No trial is complete" in translations_obstacle(nothing)
    gone = made_study(tmp_path / "b", with_texts=False)
    assert "left no validation.src" in translations_obstacle(gone)
