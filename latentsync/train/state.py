"""What a run keeps on disk, so that it goes on exactly where it was.

checkpoints/checkpoint-<step>.pt holds the weights in the released format (averaged ones where they are averaged);
checkpoints/state-<step>.pt everything else that the next step depends on. The weights are written last: a step counts
as kept when both files are there.
"""

import re
from pathlib import Path
from typing import Any

import torch
from torch import nn

from latentsync.checkpoint import load_state, save_checkpoint
from latentsync.errors import CheckpointError
from latentsync.files import atomic_path

from .ema import Ema, trained_weights

_NAME = re.compile(r"checkpoint-(\d+)\.pt")


class TrainState:
    """Model, optimiser and everything else that changes from step to step.

    Attributes:
        step: optimiser steps behind the weights.
        samples: training samples drawn by all processes in this run: the number of the next one. With the seed it
            determines every random choice to come, and it lies between optimiser steps, so no half-accumulated
            gradient is ever kept or lost.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        scheduler: torch.optim.lr_scheduler.LRScheduler,
        scaler: torch.amp.GradScaler,
        ema: Ema | None,
        *,
        step: int = 0,
    ) -> None:
        self.model, self.ema = model, ema
        self.parts: dict[str, Any] = {"optimizer": optimizer, "scheduler": scheduler, "scaler": scaler}
        if ema is not None:
            self.parts["ema"] = ema
        self.step, self.samples = step, 0

    def save(self, folder: Path, *, keep_last: int = 0, **extra: Any) -> Path:
        """Write both files of this step and remove what is no longer wanted; returns the weights' path.

        `extra` goes into the weights' file. `keep_last` 0 keeps the weights of every step; of states the last remains.
        """
        folder.mkdir(parents=True, exist_ok=True)
        content = {name: part.state_dict() for name, part in self.parts.items()}
        content |= {"step": self.step, "samples": self.samples}
        if self.ema is not None:
            content["model"] = self.model.state_dict()  # the other file has the averaged weights
        with atomic_path(folder / f"state-{self.step}.pt") as temporary:
            torch.save(content, temporary)
        path = folder / f"checkpoint-{self.step}.pt"
        save_checkpoint(path, trained_weights(self.model, self.ema), global_step=self.step, **extra)
        for step in kept_steps(folder)[: -keep_last or None] if keep_last else []:
            (folder / f"checkpoint-{step}.pt").unlink(missing_ok=True)
        for state in folder.glob("state-*.pt"):
            if state.name != f"state-{self.step}.pt":
                state.unlink(missing_ok=True)
        return path

    def restore(self, folder: Path) -> bool:
        """Take the last kept step of a run; False where it has kept none.

        Raises CheckpointError where the run trained another network or its files are damaged.
        """
        steps = [step for step in kept_steps(folder) if (folder / f"state-{step}.pt").is_file()]
        if not steps:
            return False
        path = folder / f"state-{steps[-1]}.pt"
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            weights = content["model"] if self.ema else load_state(folder / f"checkpoint-{steps[-1]}.pt").state
            if "ema" in content and self.ema is None:
                raise ValueError("its weights are averaged")
            self.model.load_state_dict(weights)  # in place: the optimiser knows these very parameters
            for name, part in self.parts.items():
                part.load_state_dict(content[name])
            self.use_configured_rates()
        except (RuntimeError, ValueError, KeyError, EOFError, OSError) as error:
            raise CheckpointError(
                f"{path} does not fit this configuration or is damaged ({type(error).__name__}); go on with the "
                "configuration it was made with, or choose another folder"
            ) from error
        self.step, self.samples = content["step"], content["samples"]
        return True

    def use_configured_rates(self) -> None:
        """Learning rate and weight decay as they are configured, not as they were kept: a run that diverged can go on
        with lower ones."""
        optimizer, scheduler = self.parts["optimizer"], self.parts["scheduler"]
        lr, decay = optimizer.defaults["lr"], optimizer.defaults["weight_decay"]
        scheduler.base_lrs = [lr] * len(optimizer.param_groups)
        factor = scheduler.lr_lambdas[0](scheduler.last_epoch)
        for group in optimizer.param_groups:
            group |= {"initial_lr": lr, "lr": lr * factor, "weight_decay": decay}


def kept_steps(folder: Path) -> list[int]:
    """The steps whose weights a run has kept, in order."""
    matches = (_NAME.fullmatch(path.name) for path in folder.glob("checkpoint-*.pt"))
    return sorted(int(match[1]) for match in matches if match)


def last_checkpoint(run: Path) -> Path:
    """The newest weights of a run. Raises CheckpointError where there are none."""
    folder = run / "checkpoints"
    steps = kept_steps(folder)
    if not steps:
        raise CheckpointError(f"{folder}: expected checkpoint-N.pt, found none; name the folder of a run that kept one")
    return folder / f"checkpoint-{steps[-1]}.pt"
