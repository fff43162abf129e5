"""The GRU against torch's, forward and backward, in double precision."""

import pytest
import torch

from core.nn import Gru

B, T, F, H = 3, 7, 5, 11


@pytest.mark.parametrize("num_layers", [1, 2])
def test_equal_to_torch_in_value_and_gradient(num_layers: int) -> None:
    torch.manual_seed(17)
    gru = Gru(F, H, num_layers).double()
    own = torch.randn(B, T, F, dtype=torch.double, requires_grad=True)
    given = own.detach().clone().requires_grad_()
    target = torch.randn(B, T, H, dtype=torch.double)

    ((gru(own) - target) ** 2).sum().backward()
    gradients = [weight.grad for weight in gru.parameters()]
    gru.zero_grad()
    states = gru.layers(given)[0]
    ((states - target) ** 2).sum().backward()

    torch.testing.assert_close(gru(own), states)
    torch.testing.assert_close(own.grad, given.grad)
    for gradient, weight in zip(gradients, gru.parameters(), strict=True):
        torch.testing.assert_close(gradient, weight.grad)


def test_the_same_without_a_gradient() -> None:
    torch.manual_seed(17)
    gru, x = Gru(F, H, 2), torch.randn(B, T, F)
    with torch.no_grad():
        states = gru(x)
    torch.testing.assert_close(gru(x), states)


def test_nothing_comes_back_from_the_future() -> None:
    torch.manual_seed(17)
    gru, x = Gru(F, H, 2), torch.randn(B, T, F)
    changed = x.clone()
    changed[:, 4:] += 1
    assert torch.equal(gru(x)[:, :4], gru(changed)[:, :4])
