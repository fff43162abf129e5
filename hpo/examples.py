"""Examples that `--help` shows below the options of each command."""

from __future__ import annotations

OVERVIEW = """\
examples:
  {prog} run --study quickstart
  {prog} run --study depth_sweep --trials 20 --jobs 2 --time-limit 1h30m
  {prog} run --study league --data my/corpora --set protocol.finetune_steps=300
  {prog} show depth_sweep 3

exit codes: 0 done, 1 the run failed, 2 a mistake in what was asked, 130 interrupted
"""

_LINES = {
    "run": (
        "run --study depth_sweep",
        "run --study depth_sweep --name depth_random --set sampler.name=random",
        "run --study my/studies/wide.toml --time-limit 45m --jobs 2",
    ),
    "plan": ("plan depth_sweep", "plan league --time-limit 2h --gpus all"),
    "studies": ("studies", "studies --json"),
    "show": ("show depth_sweep", "show depth_sweep 3", "show depth_sweep --json | jq .best"),
    "explain": ("explain depth_sweep 3",),
    "compare": ("compare depth_sweep 3 5 8", "compare depth_sweep depth_random"),
    "translate": (
        'translate depth_sweep "Ein Hund läuft." "Zwei Kinder spielen."',
        "translate depth_sweep --trial 3 < sentences.de > sentences.en",
    ),
    "export": (
        "export depth_sweep --format transformers models/winner",
        "export depth_sweep 3 --format ctranslate2 models/third",
    ),
    "export-study": (
        "export-study depth_sweep --output depth_sweep.jsonl",
        "export-study depth_sweep | gzip > depth_sweep.jsonl.gz",
    ),
    "import-study": (
        "import-study depth_sweep.jsonl",
        "import-study depth_sweep.jsonl --name theirs",
        "import-study - < depth_sweep.jsonl",
    ),
    "leaderboard": ("leaderboard", "leaderboard --study league --html"),
    "status": ("status", "status depth_sweep --follow"),
    "stop": ("stop depth_sweep", "stop depth_sweep --now"),
    "report": (
        "report depth_sweep",
        "report depth_sweep --format csv --output trials.csv",
        "report depth_sweep --format png",
    ),
    "new": ("new space wide", "new study wide", "run --study wide"),
    "validate": ("validate", "validate my/studies/wide.toml"),
    "schema": ("schema study", "schema --dir my/schemas"),
    "repair": ("repair depth_sweep",),
    "clean": ("clean depth_sweep",),
    "cache": ("cache list", "cache prune --older-than 48h --dry-run", "cache prune --limit 10G"),
    "dashboard": ("dashboard", "dashboard --port 8081"),
    "schedule": (
        "schedule --steps 500 --warmup 5% 10%",
        "schedule --shape exponential --decay cosine noam --figure schedules.html",
    ),
    "advise": ("advise depth_sweep",),
    "lr-find": (
        "lr-find depth_sweep --at model.num_layers=6",
        "lr-find depth_sweep --write-space search_spaces/depth_narrow.toml",
    ),
    "ladder": ("ladder depth_sweep",),
    "completion": (
        'eval "$({prog} completion bash)"  # in ~/.bashrc',
        'eval "$({prog} completion zsh)"  # in ~/.zshrc, behind compinit',
        "{prog} completion fish > ~/.config/fish/completions/hpo.fish",
    ),
}
"""Command -> what follows the program's name; whole lines where that stands elsewhere."""

EXAMPLES = {
    name: "examples:\n"
    + "".join(f"  {line}\n" if "{prog}" in line else f"  {{prog}} {line}\n" for line in lines)
    for name, lines in _LINES.items()
}
"""Command -> its examples, in which `{prog}` stands for how the program is called."""
