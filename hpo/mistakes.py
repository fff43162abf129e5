"""What a study is called or declared as, and cannot be: told without loading pydantic."""

from __future__ import annotations

from core.errors import UserError

_LONGEST_SHOWN = 80


class DeclarationError(UserError):
    """A study or a search space says something that cannot be run."""

    def __init__(
        self,
        what: str,
        *,
        key: str | None = None,
        where: str | None = None,
        got: object | None = None,
        allowed: str | None = None,
        way_out: str | None = None,
    ) -> None:
        super().__init__(
            f"{key} {what}" if key else what,
            where=where,
            got=_shortened(got),
            allowed=allowed,
            way_out=way_out,
        )
        self.key = key
        self.rule = what
        self.got = got


class _Shown(str):
    """Text that stands for a value too long to print, and is printed without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _shortened(value: object) -> object:
    try:
        text = repr(value)
    except ValueError:  # Python refuses to write integers of more than 4,300 digits
        return _Shown("a number of thousands of digits")
    return value if len(text) <= _LONGEST_SHOWN else _Shown(text[:_LONGEST_SHOWN] + "...")
