"""Each mistake in a declaration is one line: file, key, rule, the value got, the nearest name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from core import registry
from core.errors import UserError
from hpo.declarations import DeclarationError, load_study

STUDY = """\
task = "translation"
search_space = "space"
trials = 7
"""
SPACE = """\
task = "translation"
"""


def refuse(folder: Path, study: str, space: str, **how: object) -> str:
    """The message with which a study over a space is refused."""
    (folder / "study.toml").write_text(study)
    (folder / "space.toml").write_text(space)
    with pytest.raises(DeclarationError) as caught:
        load_study(str(folder / "study.toml"), **how)  # type: ignore[arg-type]
    message = str(caught.value)
    assert isinstance(caught.value, UserError)
    assert "\n" not in message
    assert "pydantic" not in message
    assert len(message) < 400
    return message


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


SPACES = {
    # Names and shapes.
    "unknown top key": (
        "parameter = {}\n",
        "space.toml: unknown key 'parameter'. Did you mean 'parameters'?",
    ),
    "unknown parameter": (
        '[parameters]\n"model.n_layers" = { type = "int", low = 1, high = 2 }',
        "space.toml: unknown parameter 'model.n_layers'. Did you mean 'model.num_layers'?",
    ),
    "unknown parameter, nothing near": (
        '[parameters]\nqq = { type = "int", low = 1, high = 2 }',
        "space.toml: unknown parameter 'qq'. Allowed: model.d_model, model.num_heads,",
    ),
    "unknown setting": (
        '[settings]\n"model.d_mode" = 8',
        "unknown setting 'model.d_mode'. Did you mean 'model.d_model'?",
    ),
    "unknown key of a parameter": (
        '[parameters]\n"model.d_model" = { type = "int", low = 8, hihg = 16, high = 16 }',
        """unknown key 'hihg' in [parameters."model.d_model"]. Did you mean 'high'?""",
    ),
    "step on a categorical": (
        '[parameters]\n"model.norm" = { type = "categorical", choices = ["pre"], step = 1 }',
        """unknown key 'step' in [parameters."model.norm"]. Allowed: when, type, choices""",
    ),
    "unknown type": (
        '[parameters]\n"model.d_model" = { type = "integer", low = 8, high = 16 }',
        """parameters."model.d_model".type is no kind of parameter, got 'integer'. """
        "Allowed: int, float, categorical, multiple, divisor. Did you mean 'int'?",
    ),
    "type of another type": (
        '[parameters]\n"model.d_model" = { type = 3 }',
        'parameters."model.d_model".type is no kind of parameter, got 3',
    ),
    "no type": (
        '[parameters]\n"model.d_model" = { low = 8, high = 16 }',
        'parameters."model.d_model".type is missing. Allowed: int, float',
    ),
    "no high": (
        '[parameters]\n"model.d_model" = { type = "int", low = 8 }',
        'parameters."model.d_model".high is missing.',
    ),
    "a value for a parameter": (
        '[parameters]\n"model.d_model" = 8',
        'parameters."model.d_model" must be a table, got 8. A value that does not vary belongs in '
        "[settings].",
    ),
    "parameters no table": ("parameters = 3", "space.toml: parameters must be a table, got 3."),
    "twice": (
        '[parameters]\nmodel.d_ff = { type = "int", low = 8, high = 9 }\n'
        '"model.d_ff" = { type = "int", low = 8, high = 9 }',
        '"model.d_ff" is given twice.',
    ),
    "fixed and varied": (
        '[settings]\n"model.d_ff" = 31\n[parameters]\n'
        '"model.d_ff" = { type = "int", low = 8, high = 9 }',
        '"model.d_ff" is both in [settings] and in [parameters].',
    ),
    # Types.
    "true for an int": (
        '[parameters]\n"model.d_model" = { type = "int", low = true, high = 16 }',
        'parameters."model.d_model".low must be a whole number, got True.',
    ),
    "text for an int": (
        '[parameters]\n"model.d_model" = { type = "int", low = "8", high = 16 }',
        """parameters."model.d_model".low must be a whole number, got '8'.""",
    ),
    "float for an int": (
        '[parameters]\n"model.d_model" = { type = "int", low = 8.0, high = 16 }',
        'parameters."model.d_model".low must be a whole number, got 8.0.',
    ),
    "float kind on an int field": (
        '[parameters]\n"model.d_model" = { type = "float", low = 8.0, high = 16.0 }',
        'parameters."model.d_model".low must be a whole number, got 8.0.',
    ),
    "nan": (
        '[parameters]\n"model.dropout" = { type = "float", low = nan, high = 0.5 }',
        'parameters."model.dropout".low must be a finite number, got nan.',
    ),
    "inf": (
        '[parameters]\n"model.dropout" = { type = "float", low = 0.0, high = inf }',
        'parameters."model.dropout".high must be a finite number, got inf.',
    ),
    "nan as a setting": (
        '[settings]\n"model.dropout" = nan',
        'settings."model.dropout" must be a finite number, got nan.',
    ),
    "true as a setting": (
        '[settings]\n"model.d_ff" = true',
        'settings."model.d_ff" must be a whole number, got True.',
    ),
    "a number of hundreds of digits": (
        '[parameters]\n"model.d_model" = { type = "int", low = 8, high = 1' + "0" * 400 + " }",
        'parameters."model.d_model".high must be <= 9007199254740992, got 1000',
    ),
    "a number of thousands of digits": (
        '[parameters]\n"model.d_model" = { type = "int", low = 8, high = 0x' + "f" * 9999 + " }",
        "got a number of thousands of digits.",
    ),
    "a number that Python does not read": (
        '[settings]\n"model.d_model" = ' + "7" * 5000,
        "space.toml: invalid TOML: Exceeds the limit",
    ),
    "a huge number for a float": (
        '[settings]\n"model.dropout" = 1' + "0" * 400,
        'settings."model.dropout" must be a number, got 1000',
    ),
    "a date": (
        '[settings]\n"model.d_ff" = 2020-01-02',
        'settings."model.d_ff" must be a whole number, got datetime.date(2020, 1, 2).',
    ),
    # Ranges.
    "low > high": (
        '[parameters]\n"model.d_model" = { type = "int", low = 17, high = 16 }',
        'parameters."model.d_model" is refused: low (17) is above high (16).',
    ),
    "log with 0": (
        '[parameters]\n"finetune.learning_rate" = '
        '{ type = "float", low = 0, high = 1, log = true }',
        'parameters."finetune.learning_rate" is refused: log = true needs low > 0, and low is 0',
    ),
    "log and step": (
        '[parameters]\n"model.d_ff" = { type = "int", low = 8, high = 16, step = 2, log = true }',
        "log = true and step exclude each other.",
    ),
    "step 0": (
        '[parameters]\n"model.d_ff" = { type = "int", low = 8, high = 16, step = 0 }',
        'parameters."model.d_ff".step must be >= 1, got 0.',
    ),
    "step that does not divide": (
        '[parameters]\n"model.d_ff" = { type = "int", low = 8, high = 16, step = 3 }',
        "step (3) does not divide the range, low (8) to high (16).",
    ),
    "float step that does not divide": (
        '[parameters]\n"model.dropout" = { type = "float", low = 0.1, high = 0.3, step = 0.07 }',
        "step (0.07) does not divide the range, low (0.1) to high (0.3).",
    ),
    "tiny step": (
        '[parameters]\n"model.dropout" = { type = "float", low = 0.1, high = 0.3, step = 7e-300 }',
        "step (7e-300) does not divide the range",
    ),
    # Choices.
    "no choices": (
        '[parameters]\n"model.norm" = { type = "categorical", choices = [] }',
        'parameters."model.norm" is refused: choices is empty.',
    ),
    "choices no list": (
        '[parameters]\n"model.norm" = { type = "categorical", choices = "pre" }',
        """parameters."model.norm".choices must be a list, got 'pre'.""",
    ),
    "a choice twice": (
        '[parameters]\n"model.norm" = { type = "categorical", choices = ["pre", "post", "pre"] }',
        "choices holds 'pre' twice.",
    ),
    "1 and 1.0": (
        '[parameters]\n"model.d_ff" = { type = "categorical", choices = [11, 13, 11.0] }',
        "choices holds 11.0 twice.",
    ),
    "mixed choices": (
        '[parameters]\n"model.norm" = { type = "categorical", choices = ["pre", 1, true] }',
        "choices mixes kinds of value: number, string, true/false.",
    ),
    "a list as a choice": (
        '[parameters]\n"model.norm" = { type = "categorical", choices = ["pre", ["post"]] }',
        "choices may hold finite numbers, strings, or true and false.",
    ),
    "nan as a choice": (
        '[parameters]\n"model.dropout" = { type = "categorical", choices = [0.1, nan] }',
        "choices may hold finite numbers, strings, or true and false.",
    ),
    "a choice that core does not know": (
        '[parameters]\n"model.norm" = { type = "categorical", choices = ["pre", "pots"] }',
        """parameters."model.norm".choices[2] must be one of the known names, got 'pots'. """
        "Allowed: pre, post. Did you mean 'post'?",
    ),
    # Core's bounds.
    "above core's bound": (
        '[parameters]\n"model.num_layers" = { type = "int", low = 1, high = 99 }',
        'parameters."model.num_layers".high must be <= 48, got 99.',
    ),
    "below core's bound": (
        '[parameters]\n"finetune.learning_rate" = { type = "float", low = 0.0, high = 0.5 }',
        'parameters."finetune.learning_rate".low must be > 0.0, got 0.0.',
    ),
    "setting out of bounds": (
        '[settings]\n"model.d_model" = 7',
        'settings."model.d_model" must be >= 8, got 7.',
    ),
    "multiple out of bounds": (
        '[parameters]\n"model.d_model" = { type = "int", low = 8, high = 4096, step = 8 }\n'
        '"model.d_ff" = { type = "multiple", of = "model.d_model", factors = [2, 8] }',
        'parameters."model.d_ff" must be <= 16384, got 32768.',
    ),
    # Derived parameters.
    "of nothing": (
        '[parameters]\n"model.d_ff" = { type = "multiple", of = "model.d_modl", factors = [2] }',
        """parameters."model.d_ff".of refers to unknown 'model.d_modl'. """
        "Did you mean 'model.d_model'?",
    ),
    "of a later one": (
        '[parameters]\n"model.d_ff" = { type = "multiple", of = "model.d_model", factors = [2] }\n'
        '"model.d_model" = { type = "int", low = 8, high = 16 }',
        """parameters."model.d_ff".of refers to 'model.d_model', which is declared later. """
        "Move 'model.d_model' above it.",
    ),
    "of text": (
        '[parameters]\n"model.d_ff" = { type = "multiple", of = "model.norm", factors = [2] }',
        """of refers to 'model.norm', which is not a number.""",
    ),
    "of nothing set": (
        '[parameters]\n"model.d_ff" = '
        '{ type = "multiple", of = "finetune.warmup_steps", factors = [2] }',
        "of refers to 'finetune.warmup_steps', which is not a number.",
    ),
    "of itself": (
        '[parameters]\n"model.d_ff" = { type = "multiple", of = "model.d_ff", factors = [2] }',
        "of forms a cycle: model.d_ff -> model.d_ff.",
    ),
    "no factors": (
        '[parameters]\n"model.d_ff" = { type = "multiple", of = "model.d_model", factors = [] }',
        "factors is empty.",
    ),
    "factors in disorder": (
        '[parameters]\n"model.d_ff" = '
        '{ type = "multiple", of = "model.d_model", factors = [3, 2] }',
        "factors must be in ascending order.",
    ),
    "a factor twice": (
        '[parameters]\n"model.d_ff" = '
        '{ type = "multiple", of = "model.d_model", factors = [2, 2] }',
        "factors holds 2.0 twice.",
    ),
    "no common divisor": (
        '[parameters]\n"model.d_model" = { type = "int", low = 64, high = 80, step = 8 }\n'
        '"model.num_heads" = { type = "divisor", of = "model.d_model", choices = [16, 32] }',
        'parameters."model.num_heads".choices must begin with a divisor of every value that '
        "'model.d_model' can take, got 16. Begin with 1",
    ),
    "divisor of a fraction": (
        "[parameters]\n"
        '"model.num_heads" = { type = "divisor", of = "model.dropout", choices = [1, 2] }',
        "must begin with a divisor of every value that 'model.dropout' can take",
    ),
    "combinations that cannot be built": (
        '[settings]\n"model.num_heads" = 4\n'
        '[parameters]\n"model.d_model" = { type = "int", low = 64, high = 128 }',
        "some points cannot be built: model.num_heads (4) must divide model.d_model (",
    ),
    "warmup longer than the stage": (
        '[parameters]\n"finetune.warmup_steps" = { type = "int", low = 0, high = 501 }',
        "finetune.warmup_steps (501) must not exceed protocol.finetune_steps (500). "
        "The first such point: finetune.warmup_steps = 501.",
    ),
    "both warmups": (
        '[settings]\n"finetune.warmup_ratio" = 0.1\n'
        '[parameters]\n"finetune.warmup_steps" = { type = "int", low = 0, high = 50 }',
        "give warmup_steps or warmup_ratio, not both.",
    ),
    # Conditions.
    "when no table": (
        '[parameters]\n"model.d_ff" = { type = "int", low = 8, high = 9, when = "model.norm" }',
        """parameters."model.d_ff".when must be a table, got 'model.norm'.""",
    ),
    "when of nothing": (
        '[parameters]\n"model.norm" = { type = "categorical", choices = ["pre", "post"] }\n'
        '"model.d_ff" = { type = "int", low = 8, high = 9, when = { "model.nrm" = "pre" } }',
        """when refers to 'model.nrm', which is no parameter of this space. """
        "Did you mean 'model.norm'?",
    ),
    "when of a later one": (
        '[parameters]\n"model.d_ff" = '
        '{ type = "int", low = 8, high = 9, when = { "model.norm" = "pre" } }\n'
        '"model.norm" = { type = "categorical", choices = ["pre", "post"] }',
        """when refers to 'model.norm', which is declared later.""",
    ),
    "when never": (
        '[parameters]\n"model.norm" = { type = "categorical", choices = ["pre", "post"] }\n'
        '"model.d_ff" = { type = "int", low = 8, high = 9, when = { "model.norm" = "none" } }',
        """when never holds: 'model.norm' does not take this value, got 'none'. """
        "Allowed: pre, post.",
    ),
    "when a number off the grid": (
        '[parameters]\n"model.num_layers" = { type = "int", low = 1, high = 9, step = 2 }\n'
        '"model.d_ff" = { type = "int", low = 8, high = 9, when = { model.num_layers = [3, 4] } }',
        "'model.num_layers' does not take this value, got 4. Allowed: 1 to 9 in steps of 2.",
    ),
    "when true for 1": (
        '[parameters]\n"model.num_layers" = { type = "int", low = 1, high = 9 }\n'
        '"model.d_ff" = { type = "int", low = 8, high = 9, when = { "model.num_layers" = true } }',
        "'model.num_layers' does not take this value, got True.",
    ),
    "when one value of a continuum": (
        '[parameters]\n"model.dropout" = { type = "float", low = 0.1, high = 0.3 }\n'
        '"model.d_ff" = { type = "int", low = 8, high = 9, when = { "model.dropout" = 0.1 } }',
        "'model.dropout' does not take this value, got 0.1. Allowed: values of a parameter",
    ),
    "when no multiple": (
        '[parameters]\n"model.d_model" = { type = "int", low = 16, high = 64, step = 16 }\n'
        '"model.d_ff" = { type = "multiple", of = "model.d_model", factors = [2, 3] }\n'
        '"model.num_layers" = { type = "int", low = 1, high = 2, when = { "model.d_ff" = 100 } }',
        "'model.d_ff' does not take this value, got 100.",
    ),
    "when nothing": (
        '[parameters]\n"model.norm" = { type = "categorical", choices = ["pre", "post"] }\n'
        '"model.d_ff" = { type = "int", low = 8, high = 9, when = { "model.norm" = [] } }',
        "when never holds: it names no value of 'model.norm'.",
    ),
    "conditions that exclude each other": (
        '[parameters]\n"model.norm" = { type = "categorical", choices = ["pre", "post"] }\n'
        '"model.num_layers" = { type = "int", low = 1, high = 2, when = { model.norm = "pre" } }\n'
        '"model.d_ff" = { type = "int", low = 8, high = 9, '
        'when = { "model.num_layers" = 1, "model.norm" = "post" } }',
        'parameters."model.d_ff".when never holds: its conditions exclude each other.',
    ),
    "a cycle": (
        '[parameters]\n"model.norm" = '
        '{ type = "categorical", choices = ["pre", "post"], when = { "model.d_ff" = 8 } }\n'
        '"model.d_ff" = { type = "int", low = 8, high = 9, when = { "model.norm" = "pre" } }',
        'parameters."model.norm".when forms a cycle: model.norm -> model.d_ff -> model.norm.',
    ),
    # The file.
    "invalid TOML": (
        "[parameters]\nx = \n",
        "space.toml: invalid TOML: Invalid value (at line 3,",
    ),
    "unfinished TOML": (
        'x = """abc',
        "invalid TOML: Unterminated string (at line 2, column 11, the end of the document).",
    ),
    "nested without end": ("x = " + "[" * 5000, "space.toml: invalid TOML"),
    "a key twice": (
        "x = 1\nx = 2",
        "space.toml: invalid TOML: Cannot overwrite a value (at line 3",
    ),
}


@pytest.mark.parametrize(("space", "message"), SPACES.values(), ids=SPACES)
def test_refused_search_space(tmp_path: Path, space: str, message: str) -> None:
    told = refuse(tmp_path, STUDY, SPACE + space)
    assert message in told
    assert "space.toml" in told


STUDIES = {
    "no task": ('search_space = "space"\ntrials = 1', "study.toml: task is missing."),
    "unknown task": (
        'task = "translaton"\nsearch_space = "space"\ntrials = 1',
        "study.toml: unknown task, got 'translaton'. Allowed: "
        f"{', '.join(sorted(registry._MODULES))}, or package.module:Task for one of your own. "
        "Did you mean 'translation'?",
    ),
    "no trials": (
        'task = "translation"\nsearch_space = "space"',
        "study.toml: trials is missing.",
    ),
    "0 trials": (
        'task = "translation"\nsearch_space = "space"\ntrials = 0',
        "study.toml: trials must be >= 1, got 0.",
    ),
    "no time": (
        'task = "translation"\nsearch_space = "space"\ntrials = 1\ntrial_time_limit = "0s"',
        "study.toml: trial_time_limit must be a time, got '0s'. Allowed: 1s to 99999h,",
    ),
    "a time without its unit": (
        'task = "translation"\nsearch_space = "space"\ntrials = 1\ntrial_time_limit = 30',
        "study.toml: trial_time_limit must be a string, got 30.",
    ),
    "unknown search space": (
        'task = "translation"\nsearch_space = "spac"\ntrials = 1',
        "study.toml: search_space: unknown search space, got 'spac'. Allowed: a path ending with",
    ),
    "search space is a path out of the allow-list": (
        'task = "translation"\nsearch_space = ".."\ntrials = 1',
        "study.toml: search_space: not a name, got '..'.",
    ),
    "unknown section": (
        STUDY + "[protocoll]",
        "unknown key 'protocoll'. Did you mean 'protocol'?",
    ),
    "unknown protocol key": (
        STUDY + "[protocol]\npretrain_step = 7",
        "study.toml: unknown key 'pretrain_step' in [protocol]. Did you mean 'pretrain_steps'?",
    ),
    "unknown nested key": (
        STUDY + "[protocol.pretrain]\nlr = 7",
        "study.toml: unknown key 'lr' in [protocol.pretrain]. Allowed: learning_rate,",
    ),
    "off the grid": (
        STUDY + "[protocol]\nfinetune_steps = 21\neval_every = 4\npretrain_steps = 8",
        "study.toml: protocol is refused: finetune_steps (21) must be a multiple",
    ),
    "text in the protocol": (
        STUDY + '[protocol]\nvocab_size = "8000"',
        "study.toml: protocol.vocab_size must be a whole number, got '8000'.",
    ),
    "unknown data key": (
        STUDY + '[data]\nsorce = "pocket"',
        "study.toml: unknown key 'sorce' in [data]. Did you mean 'source'?",
    ),
    "a folder name with a NUL": (
        STUDY + '[data]\nsource = "a\\u0000"',
        "study.toml: no such folder, got 'a\\x00'.",
    ),
    "a pruner of thousands of digits": (
        STUDY + "[pruner]\nname = 0x" + "f" * 9999,
        "study.toml: unknown pruner, got a number of thousands of digits. Allowed: successive_",
    ),
    "empty folder name": (STUDY + '[data]\nsource = " "', "study.toml: data.source is empty."),
    "unknown sampler": (
        STUDY + '[sampler]\nname = "randm"',
        "study.toml: unknown sampler, got 'randm'. Allowed: tpe, random, brute_force, gp, qmc. "
        "Did you mean 'random'?",
    ),
    "unknown pruner": (
        STUDY + '[pruner]\nname = "halving"',
        "study.toml: unknown pruner, got 'halving'. Allowed: successive_halving, hyperband,",
    ),
    "a key of another pruner": (
        STUDY + '[pruner]\nname = "median"\nreduction_factor = 2',
        "study.toml: unknown key 'reduction_factor' in [pruner]. Allowed: name, trust, n_startup_",
    ),
    "unknown sequence": (
        STUDY + '[sampler]\nname = "qmc"\nqmc_type = "sobel"',
        "study.toml: sampler.qmc_type must be one of the known names, got 'sobel'. "
        "Allowed: sobol, halton. Did you mean 'sobol'?",
    ),
    "unknown trust": (
        STUDY + '[pruner]\nname = "median"\ntrust = "alway"',
        "study.toml: pruner.trust must be one of the known names, got 'alway'. "
        "Allowed: measured, always. Did you mean 'always'?",
    ),
    "percentile beyond 100": (
        STUDY + '[pruner]\nname = "percentile"\npercentile = 101.0',
        "study.toml: pruner.percentile must be <= 100.0, got 101.0.",
    ),
    "patient around nothing": (
        STUDY + '[pruner]\nname = "patient"',
        "study.toml: pruner.around is missing.",
    ),
    "patient around a word": (
        STUDY + '[pruner]\nname = "patient"\naround = "median"',
        "study.toml: pruner.around must be a table",
    ),
    "patient around an unknown pruner": (
        STUDY + '[pruner]\nname = "patient"\naround = { name = "medain" }',
        "study.toml: unknown pruner.around, got 'medain'. Allowed: successive_halving, "
        "hyperband, median, percentile. Did you mean 'median'?",
    ),
    "patient around what stops nobody": (
        STUDY + '[pruner]\nname = "patient"\naround = { name = "none" }',
        "study.toml: unknown pruner.around, got 'none'. Allowed: successive_halving,",
    ),
    "unknown key of the pruner that patience is around": (
        STUDY + '[pruner]\nname = "patient"\naround = { name = "median", n_min_trial = 2 }',
        "study.toml: unknown key 'n_min_trial' in [pruner.around]. Did you mean 'n_min_trials'?",
    ),
    "no patience": (
        STUDY + '[pruner]\nname = "patient"\npatience = 0\naround = { name = "median" }',
        "study.toml: pruner.patience must be >= 1, got 0.",
    ),
    "negative pruner step": (
        STUDY + "[pruner]\nn_warmup_steps = -5",
        "study.toml: pruner.n_warmup_steps must be >= 0, got -5.",
    ),
    "sampler no table": (
        'sampler = "tpe"\n' + STUDY,
        "study.toml: sampler must be a table, got 'tpe'.",
    ),
    "brute force over a continuum": (
        STUDY + '[sampler]\nname = "brute_force"',
        "study.toml: brute_force needs a finite search space, and 'finetune.learning_rate' is "
        "continuous.",
    ),
    "no finalist": (
        STUDY + "[finals]\ntop = 0",
        "study.toml: finals.top must be >= 1, got 0.",
    ),
    "fewer seeds than none": (
        STUDY + "[finals]\nseeds = -1",
        "study.toml: finals.seeds must be >= 0, got -1.",
    ),
    "keep nothing": (
        STUDY + "[storage]\nkeep = 0",
        "study.toml: storage.keep must be >= 1, got 0.",
    ),
    "enqueue no list": ("enqueue = 3\n" + STUDY, "study.toml: enqueue must be a list, got 3."),
    "enqueue incomplete": (
        STUDY + '[[enqueue]]\n"model.num_layers" = 3\n"model.norm" = "pre"',
        'study.toml: enqueue[1]."finetune.learning_rate" is missing.',
    ),
    "enqueue out of range": (
        STUDY + '[[enqueue]]\n"model.num_layers" = 9\n"model.norm" = "pre"\n'
        '"finetune.learning_rate" = 0.1',
        'study.toml: enqueue[1]."model.num_layers" is not drawn by the search space, got 9. '
        "Allowed: 1 to 5 in steps of 2.",
    ),
    "enqueue off the step": (
        STUDY + '[[enqueue]]\n"model.num_layers" = 2\n"model.norm" = "pre"\n'
        '"finetune.learning_rate" = 0.1',
        "is not drawn by the search space, got 2.",
    ),
    "enqueue true for 1": (
        STUDY + '[[enqueue]]\n"model.num_layers" = true\n"model.norm" = "pre"\n'
        '"finetune.learning_rate" = 0.1',
        "is not drawn by the search space, got True.",
    ),
    "enqueue unknown": (
        STUDY + '[[enqueue]]\n"model.num_layer" = 3\n"model.norm" = "pre"',
        "study.toml: enqueue[1]: unknown parameter 'model.num_layer'. Did you mean "
        "'model.num_layers'?",
    ),
    "enqueue fixed": (
        STUDY + '[[enqueue]]\n"model.num_layers" = 3\n"model.d_model" = 64',
        "study.toml: enqueue[1]: 'model.d_model' is fixed, not a parameter.",
    ),
    "enqueue unreachable": (
        STUDY + '[[enqueue]]\n"model.num_layers" = 3\n"model.norm" = "pre"\n'
        '"finetune.learning_rate" = 0.1\n"finetune.warmup_steps" = 7',
        'study.toml: enqueue[1]."finetune.warmup_steps" is out of reach: it is drawn only when '
        "model.norm is post, got 7.",
    ),
    "enqueue a factor that is none": (
        STUDY + '[[enqueue]]\n"model.num_layers" = { factor = 2 }\n"model.norm" = "pre"\n'
        '"finetune.learning_rate" = 0.1',
        'enqueue[1]."model.num_layers" is not drawn by the search space, got {',
    ),
    "the second point": (
        STUDY + '[[enqueue]]\n"model.num_layers" = 3\n"model.norm" = "pre"\n'
        '"finetune.learning_rate" = 0.1\n[[enqueue]]\n',
        'enqueue[2]."model.num_layers" is missing. Allowed: 1 to 5 in steps of 2.',
    ),
}
VARIED = """\
[parameters]
"model.num_layers" = { type = "int", low = 1, high = 5, step = 2 }
"model.norm" = { type = "categorical", choices = ["pre", "post"] }
"finetune.learning_rate" = { type = "float", low = 1e-3, high = 0.5, log = true }
"finetune.warmup_steps" = { type = "int", low = 0, high = 11, when = { "model.norm" = "post" } }
"""


@pytest.mark.parametrize(("study", "message"), STUDIES.values(), ids=STUDIES)
def test_refused_study(tmp_path: Path, study: str, message: str) -> None:
    assert message in refuse(tmp_path, study, SPACE + VARIED)


OVERRIDES = {
    "no equals sign": (
        "trials",
        "--set needs the form section.key=value, got 'trials'. For example",
    ),
    "no key": ("=3", "--set needs the form section.key=value, got '=3'."),
    "empty part": ("protocol..x=3", "--set needs the form"),
    "unknown section": (
        "protocl.eval_every=20",
        "--set protocl.eval_every=20: unknown key 'protocl'. Did you mean 'protocol'?",
    ),
    "unknown key": (
        "protocol.eval_evry=20",
        "--set protocol.eval_evry=20: unknown key 'eval_evry' in [protocol]. Did you mean 'eval_",
    ),
    "below a value": ("trials.x=3", "--set trials.x=3: trials has no keys of its own."),
    "wrong type": (
        "protocol.finetune_steps=many",
        "--set protocol.finetune_steps=many: protocol.finetune_steps must be a whole number, "
        "got 'many'.",
    ),
    "true for 1": ("trials=true", "--set trials=true: trials must be a whole number, got True."),
    "float for int": (
        "trials=1e3",
        "--set trials=1e3: trials must be a whole number, got 1000.0.",
    ),
    "against another key": (
        "protocol.finetune_steps=30",
        "study.toml with --set protocol.finetune_steps=30: protocol is refused: "
        "finetune_steps (30) must be a multiple of eval_every (100).",
    ),
    "against the search space": (
        "protocol.finetune_steps=0",
        "--set protocol.finetune_steps=0: protocol.finetune_steps must be >= 1, got 0.",
    ),
    "unknown sampler": (
        "sampler.name=tree",
        "--set sampler.name=tree: unknown sampler, got 'tree'. Allowed: tpe,",
    ),
    "unknown folder": (
        "data.source=pockt",
        "--set data.source=pockt: no such folder, got 'pockt'. Allowed: pocket, hub, or a folder. "
        "Did you mean 'pocket'?",
    ),
    "more than a value": ("trials=3\nseed=4", "trials must be a whole number, got '3\\nseed=4'."),
    "a long folder name": ("data.source=" + "x" * 5000, "no such folder, got 'xxx"),
    "a table": ("trials={x=1}", "trials must be a whole number, got {'x': 1}."),
}


@pytest.mark.parametrize(("option", "message"), OVERRIDES.values(), ids=OVERRIDES)
def test_refused_override(tmp_path: Path, option: str, message: str) -> None:
    assert message in refuse(tmp_path, STUDY, SPACE + VARIED, overrides=[option])


def test_a_check_that_fails_under_an_override_names_it(tmp_path: Path) -> None:
    options = ["protocol.finetune_steps=10", "protocol.eval_every=10"]
    message = refuse(tmp_path, STUDY, SPACE + VARIED, overrides=options)
    assert message.startswith(
        "study.toml with --set protocol.finetune_steps=10 --set protocol.eval_"
    )
    assert "finetune.warmup_steps (11) must not exceed protocol.finetune_steps (10)" in message


@pytest.mark.parametrize(
    "name", ["", "a b", "../x", "x/y", ".hidden", "é", "x" * 65, "hpo.db", "a\n"]
)
def test_refused_name(tmp_path: Path, name: str) -> None:
    message = refuse(tmp_path, STUDY, SPACE, name=name)
    assert message.startswith("--name: not a name, got ")
    assert "Allowed: 1 to 64 of A-Z a-z 0-9 . _ -, not starting with a dot" in message


def test_a_file_name_that_is_no_study_name(tmp_path: Path) -> None:
    (tmp_path / "my study.toml").write_text(STUDY)
    (tmp_path / "space.toml").write_text(SPACE)
    with pytest.raises(DeclarationError, match=r"got 'my study'.*name the study with --name\.$"):
        load_study("./my study.toml")
    assert load_study("./my study.toml", name="mine").name == "mine"


PLACES = {
    "unknown name": (
        "depth_swep",
        r"^--study: unknown study, got 'depth_swep'\. Allowed: a path ending with \.toml, or "
        r"amplifier, amplifier_stability, depth_sweep, finetune_sweep, league, quickstart, "
        r"speech_depth, speech_digits, warmup_shapes\. "
        r"Did you mean 'depth_sweep'\?$",
    ),
    "missing file": (
        "nowhere/league.toml",
        r"^--study: no such file, got 'nowhere/league\.toml'\. .* Did you mean 'league'\?$",
    ),
    "a folder": ("folder.toml", r"^folder\.toml: this is a folder, not a TOML file\.$"),
    "a way up": ("..", r"^--study: not a name, got '\.\.'\."),
    "a NUL": ("a\0b.toml", r"^--study: no such file, got 'a\\x00b\.toml'\."),
    "nobody's home": (
        "~nobody-here/x.toml",
        r"^--study: no such file, got '~nobody-here/x\.toml'",
    ),
    "a long name": ("x" * 5000 + ".toml", r"^--study: no such file, got 'xxxx"),
    "invalid UTF-8": ("latin.toml", r"^latin\.toml: invalid UTF-8 at byte 18, line 2\.$"),
    "empty": ("", r"^--study: not a name, got ''\."),
}


@pytest.mark.parametrize(("name", "pattern"), PLACES.values(), ids=PLACES)
def test_refused_place(tmp_path: Path, name: str, pattern: str) -> None:
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "latin.toml").write_bytes(b'# a comment.\nx = "\xe4"')
    with pytest.raises(DeclarationError) as caught:
        load_study(name)
    assert re.search(pattern, str(caught.value))


def test_missing_data_folder(tmp_path: Path) -> None:
    message = refuse(tmp_path, STUDY, SPACE, data="hubb")
    assert message.startswith("--data hubb: no such folder, got 'hubb'.")
    assert message.endswith("Did you mean 'hub'?")


def test_the_parts_of_an_error_are_kept(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(STUDY + "[protocol]\nvocab_size = 3")
    (tmp_path / "space.toml").write_text(SPACE)
    with pytest.raises(DeclarationError) as caught:
        load_study("study.toml")
    error = caught.value
    assert (error.where, error.key, error.got) == ("study.toml", "protocol.vocab_size", 3)
    assert error.rule == "must be >= 64"
