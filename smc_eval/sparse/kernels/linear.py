"""A linear map that a chosen kernel computes, with its gradients.

Shapes: N rows, O outputs, I inputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from smc_eval.errors import UsageError
from smc_eval.sparse.kernels.layout import MaskLayout
from smc_eval.sparse.kernels.named import MAP_KERNELS


class SparseLinear(torch.autograd.Function):
    """Y = X W^T + b. The gradient of W has the shape of the stored weight, and +0.0 where it is pruned."""

    @staticmethod
    def forward(
        ctx: Any,
        x_NI: Tensor,
        weight: Tensor,
        bias_O: Tensor | None,
        layout: MaskLayout,
        kernel: str,
        kept: Tensor,
    ) -> Tensor:
        """`kept` is X as the kernel keeps it. The values of the weight are read now."""
        ctx.save_for_backward(weight, kept)
        ctx.layout, ctx.kernel = layout, kernel
        return MAP_KERNELS[kernel].outputs_of(layout, weight, bias_O, kept, len(x_NI))

    @staticmethod
    def backward(ctx: Any, g_NO: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of X, W and b, where they are needed.

        Raises:
            UsageError: the gradients are to be differentiated again.
        """
        if torch.is_grad_enabled():
            raise UsageError("sparse kernels have no second derivatives; run with --kernels dense")
        weight, kept = ctx.saved_tensors
        of_x, of_weight, of_bias, *_ = ctx.needs_input_grad
        x_gradient, gradient = MAP_KERNELS[ctx.kernel].gradients(
            ctx.layout, weight, g_NO, kept, of_x=of_x, of_weight=of_weight
        )
        return x_gradient, gradient, g_NO.sum(0) if of_bias else None, None, None, None


class KeptInput:
    """The last input of a map in the form that a kernel keeps, because maps in a row often share theirs."""

    def __init__(self) -> None:
        self._input: Tensor | None = None
        self._version, self._kernel = -1, ""
        self._kept: Tensor | None = None

    def of(self, x: Tensor, kernel: str, rows_NI: Tensor) -> Tensor:
        """The kept form of an input, whose rows are given."""
        version = x._version  # noqa: SLF001 - counts writes
        if self._kept is None or self._input is not x or (self._version, self._kernel) != (version, kernel):
            self._kept = MAP_KERNELS[kernel].prepared(rows_NI.detach())
            self._input, self._version, self._kernel = x, version, kernel
        return self._kept

    def forget(self) -> None:
        """Free the memory."""
        self._input = self._kept = None


def applied(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    layout: MaskLayout,
    kernel: str,
    shared: KeptInput | None,
) -> Tensor:
    """The outputs [..., O] of inputs [..., I]. Without `shared` no gradient is wanted."""
    x_NI = x.reshape(-1, layout.inputs)
    if shared is None:
        outputs_NO = MAP_KERNELS[kernel].outputs(layout, weight, bias, x_NI)
    else:
        kept = shared.of(x, kernel, x_NI)
        outputs_NO = SparseLinear.apply(x_NI, weight, bias, layout, kernel, kept)  # type: ignore[no-untyped-call]
    return outputs_NO.view(*x.shape[:-1], layout.outputs)
