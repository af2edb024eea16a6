"""A linear network that learns a line, with everything the loop asks of a task; also as a command for torchrun."""

import json
import sys
from pathlib import Path
from types import MappingProxyType

import torch
from torch import nn

from latentsync import dist
from latentsync.data.draws import numpy_generator
from latentsync.train.loop import Plan, train

TRUTH = torch.tensor([1.0, -2.0, 3.0])


class Points:
    def __init__(self, poison: int = -1) -> None:
        self.poison = poison

    def __getitem__(self, number: int) -> dict:
        x = torch.from_numpy(numpy_generator(7, number, "x").standard_normal(3)).float()
        y = x @ TRUTH
        return {"x": x, "y": y * float("nan") if number == self.poison else y, "number": number}


class ToyTask:
    """`poison` is the number of a sample that is not finite."""

    weights = MappingProxyType({"square_loss": 2.0, "size_loss": 0.01})
    validation_columns = ("accuracy",)

    def __init__(self, poison: int = -1) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.1), nn.Linear(8, 1))
        self.dataset = Points(poison)
        self.validated: list[int] = []

    def losses(self, model, batch):
        y = model(batch["x"])[:, 0]
        return {"square_loss": (y - batch["y"]).square().mean(), "size_loss": y.abs().mean()}

    def validate(self, weights, step, log):
        self.validated.append(step)
        return {"accuracy": float(weights["2.bias"].abs().sum())}

    def name_of(self, number):
        return f"clip{number}.mp4"

    def notice(self, step, values):
        return None


def plan(**changes) -> Plan:
    values = {"max_steps": 12, "save_steps": 4, "validation_steps": 6, "batch_size": 4, "seed": 3, "lr": 0.02}
    return Plan(**(values | changes))


def run(folder: Path, batch_size: int, accumulation: int, poison: int = -1) -> None:
    """A run whose result does not depend on the number of processes, as each would draw its own dropout."""
    task = ToyTask(poison)
    task.model[1].p = 0.0
    train(task, plan(batch_size=batch_size, accumulation=accumulation), folder, torch.device("cpu"))


if __name__ == "__main__":  # under torchrun: runs, as JSON
    with dist.process_group(torch.device("cpu")):
        for folder, *numbers in json.loads(sys.argv[1]):
            run(Path(folder), *numbers)
