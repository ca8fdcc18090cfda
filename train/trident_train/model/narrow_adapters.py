"""LoRA on a linear layer in bfloat16 on a CPU: the layer and its adapter as one function, forward and back.

PEFT's own layer runs as several, between which autocast widens and narrows the input, the frozen weights anew in every
call, and the output: where a processor multiplies bfloat16 by tiles (AMX), that takes longer than the products. Here
every tensor is narrowed once, frozen weights once a run. What is not bfloat16 on a CPU goes through PEFT's layer.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import Tensor
from torch.autograd.function import once_differentiable

NARROW = torch.bfloat16


class _AdaptedProduct(torch.autograd.Function):
    """y = x W' + b + s (x A') B', all in bfloat16; gradients of x, A and B."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, down: Tensor, up: Tensor, frozen: tuple[Tensor, Tensor], scaling: float) -> Tensor:
        """Return (..., outputs) of x (..., inputs), ``down`` (R, inputs) and ``up`` (outputs, R)."""
        weight, bias = frozen
        rows = x.reshape(-1, x.shape[-1]).to(NARROW)  # (N, inputs)
        low, high = down.to(NARROW), (up * scaling).to(NARROW)
        inner = rows @ low.T  # (N, R)
        ctx.save_for_backward(rows, inner, low, high)
        ctx.weight, ctx.scaling, ctx.shape, ctx.dtype = weight, scaling, x.shape, x.dtype
        return torch.addmm(bias, rows, weight.T).addmm_(inner, high.T).reshape(*x.shape[:-1], len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None, None]:
        """Return the gradients of x, ``down`` and ``up``, in the type of each."""
        rows, inner, low, high = ctx.saved_tensors
        outer = gradient.reshape(-1, gradient.shape[-1]).to(NARROW)  # (N, outputs)
        inside = outer @ high  # (N, R)
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = (outer @ ctx.weight).addmm_(inside, low).reshape(ctx.shape).to(ctx.dtype)
        return of_x, (inside.T @ rows).float(), (outer.T @ inner).float() * ctx.scaling, None, None


class NarrowAdapter(Linear):
    """PEFT's LoRA of a linear layer, which runs as one function where it trains in bfloat16 on a CPU."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return the output (..., outputs) for x (..., inputs)."""
        if not self._runs_as_one(x) or args or kwargs:
            return super().forward(x, *args, **kwargs)
        name = self.active_adapters[0]
        with torch.autocast("cpu", enabled=False):
            product: Tensor = _AdaptedProduct.apply(
                *(x, self.lora_A[name].weight, self.lora_B[name].weight, self._frozen(), self.scaling[name])
            )
        return product

    def _runs_as_one(self, x: Tensor) -> bool:
        return (
            x.device.type == "cpu"
            and torch.is_autocast_enabled("cpu")
            and torch.get_autocast_dtype("cpu") == NARROW
            and not (self.disable_adapters or self.merged)
            and self.active_adapters == list(self.lora_A)
            and len(self.active_adapters) == 1
            and not self.lora_variant
            and isinstance(self.lora_dropout[self.active_adapters[0]], torch.nn.Identity)
        )

    def _frozen(self) -> tuple[Tensor, Tensor]:
        """Return the frozen weight (outputs, inputs) and bias (outputs,) in bfloat16; narrowed once.

        A change of either is seen by its version, one through ``.data`` in place is not.
        """
        layer: Any = self.get_base_layer()
        weight, bias = layer.weight, layer.bias
        key = [(each.data_ptr(), each._version) for each in (weight, bias) if each is not None]
        kept: tuple[list[tuple[int, int]], tuple[Tensor, Tensor]] | None = getattr(self, "_narrowed", None)
        if kept is None or kept[0] != key:
            with torch.no_grad():
                zeros = weight.new_zeros(weight.shape[0]) if bias is None else bias
                kept = self._narrowed = (key, (weight.to(NARROW), zeros.to(NARROW)))
        return kept[1]
