"""The loop that trains any of the networks: fetch, losses, backward, step, log, save.

Every random choice of a sample is a pure function of (seed, its global number). A run that was stopped therefore goes
on exactly where it was, and how many processes share the samples changes nothing but the order of sums.
"""

import logging
import math
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import torch
from diffusers.optimization import get_scheduler
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from latentsync import dist
from latentsync.data.draws import torch_generator
from latentsync.data.sampler import GlobalBatches
from latentsync.errors import ConfigError, TrainingError
from latentsync.files import remove_leftovers

from .ema import Ema, trained_weights
from .log import TrainLog
from .optimizer import make_optimizer
from .state import TrainState

logger = logging.getLogger(__name__)

Batch = dict[str, Any]

#: So many steps in a row without finite gradients are more than a loss scale that has to settle.
MAX_SKIPPED = 30


class Task(Protocol):
    """One kind of network and how it learns.

    Attributes:
        model: trained where its parameters require gradients.
        weights: of each loss that `losses` returns; their weighted sum is minimised.
        dataset: items by global sample number, with their number as "number".
        validation_columns: what `validate` measures.
    """

    model: nn.Module
    weights: Mapping[str, float]
    dataset: Dataset
    validation_columns: tuple[str, ...]

    def losses(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Means over the batch. `model` is `self.model`, wrapped where several processes train it."""

    def validate(self, weights: Mapping[str, Tensor], step: int, log: TrainLog) -> dict[str, float]:
        """Measure a state dict of the model; may add pictures to the log."""

    def name_of(self, number: int) -> str:
        """The clip of a sample, for errors."""

    def notice(self, step: int, values: Mapping[str, float]) -> str | None:
        """Something a person should know about the course of the losses."""


@dataclass(frozen=True)
class Plan:
    """How long and how a model is trained."""

    max_steps: int
    save_steps: int
    validation_steps: int
    batch_size: int  # samples of one process
    accumulation: int = 1  # batches of one step
    num_workers: int = 0
    seed: int = 0
    optimizer: str = "adamw"
    lr: float = 1e-5
    weight_decay: float = 0.01
    lr_scheduler: str = "constant"
    lr_warmup_steps: int = 0
    max_grad_norm: float = 1.0
    precision: torch.dtype | None = None  # of autocast; None: float32 throughout
    ema_decay: float = 0.0
    compile: bool = False
    keep_last: int = 0


def train(task: Task, plan: Plan, folder: Path, device: torch.device, *, first_step: int = 0, **extra: Any) -> int:
    """Train until `plan.max_steps`, from the last kept step of `folder` where it has one; returns the last step.

    SIGINT and SIGTERM end it after the current step, which is kept.

    Args:
        first_step: of a new run; where its weights came from counted so far.
        extra: goes into every weight file.

    Raises TrainingError, in all processes, where a loss or a gradient is not finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if dist.is_first():
        remove_leftovers(folder)
        remove_leftovers(folder / "checkpoints")
    state = make_state(task.model, plan, device, first_step)
    if state.restore(folder / "checkpoints"):
        logger.info("%s: goes on after step %d", folder, state.step)
    elif first_step >= plan.max_steps:
        raise ConfigError(
            f"run.max_train_steps is {plan.max_steps}, and the weights to start from have {first_step} steps behind "
            "them; use more"
        )
    model = wrap(task.model, plan, device)
    log = None
    if dist.is_first():
        log = TrainLog(folder, [*step_columns(task), "samples_per_s"], task.validation_columns, step=state.step)
    with stop_signals() as stopped, closing(log) if log else nullcontext():
        batches = iter(loader(task.dataset, plan, state.samples, device))
        bar = tqdm(total=plan.max_steps, initial=state.step, unit="step", disable=not dist.is_first())
        kept = state.step
        skipped = 0
        while state.step < plan.max_steps:  # a signal counts when all processes know of it
            started = time.perf_counter()
            values, stop = one_step(task, model, plan, state, batches, stopped, device)
            skipped = 0 if math.isfinite(values["grad_norm"]) else skipped + 1
            if skipped > MAX_SKIPPED or (skipped and plan.precision != torch.float16):
                raise TrainingError(
                    f"step {state.step}: the gradients are not finite; go on from an earlier checkpoint with a lower "
                    "optimizer.lr, or run.mixed_precision_dtype bf16"
                )
            values["samples_per_s"] = global_batch(plan) / (time.perf_counter() - started)
            if log:
                report(task, log, bar, state.step, values)
            last = state.step == plan.max_steps
            if last or state.step % plan.validation_steps == 0:
                validate(task, state, log)
            if last or stop or state.step % plan.save_steps == 0:  # after validation, whose row is then kept as well
                keep(state, folder, plan, extra)
                kept = state.step
            if stop:
                break
        bar.close()
        if log:
            log.chart()
            if state.step < plan.max_steps:
                logger.warning("stopped after step %d, kept step %d; the same command goes on", state.step, kept)
    return state.step


def one_step(
    task: Task,
    model: nn.Module,
    plan: Plan,
    state: TrainState,
    batches: Iterator[Batch],
    stopped: Callable[[], bool],
    device: torch.device,
) -> tuple[dict[str, float], bool]:
    """One optimiser step over all its batches; the mean numbers of all processes, and whether to stop after it.

    Raises TrainingError before the weights are touched.
    """
    names = loss_columns(task)
    sums = torch.zeros(len(names) + 1, device=device)
    numbers: list[int] = []
    for micro in range(plan.accumulation):
        batch = to_device(next(batches), device)
        numbers += batch["number"].tolist()
        seed_layers(plan.seed, numbers[-1])
        with synchronised(model, micro == plan.accumulation - 1):
            with autocast(device, plan.precision):
                terms = task.losses(model, batch)
            total = sum(task.weights[name] * value for name, value in terms.items())
            state.parts["scaler"].scale(total / plan.accumulation).backward()
        sums[:-1] += torch.stack([total.detach(), *(terms[name].detach() for name in names[1:])]) / plan.accumulation
    sums[-1] = float(stopped())
    mine = sums.clone()
    *means, stop = dist.mean(sums).tolist()
    if not all(map(math.isfinite, means)):
        raise not_finite(task, state.step + 1, names, mine[:-1].tolist(), means, numbers)
    lr = state.parts["optimizer"].param_groups[0]["lr"]
    grad_norm = update(plan, state)
    state.step += 1
    state.samples += global_batch(plan)
    values = dict(zip(names, means, strict=True))
    values |= {"grad_norm": grad_norm, "lr": lr}
    return values, stop > 0


def update(plan: Plan, state: TrainState) -> float:
    """Clip the gradients and step; returns their norm before clipping. Without finite ones nothing changes."""
    optimizer, scaler = state.parts["optimizer"], state.parts["scaler"]
    scaler.unscale_(optimizer)
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    grad_norm = nn.utils.clip_grad_norm_(parameters, plan.max_grad_norm or math.inf).item()
    finite = math.isfinite(grad_norm)
    if finite:
        scaler.step(optimizer)
        state.parts["scheduler"].step()
        if state.ema is not None:
            state.ema.update(state.model)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)
    return grad_norm


def not_finite(
    task: Task, step: int, names: list[str], mine: list[float], means: list[float], numbers: list[int]
) -> TrainingError:
    """Which batch it was: every process says whether it was its own."""
    bad = not all(map(math.isfinite, mine))
    clips = [name for names in dist.gather([task.name_of(n) for n in numbers] if bad else []) for name in names]
    which = ", ".join(name for name, value in zip(names, means, strict=True) if not math.isfinite(value))
    return TrainingError(
        f"step {step}: {which} not finite for the batch of {', '.join(dict.fromkeys(clips))}; the last checkpoint is "
        "sound, so go on from it with a lower optimizer.lr or run.mixed_precision_dtype bf16, or without these clips"
    )


def validate(task: Task, state: TrainState, log: TrainLog | None) -> None:
    if log:
        log.validation(state.step, task.validate(trained_weights(state.model, state.ema), state.step, log))
    dist.wait_for_all()


def keep(state: TrainState, folder: Path, plan: Plan, extra: Mapping[str, Any]) -> None:
    if dist.is_first():
        state.save(folder / "checkpoints", keep_last=plan.keep_last, **extra)
    dist.wait_for_all()


def report(task: Task, log: TrainLog, bar: tqdm, step: int, values: dict[str, float]) -> None:
    log.step(step, values)
    bar.set_postfix_str(f"loss {values['loss']:.4f}, {values['samples_per_s']:.1f} samples/s", refresh=False)
    bar.update()
    if words := task.notice(step, values):
        logger.warning(words)


# ------------------------------------------------------------- its parts


def make_state(model: nn.Module, plan: Plan, device: torch.device, first_step: int) -> TrainState:
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = make_optimizer(
        plan.optimizer, parameters, lr=plan.lr, weight_decay=plan.weight_decay, device=device
    )
    scheduler = get_scheduler(
        plan.lr_scheduler,
        optimizer,
        num_warmup_steps=plan.lr_warmup_steps,
        num_training_steps=plan.max_steps - first_step,
    )
    scaler = torch.amp.GradScaler(device.type, enabled=plan.precision == torch.float16)
    ema = Ema(model, plan.ema_decay) if plan.ema_decay else None
    return TrainState(model, optimizer, scheduler, scaler, ema, step=first_step)


def wrap(model: nn.Module, plan: Plan, device: torch.device) -> nn.Module:
    if plan.compile:
        model.compile()
    if dist.world_size() == 1:
        return model
    return DistributedDataParallel(model, device_ids=[device.index] if device.type == "cuda" else None)


def loader(dataset: Dataset, plan: Plan, start: int, device: torch.device) -> DataLoader:
    """This process's batches from global sample `start` on, without end."""
    return DataLoader(
        dataset,
        batch_sampler=GlobalBatches(plan.batch_size, dist.rank(), dist.world_size(), start=start),
        num_workers=plan.num_workers,
        worker_init_fn=leave_group,
        pin_memory=device.type == "cuda",
    )


def leave_group(_: int) -> None:
    """Loader processes do not hear the signals that a terminal, `timeout` or torchrun sends to all of a group: they
    end when the process that loads does, after its last step."""
    if hasattr(os, "setpgrp"):
        os.setpgrp()


def global_batch(plan: Plan) -> int:
    """Samples of one step in all processes."""
    return plan.batch_size * plan.accumulation * dist.world_size()


def loss_columns(task: Task) -> list[str]:
    return ["loss", *task.weights]


def step_columns(task: Task) -> list[str]:
    return [*loss_columns(task), "grad_norm", "lr"]


def to_device(batch: Batch, device: torch.device) -> Batch:
    move = {"device": device, "non_blocking": device.type == "cuda"}
    return {key: value.to(**move) if isinstance(value, Tensor) else value for key, value in batch.items()}


def autocast(device: torch.device, precision: torch.dtype | None) -> torch.autocast:
    # Every weight is read once: a cache of its short form would only hold memory.
    return torch.autocast(device.type, precision, enabled=precision is not None, cache_enabled=False)


def synchronised(model: nn.Module, last: bool):
    """Gradients are summed over the processes after the last batch of a step only."""
    return model.no_sync() if isinstance(model, DistributedDataParallel) and not last else nullcontext()


def seed_layers(seed: int, number: int) -> None:
    """Dropout draws from torch's own generators: they start anew with each batch."""
    torch.manual_seed(torch_generator(seed, number, "layers").initial_seed())


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Whether SIGINT or SIGTERM came. A second one ends the process at once."""
    came: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        came.append(number)
        signal.signal(number, before[number])

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
