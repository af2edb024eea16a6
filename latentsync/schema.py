"""What a configuration file may hold: dataclasses with defaults, and the checks a combination must pass."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from .errors import ConfigError

WHISPER_FILES = {384: "checkpoints/whisper/tiny.pt", 768: "checkpoints/whisper/small.pt"}  # by audio width
DOWN_BLOCKS = ("CrossAttnDownBlock3D", "DownBlock3D")
UP_BLOCKS = ("UpBlock3D", "CrossAttnUpBlock3D")
GROUPS = 32  # of the group norms of motion modules and SyncNet, which no key sets
SAMPLE_RATE = 16000  # Hz; Whisper and SyncNet know no other
FRAME_RATE = 25  # Hz, of all training clips
PRECISIONS = ("auto", "fp16", "bf16")
OPTIMIZERS = ("adamw", "muon")
LR_SCHEDULERS = (
    "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup",
)  # fmt: skip


def require(condition: bool, message: str) -> None:
    """Raise ConfigError with `message`, which starts with the key and ends with the remedy."""
    if not condition:
        raise ConfigError(message)


def _require_at_least(minimum: float, section: str, values: object, *keys: str) -> None:
    for key in keys:
        value = getattr(values, key)
        require(value >= minimum, f"{section}.{key} is {value}; use {minimum} or more")


def _require_one_of(choices: Sequence[object], key: str, *values: object) -> None:
    for value in values:
        require(value in choices, f"{key} has {value!r}; use {' or '.join(map(repr, choices))}")


def _require_length(length: int, key: str, values: Sequence[object]) -> None:
    require(len(values) == length > 0, f"{key} has {len(values)} entries; use one per level, {length}")


def _require_multiples(divisor: int, key: str, *values: int) -> None:
    for value in values:
        require(value > 0 and value % divisor == 0, f"{key} has {value}; use multiples of {divisor}")


# --------------------------------------------------------------- training


@dataclass
class Optimizer:
    """The optimiser and its schedule (`optimizer`)."""

    name: str = "adamw"  # muon: for kernels and matrices, with adamw for vectors
    lr: float = 1e-5
    scale_lr: bool = False  # times the number of processes
    max_grad_norm: float = 1.0
    lr_scheduler: str = "constant"  # a name diffusers knows
    lr_warmup_steps: int = 0
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        _require_one_of(OPTIMIZERS, "optimizer.name", self.name)
        _require_at_least(0, "optimizer", self, "lr", "max_grad_norm", "lr_warmup_steps", "weight_decay")
        _require_one_of(LR_SCHEDULERS, "optimizer.lr_scheduler", self.lr_scheduler)


@dataclass
class Course:
    """What all training runs have in common (`run`)."""

    seed: int = 42
    max_train_steps: int = 10_000_000
    mixed_precision_training: bool = True
    mixed_precision_dtype: str = "auto"  # fp16, bf16; auto: what the device multiplies fastest
    enable_gradient_checkpointing: bool = False
    ema_decay: float = 0.0  # of averaged weights, such as 0.999; 0: none
    compile: bool = False  # by torch.compile

    def __post_init__(self) -> None:
        _require_one_of(PRECISIONS, "run.mixed_precision_dtype", self.mixed_precision_dtype)
        require(0 <= self.ema_decay < 1, f"run.ema_decay is {self.ema_decay}; use 0 to less than 1")


# ------------------------------------------------------------------ U-Net


@dataclass
class MotionModule:
    """Temporal transformer behind each level (`model.motion_module_kwargs`)."""

    num_attention_heads: int = 8
    num_transformer_block: int = 1
    attention_block_types: list[str] = field(default_factory=lambda: ["Temporal_Self", "Temporal_Self"])
    temporal_position_encoding: bool = True
    temporal_position_encoding_max_len: int = 24  # frames
    temporal_attention_dim_div: int = 1
    zero_initialize: bool = True

    def __post_init__(self) -> None:
        section = "model.motion_module_kwargs"
        _require_at_least(
            1, section, self, "num_attention_heads", "num_transformer_block",
            "temporal_position_encoding_max_len", "temporal_attention_dim_div",
        )  # fmt: skip
        _require_one_of(("Temporal_Self",), f"{section}.attention_block_types", *self.attention_block_types)


@dataclass
class UNetModel:
    """Constructor arguments of the denoising U-Net (`model`)."""

    add_audio_layer: bool = True
    cross_attention_dim: int = 384  # width of the audio features
    in_channels: int = 13
    out_channels: int = 4
    sample_size: int = 64  # nominal latent side; no effect
    block_out_channels: list[int] = field(default_factory=lambda: [320, 640, 1280, 1280])
    down_block_types: list[str] = field(default_factory=lambda: [*[DOWN_BLOCKS[0]] * 3, DOWN_BLOCKS[1]])
    mid_block_type: str = "UNetMidBlock3DCrossAttn"
    up_block_types: list[str] = field(default_factory=lambda: [UP_BLOCKS[0], *[UP_BLOCKS[1]] * 3])
    layers_per_block: int = 2
    attention_head_dim: Any = 8  # number of heads, in spite of its name: an int, or one per level
    act_fn: str = "silu"
    norm_eps: float = 1e-5
    norm_num_groups: int = 32
    center_input_sample: bool = False
    downsample_padding: int = 1
    flip_sin_to_cos: bool = True
    freq_shift: int = 0
    mid_block_scale_factor: float = 1.0
    resnet_time_scale_shift: str = "default"
    use_motion_module: bool = True
    motion_module_resolutions: list[int] = field(default_factory=lambda: [1, 2, 4, 8])
    motion_module_mid_block: bool = False
    motion_module_decoder_only: bool = False
    motion_module_type: str = "Vanilla"
    motion_module_kwargs: MotionModule = field(default_factory=MotionModule)
    audio_position_scale: float = 0.0  # of sinusoids that tell each token its place in its frame; 0: none, as in public

    def __post_init__(self) -> None:
        _require_at_least(0, "model", self, "audio_position_scale")
        _require_at_least(
            1, "model", self, "cross_attention_dim", "in_channels", "out_channels", "layers_per_block",
            "norm_num_groups",
        )  # fmt: skip
        require(
            self.in_channels == 3 * self.out_channels + 1,
            f"model.in_channels is {self.in_channels}; use {3 * self.out_channels + 1}: three latents of "
            f"model.out_channels, {self.out_channels}, and a mask",
        )
        _require_one_of(DOWN_BLOCKS, "model.down_block_types", *self.down_block_types)
        _require_one_of(UP_BLOCKS, "model.up_block_types", *self.up_block_types)
        _require_one_of(("UNetMidBlock3DCrossAttn",), "model.mid_block_type", self.mid_block_type)
        _require_one_of(("silu",), "model.act_fn", self.act_fn)
        shift = self.resnet_time_scale_shift
        _require_one_of(("default", "scale_shift"), "model.resnet_time_scale_shift", shift)
        self._check_levels()
        if self.use_motion_module:
            self._check_motion()

    def _check_levels(self) -> None:
        heads, widths = self.attention_head_dim, self.block_out_channels
        numbers = heads if isinstance(heads, list) else [heads]
        require(
            bool(numbers) and all(type(n) is int and n > 0 for n in numbers),
            f"model.attention_head_dim is {heads!r}; use a positive integer, or a list with one per level",
        )
        per_level = heads if isinstance(heads, list) else [heads] * len(widths)
        _require_length(len(widths), "model.down_block_types", self.down_block_types)
        _require_length(len(widths), "model.up_block_types", self.up_block_types)
        _require_length(len(widths), "model.attention_head_dim", per_level)
        _require_multiples(self.norm_num_groups, "model.block_out_channels", *widths)
        for width, n_heads in zip(widths, per_level, strict=True):
            _require_multiples(n_heads, "model.block_out_channels", width)

    def _check_motion(self) -> None:
        kwargs = self.motion_module_kwargs
        _require_one_of(("Vanilla",), "model.motion_module_type", self.motion_module_type)
        _require_one_of((1, 2, 4, 8), "model.motion_module_resolutions", *self.motion_module_resolutions)
        require(
            len(self.block_out_channels) == 4,
            f"model.block_out_channels has {len(self.block_out_channels)} levels; motion modules need 4",
        )
        _require_multiples(GROUPS, "model.block_out_channels", *self.block_out_channels)
        heads = kwargs.num_attention_heads * kwargs.temporal_attention_dim_div
        _require_multiples(heads, "model.block_out_channels", *self.block_out_channels)


@dataclass
class UNetData:
    """What a U-Net is trained and run on (`data`)."""

    syncnet_config_path: str = "configs/syncnet/syncnet_16_pixel_attn.yaml"
    train_output_dir: str = "debug/unet"
    train_fileslist: str = ""  # one clip path per line; empty: the clips of train_data_dir
    train_data_dir: str = ""
    val_fileslist: str = ""  # clips of the validation loss; both empty: none
    val_data_dir: str = ""
    num_val_samples: int = 64
    audio_embeds_cache_dir: str = ""  # empty, here and below: a folder of ~/.cache/latentsync
    audio_mel_cache_dir: str = ""
    cache_frames: bool = False  # decoded ones, beside the mels: quick to read, and large
    cache_latents: bool = False  # the VAE's, of all frames, whole and masked
    counterfactual: bool = False  # where NAME.other.mp4 is beside NAME.mp4, give the frames of one to make the other
    val_video_path: str = "assets/demo1_video.mp4"
    val_audio_path: str = "assets/demo1_audio.wav"
    batch_size: int = 1  # clips per process
    gradient_accumulation_steps: int = 1
    num_workers: int = 12
    num_frames: int = 16
    resolution: int = 512  # pixels, square
    mask_image_path: str = "latentsync/utils/mask.png"
    audio_sample_rate: int = SAMPLE_RATE
    video_fps: int = FRAME_RATE
    audio_feat_length: list[int] = field(default_factory=lambda: [2, 2])  # context frames before, after

    def __post_init__(self) -> None:
        _require_at_least(
            1, "data", self, "batch_size", "gradient_accumulation_steps", "num_val_samples", "num_frames",
        )  # fmt: skip
        _require_at_least(0, "data", self, "num_workers")
        require(
            self.resolution > 0 and self.resolution % 8 == 0,
            f"data.resolution is {self.resolution}; use a positive multiple of 8, such as 256 or 512",
        )
        _require_one_of((SAMPLE_RATE,), "data.audio_sample_rate", self.audio_sample_rate)
        _require_one_of((FRAME_RATE,), "data.video_fps", self.video_fps)
        require(
            len(self.audio_feat_length) == 2 and min(self.audio_feat_length) >= 0,
            f"data.audio_feat_length is {self.audio_feat_length}; use two frame counts, such as [2, 2]",
        )


@dataclass
class UNetCkpt:
    """Weight files (`ckpt`)."""

    resume_ckpt_path: str = "checkpoints/latentsync_unet.pt"  # empty: from scratch
    save_ckpt_steps: int = 10000
    keep_last: int = 0  # checkpoints; 0: all
    inference_ckpt_path: str = ""
    vae_path: str = "checkpoints/vae"
    whisper_path: str = ""  # empty: chosen by model.cross_attention_dim
    vgg_path: str = ""  # of the perceptual loss; empty: torch's cache, else checkpoints/auxiliary
    trepa_path: str = "checkpoints/auxiliary/vit_g_hybrid_pt_1200e_ssv2_ft.pth"  # of the temporal loss

    def __post_init__(self) -> None:
        _require_at_least(1, "ckpt", self, "save_ckpt_steps")
        _require_at_least(0, "ckpt", self, "keep_last")


@dataclass
class UNetRun(Course):
    """Losses and course of a training run (`run`)."""

    pixel_space_supervise: bool = True
    use_syncnet: bool = True
    sync_loss_weight: float = 0.05
    perceptual_loss_weight: float = 0.1
    recon_loss_weight: float = 1.0
    trepa_loss_weight: float = 10.0
    guidance_scale: float = 1.5  # of validation, and of inference that says nothing else
    inference_steps: int = 20  # also of both
    timestep_spacing: str = "leading"  # also of both; trailing starts at the last time step: better in few steps
    trainable_modules: list[str] = field(default_factory=lambda: ["motion_modules.", "attentions."])
    seed: int = 1247
    use_mixed_noise: bool = True
    mixed_noise_alpha: float = 1.0
    audio_dropout: float = 0.0  # share of clips that train without sound, for guidance
    inverse_snr_weight: float = 0.0  # the noise's error counts 1 + this / SNR times
    mouth_loss_weight: float = 1.0  # of the noise's error, where the mask has its hole
    high_noise_share: float = 0.0  # of clips, whose time steps are drawn from the upper half alone
    enable_gradient_checkpointing: bool = True
    max_train_epochs: int = -1  # counts where max_train_steps is -1
    validation_steps: int = 0  # 0: with every checkpoint

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.audio_dropout < 1, f"run.audio_dropout is {self.audio_dropout}; use 0 to less than 1")
        require(0 <= self.high_noise_share <= 1, f"run.high_noise_share is {self.high_noise_share}; use 0 to 1")
        _require_at_least(
            0, "run", self, "sync_loss_weight", "perceptual_loss_weight", "recon_loss_weight",
            "trepa_loss_weight", "guidance_scale", "mixed_noise_alpha", "validation_steps", "inverse_snr_weight",
            "mouth_loss_weight",
        )  # fmt: skip
        _require_one_of(("leading", "trailing"), "run.timestep_spacing", self.timestep_spacing)
        require(
            1 <= self.inference_steps <= 1000, f"run.inference_steps is {self.inference_steps}; use 1 to 1000"
        )
        require(
            self.max_train_steps > 0 or self.max_train_epochs > 0,
            f"run.max_train_steps is {self.max_train_steps}; set it or run.max_train_epochs above 0",
        )


@dataclass
class UNetConfig:
    """A file of configs/unet; without a file, the values of stage2_512.yaml."""

    folder: ClassVar[str] = "configs/unet"

    data: UNetData = field(default_factory=UNetData)
    ckpt: UNetCkpt = field(default_factory=UNetCkpt)
    run: UNetRun = field(default_factory=UNetRun)
    optimizer: Optimizer = field(default_factory=Optimizer)
    model: UNetModel = field(default_factory=UNetModel)

    def __post_init__(self) -> None:
        motion = self.model.motion_module_kwargs
        if self.model.use_motion_module:
            require(
                not motion.temporal_position_encoding
                or self.data.num_frames <= motion.temporal_position_encoding_max_len,
                f"data.num_frames is {self.data.num_frames}; use at most "
                f"{motion.temporal_position_encoding_max_len}, "
                "model.motion_module_kwargs.temporal_position_encoding_max_len",
            )
            require(
                bool(self.run.trainable_modules),
                "run.trainable_modules is empty; name what to train, such as 'motion_modules.'",
            )
        require(
            not self.run.use_syncnet or bool(self.data.syncnet_config_path),
            "data.syncnet_config_path is empty; name a SyncNet file, or set run.use_syncnet to false",
        )
        width = self.model.cross_attention_dim
        require(
            not self.model.add_audio_layer or bool(self.ckpt.whisper_path) or width in WHISPER_FILES,
            f"model.cross_attention_dim is {width}; use {' or '.join(map(str, WHISPER_FILES))}, or name a "
            "Whisper file of that width in ckpt.whisper_path",
        )


# ---------------------------------------------------------------- SyncNet


@dataclass
class SyncNetEncoder:
    """One of the two encoders: per level a width, a down factor and whether attention follows."""

    in_channels: int = 1
    block_out_channels: list[int] = field(default_factory=lambda: [32, 64, 128, 256, 512, 1024, 2048])
    # an int, or [vertical, horizontal]
    downsample_factors: list[Any] = field(default_factory=lambda: [[2, 1], 2, 2, 1, 2, 2, [2, 3]])
    attn_blocks: list[int] = field(default_factory=list)  # 0 or 1 per level; empty: no attention
    dropout: float = 0.0

    def check(self, section: str, height: int, width: int) -> None:
        """Raise ConfigError unless the lists agree and an input of (height, width) ends at 1 x 1."""
        levels = len(self.block_out_channels)
        _require_length(levels, f"{section}.downsample_factors", self.downsample_factors)
        _require_length(levels, f"{section}.attn_blocks", self.attn_blocks)
        _require_one_of((0, 1), f"{section}.attn_blocks", *self.attn_blocks)
        _require_multiples(GROUPS, f"{section}.block_out_channels", *self.block_out_channels)
        require(0 <= self.dropout < 1, f"{section}.dropout is {self.dropout}; use 0 to less than 1")
        end = (height, width)
        for factor in self.downsample_factors:
            pair = factor if isinstance(factor, list) else [factor, factor]
            require(
                len(pair) == 2 and all(type(n) is int and n > 0 for n in pair),
                f"{section}.downsample_factors has {factor!r}; use integers or [vertical, horizontal] pairs",
            )
            end = tuple(n if k == 1 else (n - 2) // k + 1 for n, k in zip(end, pair, strict=True))
        require(
            end == (1, 1),
            f"{section}.downsample_factors take {height} x {width} to {end[0]} x {end[1]}; use factors that "
            "end at 1 x 1",
        )


@dataclass
class SyncNetModel:
    """The two encoders of StableSyncNet (`model`)."""

    audio_encoder: SyncNetEncoder = field(default_factory=SyncNetEncoder)
    visual_encoder: SyncNetEncoder = field(
        default_factory=lambda: SyncNetEncoder(
            in_channels=48,
            block_out_channels=[64, 128, 256, 256, 512, 1024, 2048, 2048],
            downsample_factors=[[1, 2], 2, 2, 2, 2, 2, 2, 2],
        )
    )


@dataclass
class SyncNetCkpt:
    """Weight files (`ckpt`)."""

    resume_ckpt_path: str = ""  # empty: from scratch
    inference_ckpt_path: str = ""
    save_ckpt_steps: int = 2500
    keep_last: int = 0  # checkpoints; 0: all
    vae_path: str = "checkpoints/vae"  # read when data.latent_space

    def __post_init__(self) -> None:
        _require_at_least(1, "ckpt", self, "save_ckpt_steps")
        _require_at_least(0, "ckpt", self, "keep_last")


@dataclass
class SyncNetData:
    """What a SyncNet is trained and tested on (`data`)."""

    train_output_dir: str = "debug/syncnet"
    num_val_samples: int = 2048  # pairs of pictures and sound, half of them out of sync
    num_val_clips: int = 64  # that are searched for their offset
    windows_per_clip: int = 1  # more: each window of pictures meets the sound of all
    min_negative_distance: int = 5  # frames between windows that are out of sync
    augment: bool = False  # train on changed light, place, voice and microphone, and on mirrored faces
    batch_size: int = 256  # clips per process
    gradient_accumulation_steps: int = 1
    num_workers: int = 12
    latent_space: bool = False  # encode frames by the VAE
    num_frames: int = 16
    resolution: int = 256  # pixels, square
    train_fileslist: str = ""  # one clip path per line; empty: the clips of train_data_dir
    train_data_dir: str = ""
    val_fileslist: str = ""
    val_data_dir: str = ""
    audio_mel_cache_dir: str = ""  # empty: a folder of ~/.cache/latentsync
    cache_frames: bool = False  # decoded ones, beside the mels: quick to read, and large
    lower_half: bool = True  # of the frames
    audio_sample_rate: int = SAMPLE_RATE
    video_fps: int = FRAME_RATE

    def __post_init__(self) -> None:
        _require_at_least(
            1, "data", self, "num_val_samples", "batch_size", "gradient_accumulation_steps", "num_frames",
            "windows_per_clip", "min_negative_distance",
        )  # fmt: skip
        _require_at_least(0, "data", self, "num_workers", "num_val_clips")
        require(
            self.resolution > 0 and self.resolution % 16 == 0,
            f"data.resolution is {self.resolution}; use a positive multiple of 16, such as 256",
        )
        _require_one_of((SAMPLE_RATE,), "data.audio_sample_rate", self.audio_sample_rate)
        _require_one_of((FRAME_RATE,), "data.video_fps", self.video_fps)


@dataclass
class SyncNetRun(Course):
    """Losses and course of a training run (`run`)."""

    validation_steps: int = 2500
    bce_loss_weight: float = 1.0
    infonce_loss_weight: float = 0.0  # contrast among the windows of a clip
    batch_infonce_loss_weight: float = 0.0  # and among all windows of a process's batch
    infonce_temperature: float = 0.07

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_at_least(1, "run", self, "max_train_steps", "validation_steps")
        losses = ("bce_loss_weight", "infonce_loss_weight", "batch_infonce_loss_weight")
        _require_at_least(0, "run", self, *losses)
        require(
            any(getattr(self, loss) for loss in losses),
            f"{', '.join(f'run.{loss}' for loss in losses)} are 0; set one of them above 0",
        )
        require(
            self.infonce_temperature > 0, f"run.infonce_temperature is {self.infonce_temperature}; use more than 0"
        )


@dataclass
class SyncNetConfig:
    """A file of configs/syncnet; without a file, the values of syncnet_16_pixel.yaml."""

    folder: ClassVar[str] = "configs/syncnet"

    data: SyncNetData = field(default_factory=SyncNetData)
    ckpt: SyncNetCkpt = field(default_factory=SyncNetCkpt)
    run: SyncNetRun = field(default_factory=SyncNetRun)
    optimizer: Optimizer = field(default_factory=Optimizer)
    model: SyncNetModel = field(default_factory=SyncNetModel)

    def __post_init__(self) -> None:
        data, audio, visual = self.data, self.model.audio_encoder, self.model.visual_encoder
        for encoder in (audio, visual):  # here, not in the encoder: a file may change the number of levels
            encoder.attn_blocks = encoder.attn_blocks or [0] * len(encoder.block_out_channels)
        side = data.resolution // 8 if data.latent_space else data.resolution
        mel_columns = -(-data.num_frames * 16 // 5)  # 80 per second at 25 fps
        audio.check("model.audio_encoder", 80, mel_columns)
        visual.check("model.visual_encoder", side // 2 if data.lower_half else side, side)
        _require_one_of((1,), "model.audio_encoder.in_channels", audio.in_channels)
        for loss in ("infonce_loss_weight", "batch_infonce_loss_weight"):
            require(
                not getattr(self.run, loss) or data.windows_per_clip > 1,
                f"data.windows_per_clip is 1; use 2 or more where run.{loss} is set",
            )
        channels = data.num_frames * (4 if data.latent_space else 3)
        require(
            visual.in_channels == channels,
            f"model.visual_encoder.in_channels is {visual.in_channels}; "
            f"use {channels} for {data.num_frames} frames",
        )
        require(
            audio.block_out_channels[-1] == visual.block_out_channels[-1],
            f"model.audio_encoder.block_out_channels ends with {audio.block_out_channels[-1]}; use the width "
            f"model.visual_encoder ends with, {visual.block_out_channels[-1]}",
        )


# ---------------------------------------------------------- audio encoder


@dataclass
class AudioModel:
    """Dimensions of the encoder (`model`), under Whisper's names."""

    n_mels: int = 80
    n_audio_ctx: int = 1500  # positions, 50 per second
    n_audio_state: int = 128  # width of the features
    n_audio_head: int = 4
    n_audio_layer: int = 3

    def __post_init__(self) -> None:
        _require_at_least(1, "model", self, "n_audio_head", "n_audio_layer")
        _require_one_of((80, 128), "model.n_mels", self.n_mels)
        _require_one_of((1500,), "model.n_audio_ctx", self.n_audio_ctx)
        _require_multiples(2, "model.n_audio_state", self.n_audio_state)
        _require_multiples(self.n_audio_head, "model.n_audio_state", self.n_audio_state)


@dataclass
class AudioCkpt:
    """Weight files (`ckpt`)."""

    resume_ckpt_path: str = ""  # empty: from scratch
    save_ckpt_steps: int = 100
    keep_last: int = 0  # checkpoints; 0: all

    def __post_init__(self) -> None:
        _require_at_least(1, "ckpt", self, "save_ckpt_steps")
        _require_at_least(0, "ckpt", self, "keep_last")


@dataclass
class AudioData:
    """What an audio encoder is trained and tested on (`data`): clips of drawn people, with their truth beside them."""

    train_output_dir: str = "debug/audio"
    train_fileslist: str = ""  # one clip path per line; empty: the clips of train_data_dir
    train_data_dir: str = ""
    val_fileslist: str = ""
    val_data_dir: str = ""
    audio_mel_cache_dir: str = ""  # empty: a folder of ~/.cache/latentsync
    num_val_clips: int = 64
    augment: bool = True  # train on other voices, microphones and noises
    batch_size: int = 4  # windows of 30 s per process
    gradient_accumulation_steps: int = 1
    num_workers: int = 1

    def __post_init__(self) -> None:
        _require_at_least(1, "data", self, "batch_size", "gradient_accumulation_steps", "num_val_clips")
        _require_at_least(0, "data", self, "num_workers")


@dataclass
class AudioRun(Course):
    """Losses and course of a training run (`run`)."""

    validation_steps: int = 100
    mouth_loss_weight: float = 1.0  # of the mouth's curves, by the last hidden state
    viseme_loss_weight: float = 0.5
    state_loss_weight: float = 0.5  # of both by the other hidden states, which the U-Net reads as well

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_at_least(1, "run", self, "max_train_steps", "validation_steps")
        losses = ("mouth_loss_weight", "viseme_loss_weight", "state_loss_weight")
        _require_at_least(0, "run", self, *losses)
        require(
            any(getattr(self, loss) for loss in losses),
            f"{', '.join(f'run.{loss}' for loss in losses)} are 0; set one of them above 0",
        )


@dataclass
class AudioConfig:
    """A file of configs/audio; without a file, an encoder as wide as the demo model needs it."""

    folder: ClassVar[str] = "configs/audio"

    data: AudioData = field(default_factory=AudioData)
    ckpt: AudioCkpt = field(default_factory=AudioCkpt)
    run: AudioRun = field(default_factory=AudioRun)
    optimizer: Optimizer = field(default_factory=Optimizer)
    model: AudioModel = field(default_factory=AudioModel)


# -------------------------------------------------------------------- VAE


@dataclass
class VAEModel:
    """Constructor arguments of diffusers' AutoencoderKL (`model`)."""

    block_out_channels: list[int] = field(default_factory=lambda: [128, 256, 512, 512])
    layers_per_block: int = 2
    norm_num_groups: int = 32
    mid_block_add_attention: bool = True  # it attends to more cells in frames than it did in crops

    def __post_init__(self) -> None:
        _require_at_least(1, "model", self, "layers_per_block", "norm_num_groups")
        levels = len(self.block_out_channels)
        require(levels == 4, f"model.block_out_channels has {levels} levels; use 4, for latent cells of 8 pixels")
        _require_multiples(self.norm_num_groups, "model.block_out_channels", *self.block_out_channels)


@dataclass
class VAECkpt:
    """Weight files (`ckpt`)."""

    resume_ckpt_path: str = ""  # empty: from scratch
    save_ckpt_steps: int = 1000
    keep_last: int = 0  # checkpoints; 0: all
    vgg_path: str = ""  # of the perceptual loss; empty: torch's cache, else checkpoints/auxiliary

    def __post_init__(self) -> None:
        _require_at_least(1, "ckpt", self, "save_ckpt_steps")
        _require_at_least(0, "ckpt", self, "keep_last")


@dataclass
class VAEData:
    """What a VAE is trained and tested on (`data`)."""

    train_output_dir: str = "debug/vae"
    train_fileslist: str = ""  # one clip path per line; empty: the clips of train_data_dir
    train_data_dir: str = ""
    val_fileslist: str = ""
    val_data_dir: str = ""
    num_val_samples: int = 64  # frames
    audio_mel_cache_dir: str = ""  # of frames, too; empty: a folder of ~/.cache/latentsync
    frames_per_clip: int = 16  # at even distances: these are decoded and kept, beside the mels
    batch_size: int = 16  # crops per process
    gradient_accumulation_steps: int = 1
    num_workers: int = 12
    resolution: int = 256  # pixels, square
    crop: int = 128  # pixels of a frame that a sample has, square
    mouth_crops: float = 0.5  # share of the crops that have the mouth; the others lie anywhere
    masked_crops: float = 0.25  # share of the crops that are masked as in the U-Net's input
    augment: bool = False  # train on changed light, on mirrored faces, and on less sharp and noisy frames
    mask_image_path: str = "latentsync/utils/mask.png"

    def __post_init__(self) -> None:
        _require_at_least(
            1, "data", self, "num_val_samples", "frames_per_clip", "batch_size", "gradient_accumulation_steps",
        )  # fmt: skip
        _require_at_least(0, "data", self, "num_workers")
        for key in ("resolution", "crop"):
            value = getattr(self, key)
            require(value > 0 and value % 8 == 0, f"data.{key} is {value}; use a positive multiple of 8, such as 128")
        require(
            self.crop <= self.resolution,
            f"data.crop is {self.crop}; use at most data.resolution, {self.resolution}",
        )
        for key in ("mouth_crops", "masked_crops"):
            require(0 <= getattr(self, key) <= 1, f"data.{key} is {getattr(self, key)}; use 0 to 1")


@dataclass
class VAERun(Course):
    """Losses and course of a training run (`run`)."""

    validation_steps: int = 1000
    recon_loss_weight: float = 1.0
    gradient_loss_weight: float = 1.0  # of differences between neighbours: edges
    kl_loss_weight: float = 1e-6
    perceptual_loss_weight: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_at_least(1, "run", self, "max_train_steps", "validation_steps")
        losses = ("recon_loss_weight", "gradient_loss_weight", "kl_loss_weight", "perceptual_loss_weight")
        _require_at_least(0, "run", self, *losses)
        require(self.recon_loss_weight > 0, "run.recon_loss_weight is 0; use more, such as 1")


@dataclass
class VAEConfig:
    """A file of configs/vae; without a file, a VAE of the official size."""

    folder: ClassVar[str] = "configs/vae"

    data: VAEData = field(default_factory=VAEData)
    ckpt: VAECkpt = field(default_factory=VAECkpt)
    run: VAERun = field(default_factory=VAERun)
    optimizer: Optimizer = field(default_factory=Optimizer)
    model: VAEModel = field(default_factory=VAEModel)


TrainingConfig = UNetConfig | SyncNetConfig | AudioConfig | VAEConfig
