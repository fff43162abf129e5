"""A search space: what is fixed, what may vary, and the walk in which parameters are drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpo.declarations.parameters import Parameter

Choose = Callable[[str, Parameter, Any], Any]
"""(name, parameter, base) -> the raw value that is drawn."""


@dataclass(frozen=True, eq=False)
class SearchSpace:
    """What may vary, by core's dotted names. Made by `read_space`, which checks it."""

    name: str
    description: str
    task: str
    path: Path
    settings: Mapping[str, Any]
    """Values that the file fixes for all trials, or for those that do not draw them."""
    parameters: Mapping[str, Parameter]
    """In declared order, which is the order of drawing."""
    fixed: Mapping[str, Any]
    """The value of every name while it is not drawn: settings over core's defaults; and the
    protocol's numbers as `protocol.KEY`. Derived parameters may refer to any of them."""

    @property
    def is_conditional(self) -> bool:
        """Whether some trials draw parameters that others do not."""
        return any(parameter.when for parameter in self.parameters.values())

    def walk(self, choose: Choose) -> dict[str, Any]:
        """Realised values of one point, drawn by `choose` in declared order."""
        realised: dict[str, Any] = {}
        for name, parameter in self.parameters.items():
            if parameter.holds(realised):
                base = self.base_of(parameter, realised)
                realised[name] = parameter.realise(choose(name, parameter, base), base)
        return realised

    def base_of(self, parameter: Parameter, realised: Mapping[str, Any]) -> Any:
        """The value that a derived parameter derives from; `None` for the other kinds."""
        of = getattr(parameter, "of", None)
        return None if of is None else realised.get(of, self.fixed.get(of))

    def identity(self) -> dict[str, Any]:
        """What may not change within a study, as JSON."""
        return {
            "settings": dict(self.settings),
            "parameters": {
                name: parameter.model_dump(mode="json", exclude_none=True)
                for name, parameter in self.parameters.items()
            },
        }

    def as_json(self) -> dict[str, Any]:
        """All that was declared."""
        return {"name": self.name, "description": self.description, **self.identity()}
