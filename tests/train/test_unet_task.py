"""What the U-Net's training step computes, and which parameters it reaches."""

from contextlib import closing
from types import SimpleNamespace

import pytest
import torch
import torchvision
from torch import Tensor, nn

from latentsync.build import build_scheduler
from latentsync.config import model_config
from latentsync.data.latents import MASKED, WHOLE, LatentEncoder
from latentsync.errors import ConfigError
from latentsync.face.mask import fixed_mask
from latentsync.losses.terms import LowerHalfLPIPS, SyncLoss
from latentsync.losses.videomae import TemporalLoss, VideoMAE
from latentsync.models.syncnet import StableSyncNet
from latentsync.models.unet import UNet3DConditionModel
from latentsync.train.log import TrainLog
from latentsync.train.unet import Supervision, UNetTask, draw, freeze

from .tiny import AUDIO_WIDTH, FRAMES, SIDE, fill, random_frames, syncnet_config, unet_config

CELLS = SIDE // 8
ALONE = {  # the losses of the second stage, each with the keys that turn the others off
    "recon_loss": ["run.pixel_space_supervise=false", "run.use_syncnet=false"],
    "lpips_loss": ["run.recon_loss_weight=0", "run.trepa_loss_weight=0", "run.use_syncnet=false"],
    "trepa_loss": ["run.recon_loss_weight=0", "run.perceptual_loss_weight=0", "run.use_syncnet=false"],
    "sync_loss": ["run.recon_loss_weight=0", "run.perceptual_loss_weight=0", "run.trepa_loss_weight=0"],
}


@pytest.fixture(scope="module")
def supervision(tmp_path_factory) -> Supervision:
    """All three frozen networks, with seeded weights."""
    features = fill(torchvision.models.vgg16(init_weights=False).features)
    vgg = {f"features.{key}": value for key, value in features.state_dict().items()}
    cfg = syncnet_config(tmp_path_factory.mktemp("syncnet"))
    video = VideoMAE(dim=64, depth=1, heads=1, hidden=64, patch=56, tubelet=2, classes=2)
    return Supervision(
        perceptual=LowerHalfLPIPS(vgg),
        temporal=TemporalLoss(fill(video)),
        sync=SyncLoss(fill(StableSyncNet(**model_config(cfg))), resolution=SIDE, lower_half=True),
    )


@pytest.fixture
def make(tmp_path, vae, clips, supervision):
    """A function from a shipped configuration's name, and overrides, to its task at a small size."""

    def task(name: str = "stage2", *overrides: str, model: nn.Module | None = None, **settings) -> UNetTask:
        cfg = unet_config(tmp_path, name, *overrides)
        if model is None:
            model = fill(UNet3DConditionModel(**model_config(cfg)))
            freeze(model, cfg)
        pixels, run = cfg.run.pixel_space_supervise, cfg.run
        settings.setdefault(
            "supervision",
            Supervision(
                perceptual=supervision.perceptual if pixels and run.perceptual_loss_weight else None,
                temporal=supervision.temporal if pixels and run.trepa_loss_weight else None,
                sync=supervision.sync if run.use_syncnet else None,
            ),
        )
        return UNetTask(cfg, model, vae, build_scheduler(), fixed_mask(SIDE), clips, **settings)

    return task


def batch(*numbers: int, seed: int = 0) -> dict[str, Tensor]:
    """Samples of noise; those of a number are the same in every company."""
    samples = []
    for number in numbers or (0,):
        generator = torch.Generator().manual_seed(1000 * seed + number)
        samples.append(
            {
                "target": random_frames(FRAMES, seed=2 * number),
                "reference": random_frames(FRAMES, seed=2 * number + 1),
                "audio": torch.randn(FRAMES, 10, AUDIO_WIDTH, generator=generator).half(),
                "mel": torch.randn(1, 80, 13, generator=generator),
                "number": torch.tensor(number),
            }
        )
    return {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}


def backward(task: UNetTask, *numbers: int) -> dict[str, Tensor]:
    """The weighted sum's gradients, by the parameters that have one."""
    task.model.zero_grad()
    terms = task.losses(task.model, batch(*numbers))
    assert list(terms) == list(task.weights)
    sum(task.weights[name] * value for name, value in terms.items()).backward()
    return {name: p.grad for name, p in task.model.named_parameters() if p.grad is not None}


def reached(gradients: dict[str, Tensor]) -> set[str]:
    """Names of the parameters that learn: more than what rounding leaves of a gradient that is zero."""
    scale = torch.stack([g.abs().max() for g in gradients.values()]).median()
    return {name for name, g in gradients.items() if g.isfinite().all() and g.abs().max() > 1e-5 * scale}


# ------------------------------------------------------------- what trains


@pytest.mark.parametrize(
    ("name", "parts", "losses"),
    [
        ("stage1", ("",), ["recon_loss"]),
        ("stage2", ("motion_modules.", "attentions."), ["recon_loss", "lpips_loss", "trepa_loss", "sync_loss"]),
        ("stage2_efficient", ("motion_modules.", "attn2."), ["recon_loss", "lpips_loss", "sync_loss"]),
    ],
)
def test_gradients_reach_exactly_what_a_stage_trains(make, vae, supervision, name, parts, losses):
    task = make(name)
    gradients = backward(task)
    names = [name for name, _ in task.model.named_parameters()]
    assert reached(gradients) == {n for n in names if any(part in n for part in parts)}
    assert set(gradients) == reached(gradients)
    assert list(task.weights) == losses
    motion = {n.split(".")[0] for n in names if "motion_modules." in n}
    assert motion == {"stage1": set(), "stage2": {"down_blocks", "up_blocks"}, "stage2_efficient": {"up_blocks"}}[name]
    for frozen in (vae, supervision.perceptual, supervision.temporal, supervision.sync):
        assert all(p.grad is None and not p.requires_grad for p in frozen.parameters())


@pytest.mark.parametrize("loss", ALONE)
def test_each_loss_alone_reaches_everything_that_trains(make, loss):
    task = make("stage2", *ALONE[loss])
    assert list(task.weights) == [loss]
    gradients = backward(task)
    assert reached(gradients) == {name for name, p in task.model.named_parameters() if p.requires_grad}


def test_gradient_checkpointing_changes_no_gradient(make):
    task = make("stage2", *ALONE["recon_loss"])
    plain = backward(task, 0, 1)
    task.model.enable_gradient_checkpointing()
    for name, gradient in backward(task, 0, 1).items():
        torch.testing.assert_close(gradient, plain[name], rtol=1e-5, atol=1e-8)


def test_gradient_checkpointing_of_the_vae_changes_no_gradient(make, vae):
    task = make("stage2", *ALONE["sync_loss"])
    plain = backward(task)
    vae.enable_gradient_checkpointing()
    try:
        checkpointed = backward(task)
    finally:
        vae.disable_gradient_checkpointing()
    for name, gradient in checkpointed.items():
        torch.testing.assert_close(gradient, plain[name], rtol=1e-4, atol=1e-10)


def test_without_any_loss_nothing_is_trained(make):
    with pytest.raises(ConfigError, match=r"every loss that is on has weight 0; set run\.recon_loss_weight"):
        make("stage1", "run.recon_loss_weight=0")


# --------------------------------------------------------------- the draws


@pytest.mark.parametrize(("alpha", "correlation"), [(0.5, 0.2), (1, 0.5), (2, 0.8), (None, 1)])
def test_noise_has_unit_variance_and_is_partly_shared_by_the_frames(make, alpha, correlation):
    cfg = make("stage1", "run.use_mixed_noise=false" if alpha is None else f"run.mixed_noise_alpha={alpha}").cfg
    noise = draw(cfg, range(40), 3).noise
    assert noise.shape == (40, 4, FRAMES, CELLS, CELLS)
    assert noise.var().item() == pytest.approx(1, abs=0.02) and abs(noise.mean().item()) < 0.02
    products = noise[:, :, :-1] * noise[:, :, 1:]
    assert products.mean().item() == pytest.approx(correlation, abs=0.02)
    if alpha is None:
        assert torch.equal(noise, noise[:, :, :1].expand_as(noise))


def test_time_steps_are_uniform_integers(make):
    cfg = make("stage1", "data.resolution=8").cfg
    timesteps = draw(cfg, range(3000), 0).timesteps
    assert timesteps.dtype == torch.int64 and timesteps.min() >= 0 and timesteps.max() <= 999
    counts = torch.histc(timesteps.float(), 10, 0, 1000)
    assert (counts - 300).abs().max() < 5 * 300**0.5


def test_a_samples_draws_do_not_depend_on_its_batch(make):
    cfg = make("stage1").cfg
    together, alone = draw(cfg, [5, 9, 2], 1), draw(cfg, [9], 1)
    assert torch.equal(together.posterior[:, 1], alone.posterior[:, 0])
    for name in ("noise", "timesteps", "heard"):
        assert torch.equal(getattr(together, name)[1], getattr(alone, name)[0])
    assert not torch.equal(draw(cfg, [9], 2).noise, alone.noise)


@pytest.mark.parametrize("share", [0, 0.4, 1])
def test_high_noise_has_its_share(make, share):
    cfg = make("stage1", "data.resolution=8", f"run.high_noise_share={share}").cfg
    timesteps = draw(cfg, range(3000), 0).timesteps
    assert timesteps.min() >= 500 * (share == 1) and timesteps.max() <= 999
    assert (timesteps >= 500).float().mean().item() == pytest.approx((1 + share) / 2, abs=0.03)
    if share < 1:
        same = timesteps == draw(make("stage1", "data.resolution=8").cfg, range(3000), 0).timesteps
        assert same.float().mean().item() == pytest.approx(1 - share, abs=0.03)


@pytest.mark.parametrize("share", [0, 0.3])
def test_so_many_clips_train_without_sound(make, share):
    cfg = make("stage1", "data.resolution=8", f"run.audio_dropout={share}").cfg
    assert draw(cfg, range(2000), 0).heard.float().mean().item() == pytest.approx(1 - share, abs=0.04 * (share > 0))


def test_a_clip_without_sound_has_the_loss_of_zeros(make):
    task = make("stage1", "run.audio_dropout=0.5")
    heard = draw(task.cfg, range(20), task.cfg.run.seed).heard.tolist()

    def loss(number: int, silent: bool) -> float:
        sample = batch(number)
        if silent:
            sample["audio"].zero_()
        with torch.no_grad():
            return task.losses(task.model, sample)["recon_loss"].item()

    deaf, hearing = heard.index(False), heard.index(True)
    assert loss(deaf, True) == loss(deaf, False)
    assert loss(hearing, True) != loss(hearing, False)


# ---------------------------------------------------------- what it computes


class Recorder(nn.Module):
    """A network that keeps its arguments and predicts what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, sample: Tensor, timesteps: Tensor, audio: Tensor) -> SimpleNamespace:
        self.arguments = sample, timesteps, audio
        return SimpleNamespace(sample=self.scale * self.answer)


def scaled_latents(vae, frames: Tensor, noise: Tensor, mask: Tensor | None = None) -> Tensor:
    """(4, f, h, w) of frames (f, 3, r, r) uint8, straight from diffusers."""
    pixels = frames.float() / 255 * 2 - 1
    posterior = vae.encode(pixels if mask is None else pixels * mask).latent_dist
    return ((posterior.mean + posterior.logvar.mul(0.5).exp() * noise) * 0.18215).transpose(0, 1)


def test_the_thirteen_channels_and_the_target(make, vae):
    model = Recorder()
    task = make("stage1", model=model)
    sample, draws = batch(7, 3), draw(task.cfg, [7, 3], task.cfg.run.seed)
    model.answer = draws.noise + 0.5
    with torch.no_grad():
        loss = task.losses(model, sample)["recon_loss"]
        assert loss.item() == pytest.approx(0.25, rel=1e-5)  # the target is the noise
        mask, alphas = fixed_mask(SIDE), build_scheduler().alphas_cumprod
        given, timesteps, audio = model.arguments
        assert given.shape == (2, 13, FRAMES, CELLS, CELLS) and torch.equal(timesteps, draws.timesteps)
        assert torch.equal(audio, sample["audio"].float())
        for i in range(2):
            target = scaled_latents(vae, sample["target"][i], draws.posterior[0, i])
            a = alphas[timesteps[i]]
            expected = [
                a.sqrt() * target + (1 - a).sqrt() * draws.noise[i],
                mask[:, None, ::8, ::8].expand(1, FRAMES, -1, -1),
                scaled_latents(vae, sample["target"][i], draws.posterior[1, i], mask),
                scaled_latents(vae, sample["reference"][i], draws.posterior[2, i]),
            ]
            torch.testing.assert_close(given[i], torch.cat(expected), rtol=1e-4, atol=1e-5)


def test_errors_weigh_more_in_noise_and_at_the_mouth(make):
    model = Recorder()
    task = make("stage1", "run.inverse_snr_weight=0.5", "run.mouth_loss_weight=3", model=model)
    sample, draws = batch(7, 3), draw(task.cfg, [7, 3], task.cfg.run.seed)
    error = torch.randn(draws.noise.shape)
    model.answer = draws.noise + error
    alphas = build_scheduler().alphas_cumprod[draws.timesteps]
    of_time = 1 + 0.5 * torch.minimum((1 - alphas) / alphas, torch.tensor(20.0))
    keep = fixed_mask(SIDE)[0, ::8, ::8]
    of_place = 3 - 2 * keep
    expected = (error**2 * of_time.view(2, 1, 1, 1, 1) * of_place).mean()
    with torch.no_grad():
        assert task.losses(model, sample)["recon_loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert keep.min() == 0 and keep.max() == 1 and of_time[0] != of_time[1]


def test_what_is_given_may_be_of_another_mouth(make, vae):
    """The masked frames come from where the sample says, the target stays what it is."""
    model = Recorder()
    task = make("stage1", model=model)
    sample, draws = batch(7), draw(task.cfg, [7], task.cfg.run.seed)
    sample["masked"] = random_frames(1, FRAMES, seed=99)
    model.answer = draws.noise
    with torch.no_grad():
        task.losses(model, sample)
        given, mask = model.arguments[0][0], fixed_mask(SIDE)
        masked = scaled_latents(vae, sample["masked"][0], draws.posterior[1, 0], mask)
        target = scaled_latents(vae, sample["target"][0], draws.posterior[0, 0])
        a = build_scheduler().alphas_cumprod[draws.timesteps[0]]
    torch.testing.assert_close(given[5:9], masked, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(given[:4], a.sqrt() * target + (1 - a).sqrt() * draws.noise[0], rtol=1e-4, atol=1e-5)


def test_cached_latents_give_the_losses_of_the_pictures(make, vae):
    encoder = LatentEncoder(vae, fixed_mask(SIDE))
    sample = batch(7, 3)
    sample["masked"] = random_frames(2, FRAMES, seed=99)
    cached = dict(sample) | {"pictures": sample["target"]}
    for name, kind in (("target", WHOLE), ("masked", MASKED), ("reference", WHOLE)):
        frames = sample[name].flatten(0, 1).permute(0, 2, 3, 1).numpy()
        cached[name] = torch.from_numpy(encoder(frames)[:, kind]).unflatten(0, (2, FRAMES))
    with torch.no_grad():
        plain = make("stage2").losses(make("stage2").model, sample)
        task = make("stage2", "data.cache_latents=true")
        assert task.losses(task.model, cached).keys() == plain.keys()
        for name, value in task.losses(task.model, cached).items():
            assert value.item() == pytest.approx(plain[name].item(), rel=5e-3)  # they are kept in half precision


def test_losses_of_pictures_see_the_clean_ones_that_the_prediction_implies(make, vae):
    model, seen = Recorder(), {}

    def record(name):
        def loss(*arguments):
            seen[name] = arguments
            return arguments[0].mean()

        return loss

    judges = Supervision(record("perceptual"), record("temporal"), record("sync"))
    task = make("stage2", model=model, supervision=judges)
    sample, draws = batch(7, 3), draw(task.cfg, [7, 3], task.cfg.run.seed)
    model.answer = draws.noise  # a perfect guess
    with torch.no_grad():
        assert task.losses(model, sample)["recon_loss"] == 0
        target = torch.cat([scaled_latents(vae, sample["target"][i], draws.posterior[0, i]) for i in range(2)], 1)
        decoded = vae.decode(target.transpose(0, 1) / 0.18215).sample
    true = sample["target"].flatten(0, 1).float() / 127.5 - 1
    torch.testing.assert_close(seen["perceptual"][0], decoded, rtol=1e-3, atol=1e-3)  # a difference of large numbers
    torch.testing.assert_close(seen["perceptual"][1], true)
    frames, mel = seen["sync"]
    assert torch.equal(frames.flatten(0, 1), seen["perceptual"][0]) and torch.equal(mel, sample["mel"])
    for ours, pictures in zip(seen["temporal"], seen["perceptual"], strict=True):
        assert torch.equal(ours.transpose(1, 2).flatten(0, 1), pictures)


def test_a_batchs_loss_is_the_mean_of_its_samples(make):
    task = make("stage2", *ALONE["recon_loss"])
    with torch.no_grad():
        together, *alone = (task.losses(task.model, batch(*n))["recon_loss"].item() for n in ((4, 6), (4,), (6,)))
    assert together == pytest.approx(sum(alone) / 2, rel=1e-5)


# ------------------------------------------------------------- validation


@pytest.fixture
def log(tmp_path):
    with closing(TrainLog(tmp_path, [], [], step=0)) as log:
        yield log


def test_validation_is_deterministic_and_of_the_given_weights(make, clips, log, monkeypatch):
    shown = []
    monkeypatch.setattr(log, "pictures", lambda name, rows, step: shown.append((name, rows, step)))
    task = make("stage1", "data.num_val_samples=3", validation_clips=clips)
    weights = {key: value.clone() for key, value in task.model.state_dict().items()}
    first = task.validate(weights, 10, log)
    assert set(first) == {"loss", "recon_loss"} <= set(task.validation_columns)
    torch.rand(5)  # whatever else draws
    assert task.validate(weights, 20, log) == first
    with torch.no_grad():
        for parameter in task.model.parameters():
            parameter.fill_(float("nan"))
    assert task.validate(weights, 30, log) == first
    other = {key: 0.9 * value for key, value in weights.items()}
    assert task.validate(other, 40, log) != first
    assert all(parameter.isnan().all() for parameter in task.model.parameters())
    assert [step for _, _, step in shown] == [10, 20, 30, 40]
    target, reference, predicted = shown[0][1]
    assert target.shape == reference.shape == predicted.shape == (FRAMES, SIDE, SIDE, 3)
    assert (target[:, 0, 0, 0] == target[0, 0, 0, 0] + range(FRAMES)).all()
