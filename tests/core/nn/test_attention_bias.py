"""A learned bias of the scores has the gradient that torch gives it."""

import torch
import torch.nn.functional as F

from core.nn.attention import attend

B, H, T, K = 3, 2, 5, 4


def test_the_gradient_of_a_bias_is_that_of_torch() -> None:
    torch.manual_seed(17)
    group = torch.randn(3, B, H, T, K, dtype=torch.double)
    biases = [torch.randn(1, H, T, T, dtype=torch.double, requires_grad=True) for _ in range(2)]
    biases[1].data.copy_(biases[0].data)
    target = torch.randn(B, H, T, K, dtype=torch.double)
    ((attend(group, attend_mask=biases[0]) - target) ** 2).sum().backward()
    query, key, value = group
    ((F.scaled_dot_product_attention(query, key, value, biases[1]) - target) ** 2).sum().backward()
    torch.testing.assert_close(biases[0].grad, biases[1].grad)
