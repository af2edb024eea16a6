"""Ending a run in the middle: between frames, steps, and the layers of its networks, and while ffmpeg works."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from ..media.ffmpeg import while_working


class Interrupted(Exception):
    """A run was told to end before its time."""


@contextmanager
def interruptible(pipeline: Any, check: Callable[[], None]) -> Iterator[None]:
    """Call `check`, which may raise, before every layer of a pipeline's networks and while ffmpeg works.

    One pass of a network may take long on a CPU, the sound of a long video long to decode or to encode.
    """
    handles = []
    token = while_working.set(check)
    try:
        for network in _networks(pipeline):
            for layer in network.modules():
                if not any(layer.children()):
                    handles.append(layer.register_forward_pre_hook(lambda *_: check()))
        yield
    finally:
        while_working.reset(token)
        for handle in handles:
            handle.remove()


def _networks(pipeline: Any) -> list[nn.Module]:
    encoder = getattr(pipeline, "audio_encoder", None)
    found = (getattr(pipeline, "unet", None), getattr(pipeline, "vae", None), getattr(encoder, "model", None))
    return [network for network in found if isinstance(network, nn.Module)]
