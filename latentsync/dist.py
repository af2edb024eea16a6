"""The processes that train one model together: torchrun's, or this one alone."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as td
from torch import Tensor

#: While the first process validates or saves, the others wait for it; torchrun ends them all when one fails.
_PATIENCE = timedelta(hours=12)


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Join the group that torchrun started (NCCL on GPUs, gloo elsewhere); without torchrun there is none."""
    if "RANK" not in os.environ:
        yield
        return
    td.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield
    finally:
        td.destroy_process_group()


def local_device(device: torch.device) -> torch.device:
    """This process's own GPU of the machine, counted by torchrun's LOCAL_RANK; other devices are shared."""
    if device.type != "cuda" or device.index is not None or "LOCAL_RANK" not in os.environ:
        return device
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    torch.cuda.set_device(device)
    return device


def rank() -> int:
    return td.get_rank() if td.is_initialized() else 0


def world_size() -> int:
    return td.get_world_size() if td.is_initialized() else 1


def is_first() -> bool:
    return rank() == 0


def launched_first() -> bool:
    """Whether torchrun, if it is there, started this process as the first one; known before they have met."""
    return os.environ.get("RANK", "0") == "0"


def mean(values: Tensor) -> Tensor:
    """The mean over the processes, in place; not finite where it is so in one of them."""
    if td.is_initialized():
        td.all_reduce(values)
        values /= world_size()
    return values


def gather(value: Any) -> list[Any]:
    """The picklable value of each process, in all of them."""
    if not td.is_initialized():
        return [value]
    values = [None] * world_size()
    td.all_gather_object(values, value)
    return values


def wait_for_all() -> None:
    if td.is_initialized():
        td.barrier()
