"""The names under which a study's own facts are stored, beside Optuna's."""

from __future__ import annotations

DECLARATION = "declaration"
IDENTITY = "identity"
FACTS = "facts"
PROTOCOL = "protocol"
"""The protocol lock: hash and content."""
GRID = "grid"
TOTAL = "total"
ELAPSED_S = "elapsed_s"
RUNS_DIR = "runs_dir"
FOLDER_KEY = "folder_key"
"""Random; also in `study.json`, so that a folder is known to belong to a row of the database."""
CHANGES = "changes"
EXHAUSTED = "exhausted"
SCHEMA = "schema_version"
