"""Averaged weights (Polyak & Juditsky 1992; an exponential moving average)."""

import torch
from torch import Tensor, nn


class Ema:
    """A float32 average of the parameters that train: average = decay * average + (1 - decay) * weight.

    In the first steps the decay is (1 + n) / (10 + n), so that the start is soon forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.average = {name: p.detach().float().clone() for name, p in model.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the weights after one more step."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        parameters = dict(model.named_parameters())
        for name, average in self.average.items():
            average.lerp_(parameters[name].float(), 1 - decay)

    def state_dict(self) -> dict[str, object]:
        return {"steps": self.steps, "average": self.average}

    def load_state_dict(self, state: dict[str, object]) -> None:
        self.steps = state["steps"]
        for name, average in self.average.items():
            average.copy_(state["average"][name])


def trained_weights(model: nn.Module, ema: Ema | None) -> dict[str, Tensor]:
    """The state dict to keep and to validate: the average where there is one, else the weights themselves."""
    state = model.state_dict()
    return state if ema is None else {**state, **ema.average}
