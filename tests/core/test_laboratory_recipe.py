"""A warmup's shape is part of what a run is, and the shape that always was changes no digest."""

import pytest

from core.settings import Recipe, WarmupShape, digest_of
from core.translation.settings import FinetuneSettings, PretrainSettings, TranslationProtocol


@pytest.mark.parametrize(
    ("recipe", "digest"),
    [
        (Recipe(), "793fa6dbdb35"),
        (FinetuneSettings(warmup_ratio=0.1), "fa27fefde27f"),
        (PretrainSettings(), "439e2dd47f69"),
        (TranslationProtocol().pretrain, "439e2dd47f69"),
    ],
)
def test_a_linear_warmup_has_the_digest_it_had_before_there_were_others(
    recipe: Recipe, digest: str
) -> None:
    """Cached stages, locked protocols and folders under way go by it."""
    assert digest_of(recipe.model_dump(mode="json")).startswith(digest)


def test_another_shape_is_another_run() -> None:
    digests = {
        digest_of(Recipe(warmup_shape=shape).model_dump()) for shape in ("cosine", "linear")
    }
    assert len(digests) == 2


def test_what_is_written_is_read_back() -> None:
    class Gentle(Recipe):
        warmup_shape: WarmupShape = "cosine"

    for recipe in (
        Recipe(),
        Recipe(warmup_shape="cosine"),
        Gentle(),
        Gentle(warmup_shape="linear"),
    ):
        assert type(recipe).model_validate(recipe.model_dump(mode="json")) == recipe
