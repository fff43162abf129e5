"""The protocol lock: what all scores that may be compared have in common, and its hash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import UserError
from core.sealed import read_sealed
from core.settings import RECIPE_VERSION, digest_of
from hpo.identity import differences, refuse_changes

if TYPE_CHECKING:
    from core.settings import RunConfig
    from hpo.declarations import Study

SHORT = 12
"""Hexadecimal digits of a hash or digest that people are shown."""

_KEYS = {"task", "protocol", "digests", "steps", "signature"}


@dataclass(frozen=True)
class ProtocolLock:
    """The locked protocol of a study; two studies with equal hashes can be ranked together."""

    content: Mapping[str, Any]
    """Plain JSON: task, recipe_version (which earlier locks lack), protocol, digests, steps by
    stage, signature."""

    @property
    def hash(self) -> str:
        """SHA-256 of the content, in hexadecimal."""
        return digest_of(self.content)

    @property
    def short(self) -> str:
        return self.hash[:SHORT]

    @property
    def signature(self) -> str | None:
        """How a test score is computed; `None` where the task does not say."""
        signature: str | None = self.content["signature"]
        return signature

    def as_json(self) -> dict[str, Any]:
        """As it is stored; the hash is for readers, and is computed anew from the content."""
        return {"hash": self.hash, "content": dict(self.content)}


def lock_of(study: Study, digests: Mapping[str, str]) -> ProtocolLock:
    """The lock of a declared study on data with these digests (`Facts.digests`)."""
    signature = study.spec.signature
    return ProtocolLock(
        {
            "task": study.task,
            "recipe_version": RECIPE_VERSION,
            "protocol": study.protocol.model_dump(mode="json"),
            "digests": dict(digests),
            "steps": dict(study.grid.stages),
            "signature": None if signature is None else signature(study.protocol),
        }
    )


def stored_lock(stored: Mapping[str, Any] | None) -> ProtocolLock | None:
    """The lock that a study's attribute holds; `None` for a study that has none yet.

    Raises: ValueError if it is none of ours.
    """
    if stored is None:
        return None
    try:
        content = stored["content"]
        if not content.keys() >= _KEYS or "data" not in content["digests"]:
            raise ValueError(f"keys {sorted(content)}")
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"the protocol lock is damaged: {error}") from None
    return ProtocolLock(content)


def refuse_other_run(
    study: str, lock: ProtocolLock | None, run: str, config: RunConfig, folder: Path
) -> None:
    """Refuses a run that is not under the lock, or whose folder was begun by one that was not.

    `run` names it in the message: `trial 7`. Without a lock there is nothing to refuse it by.

    Raises: StudyConflictError with the keys that differ.
    """
    if lock is None:
        return
    _compare(
        study,
        lock,
        run,
        config.model_dump(mode="json"),
        way_out="Run it as a new study with --name NEW.",
    )
    begun = _config_in(folder)
    if begun is not None:
        way_out = f"Delete that folder, and {run} begins again."
        _compare(study, lock, f"what lies in {folder}", begun, way_out=way_out)


def _compare(
    study: str, lock: ProtocolLock, what: str, config: Mapping[str, Any], *, way_out: str
) -> None:
    locked = lock.content
    refuse_changes(
        study,
        differences(
            {
                "task": locked["task"],
                "protocol": locked["protocol"],
                "digests": {"data": locked["digests"]["data"]},
            },
            {
                "task": config.get("task"),
                "protocol": config.get("protocol"),
                "digests": {"data": config.get("data_digest")},
            },
        ),
        way_out,
        said=f"{what} is not under the study's protocol, {lock.short}",
    )


def _config_in(folder: Path) -> Mapping[str, Any] | None:
    """The configuration that a folder was begun with; `None` where none can be read.

    A folder with a run in it that says nothing of its configuration is core's to refuse.
    """
    try:
        config = read_sealed(folder / "config.json")["config"]
    except (OSError, UserError, KeyError):
        return None
    return config if isinstance(config, dict) else None
