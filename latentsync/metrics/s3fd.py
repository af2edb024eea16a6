"""Faces by S3FD (Zhang et al., "S3FD: Single Shot Scale-invariant Face Detector", 2017), for sync confidence.

Keys are those of the public file. A box's corners count from the picture's edges: (0, 0, width, height) is all of it.
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import pairwise

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers
from torchvision.ops import box_convert, nms

from latentsync.media.stream import batched

CHANNELS = (256, 512, 512, 1024, 512, 256)  # of the six maps, fine to coarse, that faces are looked for in
STEPS = (4, 8, 16, 32, 64, 128)  # pixels between their places
SIZES = (16, 32, 64, 128, 256, 512)  # pixels, sides of the squares that stand at each
SOURCES = (16, 23, 30)  # the trunk's first three maps are what comes before these layers, its pools
VARIANCES = (0.1, 0.2)  # of a box's place and of its size
MEAN = (123, 117, 104)  # red, green, blue
CANDIDATE_SCORE, CANDIDATES, CANDIDATE_OVERLAP, CANDIDATES_KEPT = 0.05, 5000, 0.3, 750
SCALE = 0.25  # of the frames that the network sees
LEAST_SIDE = 32  # pixels that the network needs
MIN_SCORE = 0.9
MAX_OVERLAP = 0.1  # intersection over union of two faces of a frame


class L2Norm(nn.Module):
    """Each pixel's vector is brought to length 1, then each channel multiplied by its weight."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """x (b, c, h, w) -> the same shape."""
        return x / (x.norm(dim=1, keepdim=True) + 1e-10) * self.weight[:, None, None]


class S3FD(nn.Module):
    """VGG16's convolutions, some more, and heads on six of the maps."""

    def __init__(self) -> None:
        super().__init__()
        self.vgg = make_layers(cfgs["D"], batch_norm=False)
        self.vgg[SOURCES[0]].ceil_mode = True
        conv6, conv7 = nn.Conv2d(512, 1024, 3, padding=6, dilation=6), nn.Conv2d(1024, 1024, 1)
        self.vgg.extend([conv6, nn.ReLU(inplace=True), conv7, nn.ReLU(inplace=True)])
        self.L2Norm3_3, self.L2Norm4_3, self.L2Norm5_3 = (L2Norm(channels) for channels in CHANNELS[:3])
        self.extras = nn.ModuleList(
            [
                nn.Conv2d(1024, 256, 1), nn.Conv2d(256, 512, 3, stride=2, padding=1),
                nn.Conv2d(512, 128, 1), nn.Conv2d(128, 256, 3, stride=2, padding=1),
            ]
        )  # fmt: skip
        self.loc = nn.ModuleList(nn.Conv2d(channels, 4, 3, padding=1) for channels in CHANNELS)
        # The finest map has three outputs for "no face"; the greatest of them counts.
        self.conf = nn.ModuleList(nn.Conv2d(c, 2 if i else 4, 3, padding=1) for i, c in enumerate(CHANNELS))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures (b, 3, h, w) as `network_input` makes them, h and w at least 32.

        Returns places relative to the priors (b, p, 4), probabilities of no face and of a face (b, p, 2), and the
        priors (p, 4), of all places p.
        """
        maps = self.maps(images)
        loc = [_flat(head(x)) for head, x in zip(self.loc, maps, strict=True)]
        conf = [_flat(head(x)) for head, x in zip(self.conf, maps, strict=True)]
        conf[0] = torch.cat([conf[0][..., :3].amax(dim=2, keepdim=True), conf[0][..., 3:]], dim=2)
        table = priors(*images.shape[2:], tuple(tuple(x.shape[2:]) for x in maps))
        return torch.cat(loc, dim=1), torch.cat(conf, dim=1).softmax(dim=2), table.to(images.device)

    def maps(self, images: Tensor) -> list[Tensor]:
        """The six maps (b, c, h, w) of pictures (b, 3, h, w)."""
        x, found = images, []
        norms = (self.L2Norm3_3, self.L2Norm4_3, self.L2Norm5_3)
        for (start, end), norm in zip(pairwise((0, *SOURCES)), norms, strict=True):
            x = self.vgg[start:end](x)
            found.append(norm(x))
        x = self.vgg[SOURCES[-1] :](x)
        found.append(x)
        for narrow, shrink in zip(self.extras[::2], self.extras[1::2], strict=True):
            x = F.relu(shrink(F.relu(narrow(x))))
            found.append(x)
        return found


def _flat(x: Tensor) -> Tensor:
    """(b, c, h, w) -> (b, h w, c)"""
    return x.flatten(2).transpose(1, 2)


@lru_cache(maxsize=4)
def priors(height: int, width: int, maps: tuple[tuple[int, int], ...]) -> Tensor:
    """Squares (p, 4) float32, centre and size as parts of a picture's (height, width), at all places of maps (h, w).

    Not to be changed.
    """
    table = []
    for (rows, columns), step, size in zip(maps, STEPS, SIZES, strict=True):
        y, x = torch.meshgrid(torch.arange(rows) + 0.5, torch.arange(columns) + 0.5, indexing="ij")
        centres = torch.stack([x * step / width, y * step / height], dim=2).flatten(0, 1)
        table.append(F.pad(centres, (0, 2)) + torch.tensor([0, 0, size / width, size / height]))
    return torch.cat(table)


def decode(loc: Tensor, table: Tensor) -> Tensor:
    """Boxes (..., p, 4) x0 y0 x1 y1, parts of the picture, from places (..., p, 4) relative to priors (p, 4)."""
    centres = table[:, :2] + loc[..., :2] * VARIANCES[0] * table[:, 2:]
    sizes = table[:, 2:] * (loc[..., 2:] * VARIANCES[1]).exp()
    return box_convert(torch.cat([centres, sizes], dim=-1), "cxcywh", "xyxy")


def candidates(boxes: Tensor, scores: Tensor) -> Tensor:
    """Which of the boxes (p, 4) with scores (p,) of one picture may be faces: indices, best first."""
    scores = torch.where(scores > CANDIDATE_SCORE, scores, 0)
    best = scores.topk(min(CANDIDATES, int(scores.count_nonzero()))).indices
    return best[nms(boxes[best], scores[best], CANDIDATE_OVERLAP)[:CANDIDATES_KEPT]]


def network_input(images: Tensor) -> Tensor:
    """Pictures (b, h, w, 3) uint8 RGB -> (b, 3, h, w) float32 less the mean colour. The public measure keeps RGB."""
    return (images - torch.tensor(MEAN, dtype=torch.float32, device=images.device)).movedim(3, 1)


def detect_faces(
    network: S3FD,
    frames: Iterable[np.ndarray],
    *,
    scale: float = SCALE,
    min_score: float = MIN_SCORE,
    batch: int = 4,
) -> Iterator[np.ndarray]:
    """The faces of each frame, surest first: (k, 5) float32 x0 y0 x1 y1 score, in the frame's pixels.

    Args:
        frames: (h, w, 3) uint8 RGB, all of one size; `batch` of them are looked at together.
        scale: of what the network sees; 16 / scale pixels is about the least face. Small frames shrink less, or grow.
    """
    for some in batched(frames, batch):
        yield from detect(network, np.stack(some), scale=scale, min_score=min_score)


@torch.inference_mode()
def detect(
    network: S3FD, frames: np.ndarray, *, scale: float = SCALE, min_score: float = MIN_SCORE
) -> list[np.ndarray]:
    """The faces of frames (b, h, w, 3) uint8 RGB; see `detect_faces`."""
    height, width = frames.shape[1:3]
    scale = max(scale, LEAST_SIDE / min(height, width))
    small = np.stack([cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR) for frame in frames])
    device = network.L2Norm3_3.weight.device
    loc, conf, table = network(network_input(torch.from_numpy(small).to(device)))
    pixels = torch.tensor([width, height, width, height], device=device)
    return [_faces(*one, pixels, min_score) for one in zip(decode(loc, table), conf[..., 1], strict=True)]


def _faces(boxes: Tensor, scores: Tensor, pixels: Tensor, min_score: float) -> np.ndarray:
    """Of one picture's boxes (p, 4), parts of it, with scores (p,)."""
    found = candidates(boxes, scores)
    found = found[scores[found] > min_score]
    boxes, scores = boxes[found] * pixels, scores[found]
    kept = nms(boxes, scores, MAX_OVERLAP)
    return torch.cat([boxes[kept], scores[kept, None]], dim=1).cpu().numpy()
