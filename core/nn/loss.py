"""Cross entropy of a softmax output layer, fused with the layer and with its gradient.

Legend: N positions, V vocabulary, D d_model.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from core.kernels import kernels_for


def token_cross_entropy(
    states: Tensor,
    weight: Tensor,
    labels: Tensor,
    *,
    ignore_id: int,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Mean cross entropy of softmax(states @ weight^T) over the labels that are not `ignore_id`.

    Equals `F.cross_entropy(..., ignore_index=ignore_id, label_smoothing=label_smoothing)` in value
    and gradient, but the [N, V] logits never stand in memory: they are made and used up in chunks,
    the gradients of states and weight computed on the way. Under autocast the matrix products are
    in its precision, the rest in fp32. Where no label counts the loss is 0, not NaN.

    Shapes: states [..., D], weight [V, D], labels [...]; returns a scalar.
    """
    states, labels = states.flatten(0, -2), labels.flatten()
    counts = labels != ignore_id
    device = states.device.type
    if kernels_for(states.device).skips_padding_in_loss:
        rows = counts.nonzero().squeeze(1)
        states, labels, counts = states.index_select(0, rows), labels[rows], counts[rows]
    is_autocast = torch.is_autocast_enabled(device)
    dtype = torch.get_autocast_dtype(device) if is_autocast else states.dtype
    has_gradient = torch.is_grad_enabled() and (states.requires_grad or weight.requires_grad)
    loss: Tensor = _FusedCrossEntropy.apply(  # type: ignore[no-untyped-call]
        states, weight, labels, counts, label_smoothing, dtype, has_gradient
    )
    return loss


class _FusedCrossEntropy(torch.autograd.Function):
    """Computes loss and gradients together; the backward pass only scales them.

    With logits l, e = exp(l - max l) and s = sum e, the gradient of l is e / s minus the target
    distribution. Neither the division nor the target has to touch [N, V]: 1 / s scales rows of
    D numbers, and the target's part is gathered and scattered by label.
    """

    @staticmethod
    def forward(  # noqa: PLR0917  # apply() passes by position
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        labels: Tensor,
        counts: Tensor,
        smoothing: float,
        dtype: torch.dtype,
        has_gradient: bool,
    ) -> Tensor:
        exact = torch.promote_types(states.dtype, torch.float32)
        vocab = weight.size(0)
        size = min(max(kernels_for(states.device).logits_at_once // vocab, 1), max(len(states), 1))
        labels = labels.masked_fill(~counts, 0)
        counted = counts[:, None].to(exact)
        mean_weight = weight.mean(0, dtype=exact)
        matrix = weight.to(dtype)
        buffer = matrix.new_empty(size, vocab)
        entropy = states.new_zeros((), dtype=exact)
        d_states = torch.empty_like(states, dtype=exact) if has_gradient else None
        d_weight = torch.zeros_like(weight, dtype=exact) if has_gradient else None

        with torch.autocast(states.device.type, enabled=False):
            for start in range(0, len(states), size):
                chunk = slice(start, start + size)
                state, keep = states[chunk].to(exact), counted[chunk]
                # The weights' mean under the target distribution. Times the state it is the
                # target's logit; alone it is the target's part of the state's gradient.
                target = weight[labels[chunk]].to(exact)
                target = target.mul_(1 - smoothing).add_(mean_weight, alpha=smoothing)
                logits = torch.mm(state.to(dtype), matrix.t(), out=buffer[: len(state)]).to(exact)
                top = logits.amax(1, keepdim=True)
                powers = logits.sub_(top).exp_()
                total = powers.sum(1, keepdim=True)
                target_logit = (state * target).sum(1, keepdim=True)
                entropy += ((top + total.log() - target_logit) * keep).sum()
                if d_states is None or d_weight is None:
                    continue
                powers, share = powers.to(dtype), keep / total
                d_states[chunk] = torch.mm(powers, matrix) * share - target * keep
                _add_product(d_weight, powers.t(), (state * share).to(dtype))

        count = counts.sum().clamp_(min=1)
        if d_states is not None and d_weight is not None:
            counted_states = states * counted
            d_weight.index_add_(0, labels, counted_states, alpha=smoothing - 1)
            d_weight -= counted_states.sum(0) * (smoothing / vocab)
            ctx.save_for_backward(d_states, d_weight, count)
            ctx.dtypes = states.dtype, weight.dtype
        return entropy / count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        d_states, d_weight, count = ctx.saved_tensors
        scale = grad / count
        of_states, of_weight = ctx.dtypes
        gradients = (d_states * scale).to(of_states), (d_weight * scale).to(of_weight)
        return *gradients, None, None, None, None, None


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total += left @ right; the sum is kept in the precision of `total`."""
    if left.dtype == total.dtype:
        total.addmm_(left, right)
    else:
        total += torch.mm(left, right)
