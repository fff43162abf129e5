from made_study import made_study

from hpo.analysis.translations import read_texts, translations_obstacle, translations_table


def artifact(record, name):
    return record.best.folder / "artifacts" / f"step000200.validation.{name}"


def test_samples_are_the_lines_that_beam_search_translated(tmp_path):
    record = made_study(tmp_path)
    table = translations_table(record)
    assert table["line"].tolist() == [1, 2, 3, 4, 5, 6, 7]
    first = table.iloc[0]
    assert (first["source"], first["reference"]) == (
        "Drei Kinder spielen.",
        "Three kids are playing.",
    )
    assert (first["beam"], first["greedy"]) == ("Three kids are playing.", "Three children play.")
    assert table.iloc[4]["greedy"] == ""


def test_without_beam_search_ten_lines_are_spread_over_the_set(tmp_path):
    record = made_study(tmp_path)
    artifact(record, "beam").unlink()
    table = translations_table(record)
    assert table["line"].tolist() == [1, 3, 6, 9, 12, 15, 18, 21, 24, 27]
    assert table["beam"].tolist() == [None] * 10


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
