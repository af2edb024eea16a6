"""SyncNet v2, the network of sync confidence (Chung & Zisserman, "Out of time: automated lip sync in the wild", 2016).

It sees five pictures and hears MFCCs; both become vectors whose distance tells how well they belong together. Keys are
those of the public file.
"""

from einops import rearrange
from torch import Tensor, nn

FRAMES = 5  # of a window
SIZE = 224  # pixels, height and width
COLUMNS = 20  # of the MFCCs that a window of frames sounds like: 0.2 s
DIM = 1024  # of an embedding


class SyncNetV2(nn.Module):
    """Two streams of convolutions with batch norm, and a small head on each."""

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *_unit2d(1, 64, 3, padding=1), nn.MaxPool2d(1),  # which changes nothing but counts as a layer
            *_unit2d(64, 192, 3, padding=1), nn.MaxPool2d(3, (1, 2)),
            *_unit2d(192, 384, 3, padding=1),
            *_unit2d(384, 256, 3, padding=1),
            *_unit2d(256, 256, 3, padding=1), nn.MaxPool2d(3, 2),
            *_unit2d(256, 512, (5, 4)),
        )  # fmt: skip
        self.netfcaud = _head()
        self.netfclip = _head()
        # Only the first layer looks along time.
        self.netcnnlip = nn.Sequential(
            *_unit3d(3, 96, (FRAMES, 7, 7), stride=2), nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_unit3d(96, 256, (1, 5, 5), stride=2, padding=1), nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
            *_unit3d(256, 256, (1, 3, 3), padding=1),
            *_unit3d(256, 256, (1, 3, 3), padding=1),
            *_unit3d(256, 256, (1, 3, 3), padding=1), nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_unit3d(256, 512, (1, 6, 6)),
        )  # fmt: skip

    def encode_lips(self, frames: Tensor) -> Tensor:
        """Pictures (b, 3, f, 224, 224), blue first, values 0...255 -> (b (f - 4), 1024).

        One vector for each five frames in a row: a clip in one piece costs less memory than its windows stacked.
        """
        return self.netfclip(rearrange(self.netcnnlip(frames), "b c f 1 1 -> (b f) c"))

    def encode_sound(self, mfcc: Tensor) -> Tensor:
        """MFCCs (b, 1, 13, 20) as `latentsync.metrics.mfcc` makes them -> (b, 1024)."""
        return self.netfcaud(self.netcnnaud(mfcc).flatten(1))


def _unit2d(in_channels: int, out_channels: int, kernel: int | tuple[int, int], padding: int = 0) -> list[nn.Module]:
    """Convolution, batch norm, ReLU."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, padding=padding)
    return [conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)]


def _unit3d(
    in_channels: int, out_channels: int, kernel: tuple[int, int, int], *, stride: int = 1, padding: int = 0
) -> list[nn.Module]:
    """The same over frames; stride and padding are those of rows and columns."""
    conv = nn.Conv3d(in_channels, out_channels, kernel, (1, stride, stride), (0, padding, padding))
    return [conv, nn.BatchNorm3d(out_channels), nn.ReLU(inplace=True)]


def _head() -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(inplace=True), nn.Linear(512, DIM))
