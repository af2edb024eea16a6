"""Configuration files: shipped values, public files, and what is refused with which words."""

import json
import logging
from dataclasses import asdict
from pathlib import Path

import pytest
from diffusers import DDIMScheduler
from omegaconf import OmegaConf

from latentsync import REPO_ROOT
from latentsync.config import (
    as_config,
    load_config,
    model_config,
    resolve_path,
    save_config,
    whisper_path,
)
from latentsync.errors import ConfigError
from latentsync.schema import SyncNetConfig, UNetConfig, VAEConfig

UNET = REPO_ROOT / "configs/unet"
SYNCNET = REPO_ROOT / "configs/syncnet"

# A file as the public version ships it: every key, private paths, numbers without a dot, no key of ours.
PUBLIC_UNET = """
data:
  syncnet_config_path: configs/syncnet/syncnet_16_pixel_attn.yaml
  train_output_dir: debug/unet
  train_fileslist: /srv/author/fileslist.txt
  train_data_dir: ""
  audio_embeds_cache_dir: /srv/author/embeds
  audio_mel_cache_dir: /srv/author/mel
  val_video_path: assets/demo1_video.mp4
  val_audio_path: assets/demo1_audio.wav
  batch_size: 1
  num_workers: 12
  num_frames: 16
  resolution: 256
  mask_image_path: latentsync/utils/mask.png
  audio_sample_rate: 16000
  video_fps: 25
  audio_feat_length: [2, 2]
ckpt:
  resume_ckpt_path: checkpoints/latentsync_unet.pt
  save_ckpt_steps: 10000
run:
  pixel_space_supervise: true
  use_syncnet: true
  sync_loss_weight: 0.05
  perceptual_loss_weight: 0.1
  recon_loss_weight: 1
  guidance_scale: 1.5
  trepa_loss_weight: 10
  inference_steps: 20
  trainable_modules:
    - motion_modules.
    - attentions.
  seed: 1247
  use_mixed_noise: true
  mixed_noise_alpha: 1
  mixed_precision_training: true
  enable_gradient_checkpointing: true
  max_train_steps: 10000000
  max_train_epochs: -1
optimizer:
  lr: 1e-5
  scale_lr: false
  max_grad_norm: 1.0
  lr_scheduler: constant
  lr_warmup_steps: 0
model:
  act_fn: silu
  add_audio_layer: true
  attention_head_dim: 8
  block_out_channels: [320, 640, 1280, 1280]
  center_input_sample: false
  cross_attention_dim: 384
  down_block_types: [CrossAttnDownBlock3D, CrossAttnDownBlock3D, CrossAttnDownBlock3D, DownBlock3D]
  mid_block_type: UNetMidBlock3DCrossAttn
  up_block_types: [UpBlock3D, CrossAttnUpBlock3D, CrossAttnUpBlock3D, CrossAttnUpBlock3D]
  downsample_padding: 1
  flip_sin_to_cos: true
  freq_shift: 0
  in_channels: 13
  layers_per_block: 2
  mid_block_scale_factor: 1
  norm_eps: 1e-5
  norm_num_groups: 32
  out_channels: 4
  sample_size: 64
  resnet_time_scale_shift: default
  use_motion_module: true
  motion_module_resolutions: [1, 2, 4, 8]
  motion_module_mid_block: false
  motion_module_decoder_only: false
  motion_module_type: Vanilla
  motion_module_kwargs:
    num_attention_heads: 8
    num_transformer_block: 1
    attention_block_types: [Temporal_Self, Temporal_Self]
    temporal_position_encoding: true
    temporal_position_encoding_max_len: 24
    temporal_attention_dim_div: 1
    zero_initialize: true
"""

# What the five U-Net files differ in.
UNET_VARIANTS = {
    "stage1": (256, False, False, 10, False),
    "stage1_512": (512, False, False, 10, False),
    "stage2": (256, True, True, 10, False),
    "stage2_512": (512, True, True, 10, False),
    "stage2_efficient": (256, True, True, 0, True),
}

SYNCNET_VARIANTS = {
    "syncnet_16_latent": {
        "audio": ([32, 64, 128, 256, 512, 1024], [[2, 1], 2, 2, 2, 2, [2, 3]], []),
        "visual": (64, [64, 128, 256, 256, 512, 1024], [2, 2, 2, 1, 2, 2], []),
        "data": (1200, 120, True, 16, False),
        "weights": "",
    },
    "syncnet_16_pixel": {
        "audio": ([32, 64, 128, 256, 512, 1024, 2048], [[2, 1], 2, 2, 1, 2, 2, [2, 3]], []),
        "visual": (48, [64, 128, 256, 256, 512, 1024, 2048, 2048], [[1, 2], *[2] * 7], []),
        "data": (2048, 256, False, 16, True),
        "weights": "",
    },
    "syncnet_16_pixel_attn": {
        "audio": ([32, 64, 128, 256, 512, 1024, 2048], [[2, 1], 2, 2, 1, 2, 2, [2, 3]], [3, 4]),
        "visual": (48, [64, 128, 256, 256, 512, 1024, 2048, 2048], [[1, 2], *[2] * 7], [4, 5]),
        "data": (2048, 256, False, 16, True),
        "weights": "checkpoints/stable_syncnet.pt",
    },
    "syncnet_25_pixel": {
        "audio": ([64, 128, 256, 256, 512, 1024], [2] * 6, []),
        "visual": (75, [128, 128, 256, 256, 512, 512, 1024, 1024], [[1, 2], *[2] * 7], []),
        "data": (2048, 64, False, 25, True),
        "weights": "",
    },
}


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def refusal(path: Path, *overrides: str, schema: type = UNetConfig) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(schema, path, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def public(tmp_path) -> Path:
    return write(tmp_path / "public.yaml", PUBLIC_UNET)


# ------------------------------------------------------------- shipped files


@pytest.mark.parametrize("name", UNET_VARIANTS)
def test_shipped_unet_values(name, public):
    """All values are the public ones, apart from private paths."""
    resolution, motion, supervised, trepa, decoder_only = UNET_VARIANTS[name]
    expected = asdict(load_config(UNetConfig, public))
    expected["data"] |= {"resolution": resolution, "train_fileslist": ""}
    expected["data"] |= {"audio_embeds_cache_dir": "", "audio_mel_cache_dir": ""}
    expected["run"] |= {"pixel_space_supervise": supervised, "use_syncnet": supervised}
    expected["run"]["trepa_loss_weight"] = trepa
    expected["model"] |= {"use_motion_module": motion, "motion_module_decoder_only": decoder_only}
    trained = {True: ["motion_modules.", "attn2." if decoder_only else "attentions."], False: []}
    expected["run"]["trainable_modules"] = trained[motion]
    assert asdict(load_config(UNetConfig, UNET / f"{name}.yaml")) == expected


def test_defaults_are_stage2_512():
    assert load_config(UNetConfig, UNET / "stage2_512.yaml") == UNetConfig()
    assert UNetConfig().ckpt.vae_path == "checkpoints/vae"


def test_seeded_tiny_differs_only_where_it_says():
    cfg = load_config(UNetConfig, UNET / "seeded_tiny.yaml")
    assert cfg.data.resolution == 128
    assert cfg.model.block_out_channels == [32, 64, 64, 64]
    assert (cfg.model.layers_per_block, cfg.model.attention_head_dim) == (1, 2)
    assert (cfg.model.cross_attention_dim, cfg.model.norm_num_groups) == (32, 16)
    assert cfg.run == UNetConfig().run


@pytest.mark.parametrize("name", SYNCNET_VARIANTS)
def test_shipped_syncnet_values(name):
    expected = SYNCNET_VARIANTS[name]
    cfg = load_config(SyncNetConfig, SYNCNET / f"{name}.yaml")
    audio, visual, data = cfg.model.audio_encoder, cfg.model.visual_encoder, cfg.data
    attended = [[i for i, on in enumerate(encoder.attn_blocks) if on] for encoder in (audio, visual)]
    assert (audio.block_out_channels, audio.downsample_factors, attended[0]) == expected["audio"]
    assert (
        visual.in_channels, visual.block_out_channels, visual.downsample_factors, attended[1]
    ) == expected["visual"]  # fmt: skip
    assert (
        data.num_val_samples, data.batch_size, data.latent_space, data.num_frames, data.lower_half
    ) == expected["data"]  # fmt: skip
    assert (audio.in_channels, audio.dropout, visual.dropout) == (1, 0.0, 0.0)
    public = {
        "ckpt": {
            "resume_ckpt_path": "", "inference_ckpt_path": expected["weights"], "save_ckpt_steps": 2500,
            "vae_path": "checkpoints/vae",
        },
        "data": {
            "gradient_accumulation_steps": 1, "num_workers": 12, "resolution": 256,
            "train_output_dir": "debug/syncnet", "audio_sample_rate": 16000, "video_fps": 25,
        },
        "optimizer": {"lr": 1e-5, "max_grad_norm": 1.0},
        "run": {
            "max_train_steps": 10_000_000, "validation_steps": 2500, "mixed_precision_training": True, "seed": 42,
        },
    }  # fmt: skip
    values = asdict(cfg)
    for section, expected_values in public.items():
        assert {key: values[section][key] for key in expected_values} == expected_values


def test_syncnet_without_attn_blocks_has_no_attention(tmp_path):
    """The public syncnet_25_pixel.yaml leaves the lists out."""
    path = write(
        tmp_path / "public_25.yaml",
        """
model:
  audio_encoder:
    in_channels: 1
    block_out_channels: [64, 128, 256, 256, 512, 1024]
    downsample_factors: [2, 2, 2, 2, 2, 2]
    dropout: 0.0
  visual_encoder:
    in_channels: 75
    block_out_channels: [128, 128, 256, 256, 512, 512, 1024, 1024]
    downsample_factors: [[1, 2], 2, 2, 2, 2, 2, 2, 2]
    dropout: 0.0
data: {num_frames: 25}
""",
    )
    cfg = load_config(SyncNetConfig, path)
    assert cfg.model.audio_encoder.attn_blocks == [0] * 6
    assert cfg.model.visual_encoder.attn_blocks == [0] * 8


def test_audio_values():
    assert OmegaConf.to_container(OmegaConf.load(REPO_ROOT / "configs/audio.yaml")) == {
        "audio": {
            "num_mels": 80, "n_fft": 800, "hop_size": 200, "win_size": 800, "sample_rate": 16000,
            "frame_shift_ms": None, "signal_normalization": True, "allow_clipping_in_normalization": True,
            "symmetric_mels": True, "max_abs_value": 4.0, "preemphasize": True, "preemphasis": 0.97,
            "min_level_db": -100, "ref_level_db": 20, "fmin": 55, "fmax": 7600, "use_lws": False,
        }
    }  # fmt: skip


def test_scheduler_loads_from_the_configs_folder():
    """Public scripts and wrappers build the scheduler this way."""
    scheduler = DDIMScheduler.from_pretrained(REPO_ROOT / "configs")
    golden = json.loads((REPO_ROOT / "tests/golden/ddim_schedule.json").read_text())["scheduler"]
    golden.pop("skip_prk_steps")  # another scheduler's
    assert {key: scheduler.config[key] for key in golden} == golden


# -------------------------------------------------------------- public files


def test_public_file_loads_unchanged(public, caplog):
    cfg = load_config(UNetConfig, public)
    assert not caplog.records
    written = OmegaConf.to_container(OmegaConf.load(public))
    loaded = asdict(cfg)
    for section, values in written.items():
        assert {key: loaded[section][key] for key in values} == values
    assert cfg.data.mask_image_path == "latentsync/utils/mask.png"


def test_numbers_without_a_dot_are_floats(public):
    cfg = load_config(UNetConfig, public, ["optimizer.lr=2e-5"])
    assert cfg.optimizer.lr == 2e-5
    assert cfg.model.norm_eps == 1e-5


def test_obsolete_keys_warn_and_vanish(public, caplog):
    text = PUBLIC_UNET.replace("  batch_size: 1", "  mask: half\n  batch_size: 1") + (
        "  custom_audio_layer: false\n  audio_condition_method: cross_attn\n"
        "  unet_use_cross_frame_attention: false\n  unet_use_temporal_attention: false\n"
        "unet_config_path: configs/unet/first_stage.yaml\n"
    )
    public_cfg = load_config(UNetConfig, public)
    old = write(public.with_name("first_stage.yaml"), text)
    with caplog.at_level(logging.WARNING):
        assert load_config(UNetConfig, old) == public_cfg
    for key in (
        "data.mask ('half')", "model.custom_audio_layer", "model.audio_condition_method",
        "model.unet_use_cross_frame_attention", "model.unet_use_temporal_attention", "unet_config_path",
    ):  # fmt: skip
        assert sum(str(old) in r.getMessage() and key in r.getMessage() for r in caplog.records) == 1, key


def test_heads_may_be_given_per_level(public):
    cfg = load_config(UNetConfig, public, ["model.attention_head_dim=[5,10,20,20]"])
    assert model_config(cfg)["attention_head_dim"] == [5, 10, 20, 20]
    assert type(model_config(cfg)["motion_module_kwargs"]) is dict


def test_config_objects_take_the_same_path(public):
    """Public callers hand over OmegaConf objects, some of them with `run` changed."""
    raw = OmegaConf.load(public)
    raw["run"].update({"guidance_scale": 2.0, "inference_steps": 30})
    cfg = as_config(UNetConfig, raw)
    assert (cfg.run.guidance_scale, cfg.run.inference_steps) == (2.0, 30)
    assert as_config(UNetConfig, OmegaConf.to_container(raw)) == cfg
    assert as_config(UNetConfig, cfg) is cfg
    with pytest.raises(ConfigError, match=r"^my config: data\.resolution must be int"):
        as_config(UNetConfig, {"data": {"resolution": "large"}}, source="my config")


def test_shipped_variants_work_as_bare_objects():
    """A wrapper that reads a variant with OmegaConf gets its `base` unresolved."""
    raw = OmegaConf.load(UNET / "stage2_efficient.yaml")
    assert as_config(UNetConfig, raw) == load_config(UNetConfig, UNET / "stage2_efficient.yaml")


# ---------------------------------------------------------------- base files


def test_base_is_relative_to_the_file_and_overridden(tmp_path):
    write(tmp_path / "far.yaml", "data: {resolution: 128, batch_size: 3}\nmodel: {layers_per_block: 1}\n")
    (tmp_path / "sub").mkdir()
    write(tmp_path / "sub/near.yaml", "base: ../far.yaml\ndata: {resolution: 64}\n")
    cfg = load_config(UNetConfig, tmp_path / "sub/near.yaml", ["data.batch_size=5"])
    assert (cfg.data.resolution, cfg.data.batch_size, cfg.model.layers_per_block) == (64, 5, 1)


def test_circular_base(tmp_path):
    write(tmp_path / "a.yaml", "base: b.yaml\n")
    write(tmp_path / "b.yaml", "base: a.yaml\n")
    message = refusal(tmp_path / "a.yaml")
    assert "a.yaml" in message and "b.yaml" in message and "remove one base" in message


def test_an_error_in_the_base_names_the_base(tmp_path):
    write(tmp_path / "far.yaml", "data: {resolution: high}\n")
    assert refusal(write(tmp_path / "near.yaml", "base: far.yaml\n")).startswith(f"{tmp_path / 'far.yaml'}: ")


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("data: {resolutoin: 256}", ["unknown key data.resolutoin", "did you mean data.resolution?"]),
        ("run: {resolution: 256}", ["unknown key run.resolution", "did you mean data.resolution?"]),
        ("modle: {}", ["unknown key modle", "known are ckpt, data, model, optimizer, run"]),
        ("model: {motion_module_kwargs: {heads: 8}}", ["model.motion_module_kwargs.heads"]),
        ("data: {batch_size: many}", ["data.batch_size must be int", "many"]),
        ("data: {batch_size: 2.5}", ["data.batch_size must be int"]),
        ("run: {use_syncnet: perhaps}", ["run.use_syncnet must be bool"]),
        ("model: {block_out_channels: [wide]}", ["model.block_out_channels[0] must be list[int]"]),
        ("data: 256", ["data is 256", "write keys below it"]),
        ("data:", ["data is None", "write keys below it"]),
        ("- data", ["not a mapping", "data, ckpt, run, optimizer, model"]),
        ("data: [1", ["expected YAML"]),
        ("base: [a, b]", ["base is ['a', 'b']"]),
        ("base: absent.yaml", ["absent.yaml: no such file", "configs/unet"]),
        ("data: {train_data_dir: '${nowhere}'}", ["data.train_data_dir", "nowhere"]),
    ],
)  # fmt: skip
def test_malformed_file(tmp_path, text, words):
    path = write(tmp_path / "mine.yaml", text)
    message = refusal(path)
    for word in [str(tmp_path), *words]:
        assert word in message, message


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("data.resolution=250", "data.resolution is 250; use a positive multiple of 8"),
        ("data.resolution=0", "data.resolution is 0; use"),
        ("data.num_frames=25", "data.num_frames is 25; use at most 24"),
        ("data.audio_sample_rate=44100", "data.audio_sample_rate has 44100; use 16000"),
        ("data.audio_feat_length=[2]", "data.audio_feat_length is [2]; use two"),
        ("data.syncnet_config_path=", "data.syncnet_config_path is empty; name"),
        ("data.syncnet_config_path=''", "data.syncnet_config_path is empty; name"),
        ("run.trainable_modules=[]", "run.trainable_modules is empty; name"),
        ("run.mixed_noise_alpha=-1", "run.mixed_noise_alpha is -1.0; use 0 or more"),
        ("run.inference_steps=0", "run.inference_steps is 0; use 1 to 1000"),
        ("run.max_train_steps=-1", "run.max_train_epochs above 0"),
        ("optimizer.lr_scheduler=steady", "optimizer.lr_scheduler has 'steady'; use 'linear' or"),
        ("model.in_channels=12", "model.in_channels is 12; use 13"),
        ("model.cross_attention_dim=512", "model.cross_attention_dim is 512; use 384 or 768"),
        ("model.block_out_channels=[320,640,1280]", "down_block_types has 4 entries; use one per level, 3"),
        ("model.attention_head_dim=[8,8]", "model.attention_head_dim has 2 entries; use one per level, 4"),
        ("model.attention_head_dim=eight", "model.attention_head_dim is 'eight'; use a positive integer"),
        ("model.attention_head_dim=7", "model.block_out_channels has 320; use multiples of 7"),
        ("model.norm_num_groups=48", "model.block_out_channels has 320; use multiples of 48"),
        ("model.motion_module_type=Chocolate", "model.motion_module_type has 'Chocolate'; use 'Vanilla'"),
        ("model.mid_block_type=Mid", "model.mid_block_type has 'Mid'; use 'UNetMidBlock3DCrossAttn'"),
        ("model.motion_module_resolutions=[3]", "motion_module_resolutions has 3; use 1 or 2 or"),
        ("model.motion_module_kwargs.num_attention_heads=7", "use multiples of 7"),
        ("model.motion_module_kwargs.attention_block_types=[Spatial]", "has 'Spatial'; use 'Temporal_Self'"),
    ],
)  # fmt: skip
def test_failed_cross_check(public, override, words):
    assert words in refusal(public, override)


def test_failed_cross_check_names_the_file(public):
    assert refusal(public, "data.resolution=250").startswith(f"{public}: ")


def test_motion_module_rules_hold_only_with_motion_modules(public):
    off = "model.use_motion_module=false"
    narrow = ["model.block_out_channels=[16,48,48,48]", "model.norm_num_groups=16"]
    assert load_config(UNetConfig, public, [off, "data.num_frames=40", *narrow]).data.num_frames == 40
    assert "has 16; use multiples of 32" in refusal(public, *narrow)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model.visual_encoder.in_channels=45", "visual_encoder.in_channels is 45; use 48"),
        ("data.num_frames=25", "model.audio_encoder.downsample_factors take 80 x 80 to 1 x 2"),
        ("data.lower_half=false", "model.visual_encoder.downsample_factors take 256 x 256 to 2 x 1"),
        ("model.audio_encoder.attn_blocks=[1]", "attn_blocks has 1 entries; use one per level, 7"),
        ("model.audio_encoder.downsample_factors=[a,2,2,1,2,2,2]", "downsample_factors has 'a'; use"),
        ("model.visual_encoder.block_out_channels=[64,128,256,256,512,1024,2048,1024]", "ends with 2048"),
    ],
)  # fmt: skip
def test_failed_syncnet_cross_check(override, words):
    assert words in refusal(SYNCNET / "syncnet_16_pixel.yaml", override, schema=SyncNetConfig)


def test_an_override_without_a_value():
    assert "override 'data.resolution' sets no value" in refusal(UNET / "stage2.yaml", "data.resolution")


def test_a_missing_file_says_where_others_are(tmp_path):
    message = refusal(tmp_path / "unet.yaml")
    assert str(tmp_path / "unet.yaml") in message and "configs/unet" in message


# --------------------------------------------------------------------- using


def test_saved_config_loads_to_an_equal_one(tmp_path):
    cfg = load_config(UNetConfig, UNET / "stage2_efficient.yaml", ["model.attention_head_dim=[5,10,20,20]"])
    save_config(cfg, tmp_path / "run.yaml")
    assert load_config(UNetConfig, tmp_path / "run.yaml") == cfg
    syncnet = load_config(SyncNetConfig, SYNCNET / "syncnet_16_pixel_attn.yaml")
    save_config(syncnet, tmp_path / "syncnet.yaml")
    assert load_config(SyncNetConfig, tmp_path / "syncnet.yaml") == syncnet


def test_paths_resolve_against_the_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve_path("checkpoints/vae") == REPO_ROOT / "checkpoints/vae"
    assert resolve_path(str(tmp_path)) == tmp_path
    with pytest.raises(ConfigError, match="empty path"):
        resolve_path("")


def test_whisper_file_follows_the_audio_width(public):
    assert whisper_path(load_config(UNetConfig, public)).name == "tiny.pt"
    assert whisper_path(load_config(UNetConfig, public, ["model.cross_attention_dim=768"])).name == "small.pt"
    own = load_config(UNetConfig, public, ["model.cross_attention_dim=512", "ckpt.whisper_path=/w/base.pt"])
    assert whisper_path(own) == Path("/w/base.pt")


VAE = REPO_ROOT / "configs/vae"


def test_the_vae_of_the_demo_has_cells_of_8_pixels_and_survives_saving(tmp_path):
    cfg = load_config(VAEConfig, VAE / "demo.yaml")
    assert len(cfg.model.block_out_channels) == 4 and not cfg.model.mid_block_add_attention
    save_config(cfg, tmp_path / "vae.yaml")
    assert load_config(VAEConfig, tmp_path / "vae.yaml") == cfg


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("data.crop=512", "data.crop is 512; use at most data.resolution, 256"),
        ("data.crop=100", "data.crop is 100; use a positive multiple of 8"),
        ("data.mouth_crops=1.5", "data.mouth_crops is 1.5; use 0 to 1"),
        ("data.frames_per_clip=0", "data.frames_per_clip is 0; use 1 or more"),
        ("model.block_out_channels=[16,32,64]", "has 3 levels; use 4"),
        ("model.norm_num_groups=32", "model.block_out_channels has 16; use multiples of 32"),
        ("run.recon_loss_weight=0", "run.recon_loss_weight is 0; use more"),
    ],
)
def test_what_a_vae_cannot_be_is_told(override, words):
    assert words in refusal(VAE / "demo.yaml", override, schema=VAEConfig)
