"""The network of the Fréchet inception distance (Heusel et al. 2017): the Inception v3 that everybody measures with."""

import io
from collections.abc import Mapping

import torch
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

WIDTH = 2048  # of a feature


class Inception(FeatureExtractorInceptionV3):
    """Pictures of any size are resized to 299 x 299 within, as TensorFlow did. Frozen, in evaluation mode.

    Raises RuntimeError for the state of another network.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        weights = io.BytesIO()  # as the package would unpickle a file of any kind, it is not given the path
        torch.save(dict(state), weights)
        weights.seek(0)
        super().__init__("inception", [str(WIDTH)], weights)

    def forward(self, pictures: Tensor) -> Tensor:
        """(n, 3, h, w) uint8 RGB -> (n, 2048) float32."""
        return super().forward(pictures)[0]
