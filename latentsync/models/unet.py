"""The denoising U-Net: Stable Diffusion's, given frames, audio tokens and motion modules.

The deep part (all but the first convolution, the last layer and the head) can be taken from a `FeatureCache`
(Ma et al., "DeepCache: Accelerating Diffusion Models for Free", 2023).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import FrozenDict
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from einops import rearrange
from torch import Tensor, nn

from latentsync.checkpoint import load_module, load_state

from .attention import GroupNorm, sinusoids
from .blocks import Conditioning, UNetStage, clip_norm


@dataclass(frozen=True)
class UNet3DConditionOutput:
    sample: Tensor  # (b, 4, f, h, w) predicted noise


class FeatureCache:
    """Deep features of one denoising run, renewed at every `interval`-th forward pass.

    A run owns its cache, so runs that share a network do not mix. `interval` 1 never reuses anything.
    """

    def __init__(self, interval: int = 3) -> None:
        if interval < 1:
            raise ValueError(f"expected an interval of at least 1, got {interval}")
        self.interval = interval
        self.calls = 0
        self.features: tuple[Tensor, Tensor] | None = None

    def take(self) -> Tensor | None:
        """The stored features (b f, c, h, w), or None when this pass must compute them."""
        due = self.calls % self.interval == 0
        self.calls += 1
        return None if due else self.features

    def put(self, features: Tensor) -> None:
        self.features = features


class UNet3DConditionModel(nn.Module):
    """Predicts the noise of a clip's latents from the masked picture, a reference and audio tokens.

    Arguments are the keys of the public YAML's `model` section.
    """

    def __init__(
        self,
        *,
        in_channels: int = 13,
        out_channels: int = 4,
        block_out_channels: Sequence[int] = (320, 640, 1280, 1280),
        layers_per_block: int = 2,
        down_block_types: Sequence[str] = (*["CrossAttnDownBlock3D"] * 3, "DownBlock3D"),
        mid_block_type: str = "UNetMidBlock3DCrossAttn",
        up_block_types: Sequence[str] = ("UpBlock3D", *["CrossAttnUpBlock3D"] * 3),
        attention_head_dim: int | Sequence[int] = 8,
        cross_attention_dim: int = 384,
        add_audio_layer: bool = True,
        norm_num_groups: int = 32,
        norm_eps: float = 1e-5,
        act_fn: str = "silu",
        resnet_time_scale_shift: str = "default",
        downsample_padding: int = 1,
        mid_block_scale_factor: float = 1,
        center_input_sample: bool = False,
        flip_sin_to_cos: bool = True,
        freq_shift: int = 0,
        use_motion_module: bool = False,
        motion_module_resolutions: Sequence[int] = (1, 2, 4, 8),
        motion_module_mid_block: bool = False,
        motion_module_decoder_only: bool = False,
        motion_module_type: str = "Vanilla",
        motion_module_kwargs: Mapping | None = None,
        sample_size: int = 64,
        audio_position_scale: float = 0.0,
    ) -> None:
        arguments = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        super().__init__()
        for name, only in (
            ("mid_block_type", "UNetMidBlock3DCrossAttn"),
            ("motion_module_type", "Vanilla"),
            ("act_fn", "silu"),
        ):
            if arguments[name] != only:
                raise ValueError(f"expected {name} {only}, got {arguments[name]}")
        self.config = FrozenDict(arguments)
        self.add_audio_layer = add_audio_layer
        self.center_input_sample = center_input_sample
        self.audio_position_scale = audio_position_scale

        widths, levels = list(block_out_channels), len(block_out_channels)
        # The public key says "dim" and means the number of heads.
        heads = [attention_head_dim] * levels if isinstance(attention_head_dim, int) else attention_head_dim
        time_dim = 4 * widths[0]
        motion = dict(motion_module_kwargs or {})
        common = {
            "groups": norm_num_groups,
            "eps": norm_eps,
            "scale_shift": resnet_time_scale_shift == "scale_shift",
            "audio_dim": cross_attention_dim if add_audio_layer else None,
            "motion": motion,
        }

        def has_motion(level: int) -> bool:
            return use_motion_module and 2**level in motion_module_resolutions

        self.time_proj = Timesteps(widths[0], flip_sin_to_cos, freq_shift)
        self.time_embedding = TimestepEmbedding(widths[0], time_dim)
        self.conv_in = nn.Conv2d(in_channels, widths[0], 3, padding=1)

        self.down_blocks = nn.ModuleList()
        skips = [widths[0]]  # channels of what the up path will take
        for level, kind in enumerate(down_block_types):
            layers = layers_per_block
            resnets = [(skips[-1] if i == 0 else widths[level], widths[level]) for i in range(layers)]
            last = level == levels - 1
            self.down_blocks.append(
                UNetStage(
                    resnets,
                    time_dim,
                    n_attentions=layers if kind.startswith("CrossAttn") else 0,
                    heads=heads[level],
                    n_motion_modules=layers if has_motion(level) and not motion_module_decoder_only else 0,
                    downsample_padding=None if last else downsample_padding,
                    **common,
                )
            )
            skips += [widths[level]] * (layers if last else layers + 1)

        self.mid_block = UNetStage(
            [(widths[-1], widths[-1])] * 2,
            time_dim,
            n_attentions=1,
            heads=heads[-1],
            n_motion_modules=1 if use_motion_module and motion_module_mid_block else 0,
            output_scale=mid_block_scale_factor,
            **common,
        )

        self.up_blocks = nn.ModuleList()
        channels = widths[-1]
        for level, kind in zip(reversed(range(levels)), up_block_types, strict=True):
            resnets = []
            for _ in range(layers_per_block + 1):
                resnets.append((channels + skips.pop(), widths[level]))
                channels = widths[level]
            self.up_blocks.append(
                UNetStage(
                    resnets,
                    time_dim,
                    n_attentions=len(resnets) if kind.startswith("CrossAttn") else 0,
                    heads=heads[level],
                    n_motion_modules=len(resnets) if has_motion(level) else 0,
                    upsample=level > 0,
                    **common,
                )
            )

        self.conv_norm_out = GroupNorm(norm_num_groups, widths[0], eps=norm_eps)
        self.conv_out = nn.Conv2d(widths[0], out_channels, 3, padding=1)
        for parameter in (self.conv_in.weight, self.conv_in.bias, self.conv_out.weight, self.conv_out.bias):
            nn.init.zeros_(parameter)
        self.to(memory_format=torch.channels_last)

    @classmethod
    def from_pretrained(
        cls, model_config: Mapping, ckpt_path: str | Path, device: str | torch.device = "cpu"
    ) -> tuple["UNet3DConditionModel", int]:
        """The public constructor: (network, training step) from a `model` section and a weight file.

        An empty path gives fresh weights and step 0. Raises CheckpointError where the file does not fit.
        """
        if not str(ckpt_path):
            return cls(**model_config).to(device), 0
        checkpoint = load_state(ckpt_path)
        with torch.device("meta"):
            unet = cls(**model_config)
        load_module(unet, checkpoint, dtype=torch.float32, device=device)
        return unet.to(memory_format=torch.channels_last), checkpoint.step

    def enable_gradient_checkpointing(self) -> None:
        """Keep only what lies between layers for the backward pass, and compute the rest again there."""
        for stage in (*self.down_blocks, self.mid_block, *self.up_blocks):
            stage.gradient_checkpointing = True

    @property
    def dtype(self) -> torch.dtype:
        return self.conv_in.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.conv_in.weight.device

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float | int,
        encoder_hidden_states: Tensor | None = None,
        *,
        cache: FeatureCache | None = None,
    ) -> UNet3DConditionOutput:
        """Predict the noise in `sample`.

        Args:
            sample: (b, 13, f, h, w): noisy latent 4, mask 1, masked latent 4, reference latent 4.
            timestep: one for all clips, or (b,).
            encoder_hidden_states: audio tokens (b, f, s, d) or (b f, s, d), frames fastest; None leaves the
                audio layers out.
            cache: deep features of earlier passes of the same run.

        Returns:
            `.sample`, (b, 4, f, h, w).
        """
        frames = sample.shape[2]
        x = rearrange(sample, "b c f h w -> (b f) c h w").contiguous(memory_format=torch.channels_last)
        if self.center_input_sample:
            x = 2 * x - 1
        audio = encoder_hidden_states if self.add_audio_layer else None
        if audio is not None and audio.ndim == 4:
            audio = audio.flatten(0, 1)
        if audio is not None and self.audio_position_scale:
            # Attention has no order of its own: without this a token tells what is heard, but not when.
            audio = audio + self.audio_position_scale * sinusoids(*audio.shape[1:], audio.device).to(audio)
        cond = Conditioning(frames, self._embed_time(timestep, sample), audio)

        x = self.conv_in(x)
        deep = cache.take() if cache is not None else None
        if deep is None:
            deep = self._deep(x, cond)
            if cache is not None:
                cache.put(deep)
        x, _ = self.up_blocks[-1](deep, cond, [x], layers=slice(-1, None))
        x = self.conv_out(F.silu(clip_norm(self.conv_norm_out, x, frames)))
        return UNet3DConditionOutput(rearrange(x, "(b f) c h w -> b c f h w", f=frames))

    def _embed_time(self, timestep: Tensor | float | int, sample: Tensor) -> Tensor:
        timestep = torch.as_tensor(timestep, device=sample.device).expand(sample.shape[0])
        return self.time_embedding(self.time_proj(timestep).to(sample.dtype))

    def _deep(self, x: Tensor, cond: Conditioning) -> Tensor:
        """From the first convolution's output to the input of the last layer, both (b f, c, h, w)."""
        skips = [x]
        for stage in self.down_blocks:
            x, outputs = stage(x, cond)
            skips += outputs
        x, _ = self.mid_block(x, cond)
        for stage in self.up_blocks[:-1]:
            taken = len(stage.resnets)
            skips, mine = skips[:-taken], skips[-taken:]
            x, _ = stage(x, cond, mine, upsample_size=skips[-1].shape[-2:])
        x, _ = self.up_blocks[-1](x, cond, skips[1:], layers=slice(None, -1))
        return x
