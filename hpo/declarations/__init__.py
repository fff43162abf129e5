"""Studies and search spaces, read from TOML and checked; nothing here imports Optuna or torch."""

from hpo.declarations.parameters import (
    CategoricalParameter,
    DivisorParameter,
    FloatParameter,
    IntParameter,
    MultipleParameter,
    Parameter,
)
from hpo.declarations.space import SearchSpace
from hpo.declarations.study import PrunerSettings, SamplerSettings, StorageSettings, Study
from hpo.declarations.study_file import Declared, declared_studies, load_study
from hpo.declarations.validation import Checked, validate_path
from hpo.mistakes import DeclarationError

__all__ = [
    "CategoricalParameter",
    "Checked",
    "DeclarationError",
    "Declared",
    "DivisorParameter",
    "FloatParameter",
    "IntParameter",
    "MultipleParameter",
    "Parameter",
    "PrunerSettings",
    "SamplerSettings",
    "SearchSpace",
    "StorageSettings",
    "Study",
    "declared_studies",
    "load_study",
    "validate_path",
]
