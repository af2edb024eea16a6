"""The optimisers a run can choose from."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


class MuonAdamW(torch.optim.Optimizer):
    """Muon for the kernels of convolutions and the matrices of linear layers, AdamW for everything else.

    Muon (Jordan et al. 2024) replaces each matrix of gradients by the nearest orthogonal one, so directions of small
    variance, such as what moves between the stacked frames of a window, learn as fast as those of large variance.
    Its steps are as large as AdamW's (Liu et al. 2025): one learning rate and weight decay serve both.

    A kernel (out, in, h, w) counts as the matrix (out, in h w). Parameters must stay in their memory, as they do under
    `load_state_dict`.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float, fused: bool) -> None:
        parameters = list(parameters)
        self.kernels = [p for p in parameters if p.ndim > 1]
        vectors = [p for p in parameters if p.ndim <= 1]
        super().__init__(
            [{"params": group} for group in (self.kernels, vectors) if group],
            {"lr": lr, "weight_decay": weight_decay},
        )
        # torch's Muon takes matrices only: views of the kernels, which share their memory.
        self.matrices = [nn.Parameter(_matrix(p.detach(), like=p)) for p in self.kernels]
        if any(m.data_ptr() != p.data_ptr() for m, p in zip(self.matrices, self.kernels, strict=True)):
            raise ValueError("expected kernels whose outputs lie one after the other in memory")  # else nothing learns
        self.parts: list[torch.optim.Optimizer] = []
        if self.kernels:
            self.parts.append(torch.optim.Muon(self.matrices, **self.defaults, adjust_lr_fn="match_rms_adamw"))
        if vectors:
            self.parts.append(torch.optim.AdamW(vectors, **self.defaults, fused=fused))

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for part, group in zip(self.parts, self.param_groups, strict=True):
            part.param_groups[0] |= {key: group[key] for key in self.defaults}
        for kernel, matrix in zip(self.kernels, self.matrices, strict=True):
            matrix.grad = None if kernel.grad is None else _matrix(kernel.grad, like=kernel)
        for part in self.parts:
            part.step()
        for matrix in self.matrices:
            matrix.grad = None  # else the kernel's gradient would stay in memory

    def state_dict(self) -> dict[str, Any]:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)


def _matrix(kernel: Tensor, like: Tensor) -> Tensor:
    """(out, ...) -> (out, all else), columns in the order of the memory of `like`: for Muon any order is as good."""
    axes = sorted(range(1, like.ndim), key=like.stride, reverse=True)
    return kernel.permute(0, *axes).reshape(len(kernel), -1)


def make_optimizer(
    name: str, parameters: Iterable[nn.Parameter], *, lr: float, weight_decay: float, device: torch.device
) -> torch.optim.Optimizer:
    """`name` is "adamw" or "muon", the latter with AdamW for vectors."""
    fused = device.type in ("cuda", "cpu")  # no temporary copies
    make = {"adamw": torch.optim.AdamW, "muon": MuonAdamW}[name]
    return make(parameters, lr=lr, weight_decay=weight_decay, fused=fused)
