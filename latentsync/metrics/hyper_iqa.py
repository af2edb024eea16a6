"""Picture quality by HyperIQA (Su et al., "Blindly Assess Image Quality in the Wild Guided by a Self-Adaptive Hyper
Network", 2020): one network looks at a picture and makes the weights of another, which judges it.

Keys are those of the public file, which was trained on KonIQ-10k; scores go from 0 to about 100.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck, ResNet
from torchvision.transforms.v2 import functional as transforms

SIZE = 224  # pixels, height and width
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, for values in [0, 1]
SEEN = 7  # rows and columns of the last map
WIDTHS = (224, 112, 56, 28, 14, 1)  # of what goes through the judging network
HYPER = 112  # channels that its weights are made from
DETAIL = 16  # features that each of the first three stages of the trunk contributes

Layers = list[tuple[Tensor, Tensor]]  # for each: weights (b, out, in) and biases (b, out)


class Trunk(ResNet):
    """ResNet-50 that tells what it sees at all four scales, instead of a class."""

    def __init__(self) -> None:
        super().__init__(Bottleneck, [3, 4, 6, 3])
        del self.fc
        self.lda1_pool, self.lda1_fc = _reduced(256, 16), nn.Linear(16 * 8 * 8, DETAIL)
        self.lda2_pool, self.lda2_fc = _reduced(512, 32), nn.Linear(32 * 4 * 4, DETAIL)
        self.lda3_pool, self.lda3_fc = _reduced(1024, 64), nn.Linear(64 * 2 * 2, DETAIL)
        self.lda4_fc = nn.Linear(2048, WIDTHS[0] - 3 * DETAIL)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures (b, 3, 224, 224), normalised -> features (b, 224) and the last map (b, 2048, 7, 7)."""
        x1 = self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(x)))))
        x2 = self.layer2(x1)
        x3 = self.layer3(x2)
        x4 = self.layer4(x3)
        features = [
            self.lda1_fc(self.lda1_pool(x1).flatten(1)),
            self.lda2_fc(self.lda2_pool(x2).flatten(1)),
            self.lda3_fc(self.lda3_pool(x3).flatten(1)),
            self.lda4_fc(self.avgpool(x4).flatten(1)),
        ]
        return torch.cat(features, dim=1), x4


def _reduced(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.AvgPool2d(SEEN))


class HyperIQA(nn.Module):
    """The network that looks; the other one, five layers, exists only in what this one gives for a picture."""

    def __init__(self) -> None:
        super().__init__()
        self.res = Trunk()
        self.conv1 = nn.Sequential(
            nn.Conv2d(2048, 1024, 1), nn.ReLU(inplace=True),
            nn.Conv2d(1024, 512, 1), nn.ReLU(inplace=True),
            nn.Conv2d(512, HYPER, 1), nn.ReLU(inplace=True),
        )  # fmt: skip
        # Weights are a map's values in their order, but for the last layer.
        maps = [WIDTHS[i] * WIDTHS[i + 1] // SEEN**2 for i in range(4)]
        self.fc1w_conv, self.fc2w_conv, self.fc3w_conv, self.fc4w_conv = (
            nn.Conv2d(HYPER, channels, 3, padding=1) for channels in maps
        )
        self.fc1b_fc, self.fc2b_fc, self.fc3b_fc, self.fc4b_fc = (nn.Linear(HYPER, width) for width in WIDTHS[1:5])
        self.fc5w_fc, self.fc5b_fc = nn.Linear(HYPER, WIDTHS[4]), nn.Linear(HYPER, 1)

    def target(self, pictures: Tensor) -> tuple[Tensor, Layers]:
        """What `judge` takes: features (b, 224) of pictures (b, 3, 224, 224), and the layers made for each."""
        features, last = self.res(pictures)
        x = self.conv1(last)
        pooled = x.mean(dim=(2, 3))
        convs = (self.fc1w_conv, self.fc2w_conv, self.fc3w_conv, self.fc4w_conv)
        biases = (self.fc1b_fc, self.fc2b_fc, self.fc3b_fc, self.fc4b_fc)
        layers = [
            (conv(x).reshape(len(x), width, -1), bias(pooled))
            for conv, bias, width in zip(convs, biases, WIDTHS[1:5], strict=True)
        ]
        return features, [*layers, (self.fc5w_fc(pooled)[:, None], self.fc5b_fc(pooled))]

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (b, 3, 224, 224) as `network_input` makes them -> scores (b,)."""
        return judge(*self.target(pictures))


def judge(features: Tensor, layers: Layers) -> Tensor:
    """Scores (b,) of pictures with features (b, 224), each through layers of its own."""
    x = features
    for i, (weights, biases) in enumerate(layers):
        x = torch.einsum("boi,bi->bo", weights, x.sigmoid() if i else x) + biases
    return x[:, 0]


def chosen_frames(n: int) -> tuple[int, int, int]:
    """The frames of n > 0 that a video is judged by: first, middle, last."""
    return 0, n // 2, n - 1


def network_input(frames: Tensor) -> Tensor:
    """Frames (n, 3, h, w) uint8 RGB -> (n, 3, 224, 224) float32: the middle, with black around what is smaller."""
    pictures = transforms.center_crop(frames, [SIZE, SIZE]).float() / 255
    return transforms.normalize(pictures, MEAN, DEVIATION)


@torch.inference_mode()
def quality(network: HyperIQA, frames: Sequence[Tensor] | Tensor) -> float:
    """The quality of a video, 0 to about 100: the mean over some frames (n, 3, h, w) uint8 RGB of it."""
    pictures = torch.stack(list(frames)).to(network.fc5b_fc.weight.device)
    return float(network(network_input(pictures)).mean())
