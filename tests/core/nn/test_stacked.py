"""Stacked layers give, row by row and gradient by gradient, what each member gives alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from core.nn.dropout import drawing_from, keep_mask
from core.nn.stacked import linear, stack_layers

MEMBERS, ROWS, LENGTH, VOCAB, WIDTH, PAD = 3, 5, 7, 11, 4, 2


class Net(nn.Module):
    """One of each layer that has weights, the embedding used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, WIDTH, padding_idx=PAD)
        self.norm = nn.LayerNorm(WIDTH)
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH, bias=bias) for bias in (True, False))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.embedding(ids))
        for layer in self.layers:
            x = x + layer(x.flatten(0, 1)).relu_().view_as(x)
        return linear(x, self.embedding.weight)


def test_members_in_a_stack_are_as_they_are_alone() -> None:
    torch.manual_seed(1)
    models = [Net().double() for _ in range(MEMBERS)]
    for model in models:
        nn.init.normal_(model.norm.weight)
        nn.init.normal_(model.norm.bias)
    stacked = {
        name: nn.Parameter(torch.stack([model.get_parameter(name) for model in models]).detach())
        for name, _ in models[0].named_parameters()
    }
    together = stack_layers(models[0], stacked)
    assert {id(own) for own in together.parameters()} == {id(own) for own in stacked.values()}
    ids = torch.randint(VOCAB, (MEMBERS * ROWS, LENGTH))
    found = together(ids)
    weights = torch.randn_like(found)
    (found * weights).sum().backward()
    for index, model in enumerate(models):
        rows = slice(index * ROWS, (index + 1) * ROWS)
        expected = model(ids[rows])
        torch.testing.assert_close(found[rows], expected)
        (expected * weights[rows]).sum().backward()
        for name, parameter in model.named_parameters():
            gradient = stacked[name].grad
            assert gradient is not None
            torch.testing.assert_close(gradient[index], parameter.grad)


class Unknown(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Bilinear(2, 3, 5)


class Frozen(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 3).requires_grad_(False)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Unknown(), "inner is a Bilinear, which cannot be stacked"),
        (Frozen(), r"\['inner.bias', 'inner.weight'\] are not trained"),
        (nn.Sequential(nn.BatchNorm1d(3, affine=False)), "0 is a BatchNorm1d, which cannot"),
    ],
)
def test_what_cannot_be_stacked_is_refused(model: nn.Module, words: str) -> None:
    stacked = {
        name: nn.Parameter(torch.stack([weight] * MEMBERS).detach())
        for name, weight in model.named_parameters()
        if weight.requires_grad
    }
    with pytest.raises(TypeError, match=words):
        stack_layers(model, stacked)


def test_each_member_s_masks_come_from_its_own_generator() -> None:
    seeds = 3, 4, 5
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    shape = (ROWS, LENGTH)  # no multiple of four units
    with drawing_from(generators):
        masks = [keep_mask(torch.empty(len(seeds) * ROWS, LENGTH), 0.4) for _ in range(2)]
    for index, seed in enumerate(seeds):
        torch.manual_seed(seed)
        for mask in masks:
            own = mask[index * ROWS : (index + 1) * ROWS]
            assert torch.equal(own, keep_mask(torch.empty(shape), 0.4))
