"""The gated recurrent unit, Cho et al. 2014, in the form that cuDNN and torch have.

Legend: B batch, T time, F features of the input, H units.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from core.kernels import kernels_for


class Gru(nn.Module):
    """A stack of GRU layers that begins from zeros.

    Small nets on the CPU wait for calls: forward and backward over 50 steps of 64 sequences with
    11 units, torch's own takes 2 to 3.6 times as long (8.4 ms, against 4.0 with the optimizer).
    """

    def __init__(self, features: int, units: int, num_layers: int) -> None:
        super().__init__()
        self.layers = nn.GRU(features, units, num_layers, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, F] -> states [B, T, H]."""
        is_plain = kernels_for(x.device).uses_own_gru and not torch.is_autocast_enabled(
            x.device.type
        )
        if not (is_plain and torch.is_grad_enabled()):
            states: Tensor = self.layers(x)[0]
            return states
        x = x.permute(1, 2, 0)
        for weights in self.layers.all_weights:
            x = _Layer.apply(x, *weights)  # type: ignore[no-untyped-call]
        return x.permute(2, 0, 1)


class _Layer(torch.autograd.Function):
    """One layer over all of time, its gradient written out.

    From an input x and a state h, with weights W and U and biases b and c of three gates:

        r = sigmoid(W_r x + b_r + U_r h + c_r)        q = U_n h + c_n
        z = sigmoid(W_z x + b_z + U_z h + c_z)        n = tanh(W_n x + b_n + r q)
        next h = (1 - z) n + z h

    Only what needs the state goes step by step, in five calls forward and three back, on matrices
    that lie in one piece: the batch comes last.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, *weights: Tensor) -> Tensor:
        """[T, F, B] -> [T, H, B]; weights W [3 H, F], U [3 H, H], b and c [3 H], of r, z and n."""
        w, u, b, c = weights
        time, _, batch = x.shape
        size = u.size(1)
        rzq = torch.matmul(w, x).add_(b[:, None])
        n = rzq[:, 2 * size :].clone()
        rzq[:, 2 * size :] = 0
        rzq += c[:, None]
        rz = rzq[:, : 2 * size]
        r, z, q = rzq.chunk(3, 1)
        states = x.new_zeros(time + 1, size, batch)
        h = states[0]
        for rzq_t, rz_t, r_t, z_t, q_t, n_t, next_h in zip(
            *(part.unbind() for part in (rzq, rz, r, z, q, n, states[1:])), strict=True
        ):
            rzq_t.addmm_(u, h)
            rz_t.sigmoid_()
            n_t.addcmul_(r_t, q_t).tanh_()
            h = torch.lerp(n_t, h, z_t, out=next_h)
        ctx.save_for_backward(x, w, u, rzq, n, states)
        return states[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, w, u, rzq, n, states = ctx.saved_tensors
        before = states[:-1]
        r, z, q = rzq.chunk(3, 1)
        by_n = (1 - z) * (1 - n * n)
        # How far the state moves with each of U_r h, U_z h and U_n h: [T, 3, H, B].
        slopes = torch.stack([by_n * q * r * (1 - r), (before - n) * z * (1 - z), by_n * r], 1)
        d_gates, d_states = (
            torch.empty_like(slopes),
            grad.clone(memory_format=torch.contiguous_format),
        )
        steps = [part.unbind() for part in (slopes, d_gates, d_gates.flatten(1, 2), z, d_states)]
        u_back = u.t()
        for slope, d_gate, d_flat, z_t, d_h, d_before in reversed(
            list(zip(*steps, (None, *steps[-1][:-1]), strict=True))
        ):
            torch.mul(d_h, slope, out=d_gate)
            if d_before is not None:
                d_before.addcmul_(d_h, z_t).addmm_(u_back, d_flat)
        d_flat = d_gates.flatten(1, 2)
        d_u, d_c = torch.einsum("tgb,thb->gh", d_flat, before), d_flat.sum((0, 2))
        d_gates[:, 2] = d_states * by_n
        d_w, d_b = torch.einsum("tgb,tfb->gf", d_flat, x), d_flat.sum((0, 2))
        d_x = torch.matmul(w.t(), d_flat) if ctx.needs_input_grad[0] else None
        return d_x, d_w, d_u, d_b, d_c
