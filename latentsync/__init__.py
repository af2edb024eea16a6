"""Audio-driven lip sync with a latent-diffusion U-Net conditioned on Whisper features."""

from pathlib import Path

__version__ = "0.1.0"

#: Root of the checkout; configs/, checkpoints/ and assets/ are found here, whatever the current directory.
REPO_ROOT = Path(__file__).resolve().parents[1]
