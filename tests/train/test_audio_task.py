"""What an audio encoder's training step computes, whether its validation tells a good one, and what it leaves."""

import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import whisper
from torch import Tensor, nn

from eval.eval_audio import columns, readability
from latentsync import REPO_ROOT
from latentsync.build import check_audio_width
from latentsync.checkpoint import load_state
from latentsync.config import load_config, model_config, whisper_path
from latentsync.data.audio_dataset import UNKNOWN, AudioDataset
from latentsync.data.speech import CURVES, VISEME_CLASSES
from latentsync.schema import AudioConfig, UNetConfig
from latentsync.train.audio import NOW, OPENING, SHIFTS, AudioTask, TaughtEncoder, correlation, neighbours
from latentsync.train.log import read_table
from latentsync.train.loop import train
from latentsync.train.run import plan_of
from latentsync.whisper.audio2feature import Audio2Feature
from latentsync.whisper.encoder import hidden_states
from latentsync.whisper.export import encoder_dims, write_encoder
from latentsync.whisper.mel import log_mel
from scripts import train_audio

from ..data.conftest import noise
from ..data.spoken import write_speaker, write_spoken
from .test_loop import assert_equal_runs

DEMO = REPO_ROOT / "configs/audio/demo.yaml"
TINY = ("model.n_audio_state=16", "model.n_audio_head=2", "model.n_audio_layer=2", "data.batch_size=2")
CPU = torch.device("cpu")


def config(*overrides: str) -> AudioConfig:
    return load_config(AudioConfig, DEMO, [*TINY, "data.num_workers=0", *overrides])


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    return write_spoken(tmp_path_factory.mktemp("spoken"))


@pytest.fixture
def make(spoken):
    """A function from overrides to a task with a tiny encoder, or another network."""

    def task(*overrides: str, model: nn.Module | None = None, held_out=spoken) -> AudioTask:
        cfg = config(*overrides)
        torch.manual_seed(0)
        model = TaughtEncoder(encoder_dims(**model_config(cfg))) if model is None else model
        return AudioTask(cfg, model, spoken, held_out)

    return task


def batch(task: AudioTask, *numbers: int) -> dict[str, Tensor]:
    return torch.utils.data.default_collate([task.dataset[number] for number in numbers])


# ------------------------------------------------------------------ losses


def test_everything_that_the_features_depend_on_learns(make):
    task = make()
    sum(task.losses(task.model, batch(task, 0, 1)).values()).backward()
    still = {name for name, p in task.model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0}
    assert still == {"encoder.ln_post.weight", "encoder.ln_post.bias"}  # behind the hidden states
    assert not any(p.requires_grad for p in task.model.encoder.ln_post.parameters())


def test_a_new_encoder_hears_the_sound_as_loud_as_the_positions(spoken):
    """Else it takes hundreds of steps before anything is learnt."""
    encoder = train_audio.make_model(load_config(AudioConfig, DEMO))[0].encoder
    mel = AudioDataset(spoken, seed=0, augment=True)[0]["mel"]
    with torch.no_grad():
        heard = hidden_states(encoder, mel[None])[0, :, 0] - encoder.positional_embedding
    assert 0.5 < heard.std() / encoder.positional_embedding.std() < 3


def test_heads_of_a_new_encoder_look_at_neighbourhoods_of_their_own(spoken):
    encoder = train_audio.make_model(load_config(AudioConfig, DEMO))[0].encoder
    mel = AudioDataset(spoken, seed=0)[0]["mel"]
    position = torch.arange(100, 1400, 20)
    with torch.no_grad():
        states = hidden_states(encoder, mel[None])[0]
        for i, block in enumerate(encoder.blocks):
            x = block.attn_ln(states[:, i])
            q, k = (layer(x).unflatten(1, (4, 32)).transpose(0, 1) for layer in (block.attn.query, block.attn.key))
            seen = (q[:, position] @ k.mT / 32**0.5).softmax(dim=-1)  # (heads, positions, 1500)
            for head, away in enumerate((-6, -2, 2, 6)):
                near = (torch.arange(1500) - (position[:, None] + away)).abs() <= 4
                assert (seen[head] * near).sum(dim=1).mean() > 0.4  # of nine steps; evenly it would be 0.006


def test_each_position_tells_of_moments_around_it():
    truth = torch.arange(30.0).view(1, 30, 1).expand(1, 30, 8)
    viseme = torch.arange(30)[None]
    curves, visemes = neighbours(truth, viseme)
    assert curves.shape == (1, 30, 3, 8) and visemes[0, 15].tolist() == [15 + shift for shift in SHIFTS]
    assert curves[0, 15, :, 0].tolist() == [15 + shift for shift in SHIFTS]
    assert (visemes[0, 4] == UNKNOWN).tolist() == [True, False, False]
    assert (visemes[0, 25] == UNKNOWN).tolist() == [False, False, True]


class Answers(nn.Module):
    """Says what it is told to, whatever it hears."""

    def __init__(self, mouth: Tensor, logits: Tensor) -> None:
        super().__init__()
        self.mouth, self.logits = nn.Parameter(mouth), logits

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        return self.mouth, self.logits


def test_the_losses_are_those_of_known_moments_by_state(make):
    task = make()
    sample = batch(task, 0, 1)
    curves, visemes = neighbours(sample["mouth"], sample["viseme"])
    known = visemes != UNKNOWN
    standard = (curves - task.mean) / task.spread
    perfect = standard[:, None].expand(-1, 3, -1, -1, -1).clone()
    logits = torch.zeros(*perfect.shape[:-1], len(VISEME_CLASSES))
    perfect[:, 0] += 2  # the first state is off by two deviations everywhere
    perfect.masked_fill_(~known[:, None, ..., None], 1e3)  # and all of them where nobody knows
    with torch.no_grad():
        losses = task.losses(Answers(perfect, logits), sample)
    guessing = np.log(len(VISEME_CLASSES))
    assert losses["mouth_loss"] == pytest.approx(0, abs=1e-6)
    assert losses["viseme_loss"] == pytest.approx(guessing, rel=1e-4)
    assert losses["state_loss"] == pytest.approx(guessing + 4 / 2, rel=1e-4)
    sure = 30 * F.one_hot(visemes.clamp(min=0), len(VISEME_CLASSES))[:, None].expand_as(logits).float()
    assert task.losses(Answers(perfect, sure), sample)["viseme_loss"] < 1e-6


# -------------------------------------------------------------- validation


class Listener(nn.Module):
    """Hears exactly how far the lips of `write_spoken` are apart, some steps late; says nothing of visemes."""

    def __init__(self, late: int = 0) -> None:
        super().__init__()
        self.late, self.weight = late, nn.Parameter(torch.ones(1))

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        heard = self.weight * mel[:, 40, ::2].roll(self.late, dims=-1)
        mouth = torch.zeros(1, 2, 1500, len(SHIFTS), len(CURVES))
        mouth[:, -1, :, NOW, OPENING] = heard
        return mouth, torch.zeros(1, 2, 1500, len(SHIFTS), len(VISEME_CLASSES))


def test_who_hears_perfectly_has_no_lag(make):
    task = make(model=Listener())
    found = task.validate(task.model.state_dict(), 1, None)
    assert set(found) == set(task.validation_columns)
    assert found["opening_correlation"] == pytest.approx(1, abs=1e-4) and found["opening_lag"] == 0


@pytest.mark.parametrize("late", [3, -2])
def test_who_answers_late_has_a_positive_lag(make, late):
    task = make(model=Listener(late))
    found = task.validate(task.model.state_dict(), 1, None)
    assert found["opening_lag"] == late and found["opening_correlation"] < 0.9


def test_correlation_is_of_all_curves_together():
    a = [np.array([0.0, 1, 0, 1]), np.array([2.0, 3, 2, 3])]
    assert correlation(a, a, 0) == pytest.approx(1)
    assert correlation(a, [2 * x + 1 for x in a], 0) == pytest.approx(1)
    assert correlation([x[1:] for x in a], [x[:-1] for x in a], -1) == pytest.approx(1)
    assert np.isnan(correlation([np.zeros(4)], [np.arange(4.0)], 0))


def test_validation_measures_the_given_weights_and_leaves_the_model_alone(make):
    task = make()
    own = {key: value.clone() for key, value in task.model.state_dict().items()}
    first = task.validate(own, 1, None)
    assert task.validate({key: value + 0.1 for key, value in own.items()}, 2, None) != first
    assert task.model.training and all(torch.equal(own[k], v) for k, v in task.model.state_dict().items())
    assert make(held_out=[]).validate(own, 1, None) == {}


# ------------------------------------------------------------------ a run


def test_a_stopped_run_goes_on_bit_for_bit(make, tmp_path):
    def train_to(steps: int, folder: Path) -> None:
        task = make("data.batch_size=1", "model.n_audio_layer=1", held_out=[])
        plan = replace(plan_of(task.cfg, 3, None), lr_scheduler="constant", max_steps=steps)
        train(task, plan, folder, CPU)

    train_to(3, tmp_path / "whole")
    train_to(2, tmp_path / "stopped")
    train_to(3, tmp_path / "stopped")
    assert_equal_runs(tmp_path / "stopped", tmp_path / "whole")


def test_an_exported_encoder_gives_the_features_that_were_trained(make, tmp_path):
    task = make()
    dims = encoder_dims(**model_config(task.cfg))
    rounded = {key: value.half().float() for key, value in task.model.encoder.state_dict().items()}
    write_encoder(tmp_path / "whisper.pt", task.model.encoder.state_dict(), dims)
    write_encoder(tmp_path / "again.pt", task.model.encoder.state_dict(), dims)
    assert (tmp_path / "whisper.pt").read_bytes() == (tmp_path / "again.pt").read_bytes()
    exported = Audio2Feature(tmp_path / "whisper.pt", "cpu")
    assert all(torch.equal(value, rounded[key]) for key, value in exported.model.state_dict().items())
    task.model.encoder.load_state_dict(rounded)
    torch.save({"state_dict": task.model.state_dict(), "dims": asdict(dims)}, tmp_path / "checkpoint.pt")
    trained = Audio2Feature(tmp_path / "checkpoint.pt", "cpu")  # a run's own file, heads and all
    assert torch.equal(trained.features(noise(0, 1.0)), exported.features(noise(0, 1.0)))
    theirs = whisper.load_model(str(tmp_path / "whisper.pt"), device="cpu")
    assert torch.equal(theirs.encoder.conv1.weight, exported.model.conv1.weight)


def test_the_demo_configuration_fits_the_demo_unet(tmp_path):
    cfg = load_config(AudioConfig, DEMO)
    model, _ = train_audio.make_model(cfg)
    path = tmp_path / "whisper.pt"
    write_encoder(path, model.encoder.state_dict(), encoder_dims(**model_config(cfg)))
    assert path.stat().st_size < 2e6
    unet = load_config(UNetConfig, REPO_ROOT / "configs/unet/demo.yaml", [f"ckpt.whisper_path={path}"])
    encoder = Audio2Feature(whisper_path(unet), "cpu", audio_feat_length=unet.data.audio_feat_length)
    check_audio_width(unet, encoder)
    assert encoder.tokens_per_frame == 40


@pytest.fixture(scope="module")
def speakers(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("speakers")
    for seed in range(3):
        write_speaker(folder / "clips", str(seed), seed, seconds=1.2)
    shutil.copy(folder / "clips/0.mp4", folder / "clips/untold.mp4")  # without its truth
    return folder


def command(folder: Path, *rest: str) -> int:
    data = [f"data.train_data_dir={folder / 'clips'}", f"data.val_data_dir={folder / 'clips'}"]
    arguments = ["train_audio", "--run_dir", str(folder / "run"), "--device", "cpu", *TINY, *data, *rest]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", arguments)
        patch.setattr("os.cpu_count", lambda: 1)  # spectra in this process
        patch.setenv("LATENTSYNC_CACHE", str(folder / "cache"))
        return train_audio.main()


def test_the_command_trains_goes_on_and_exports(speakers, capsys):
    quick = ["data.num_workers=0", "data.batch_size=1", "model.n_audio_layer=1"]
    assert command(speakers, *quick, "run.max_train_steps=1") == 0
    first = (speakers / "run/whisper.pt").read_bytes()
    assert command(speakers, *quick, "run.max_train_steps=2") == 0
    assert capsys.readouterr().out.splitlines() == [str(speakers / "run")] * 2
    assert [row["step"] for row in read_table(speakers / "run/metrics.csv")] == ["1", "2"]
    rows = read_table(speakers / "run/validation.csv")
    assert [row["step"] for row in rows] == ["1", "2"]
    assert all(-1 <= float(row["opening_correlation"]) <= 1 for row in rows)
    assert "untold.mp4" in (speakers / "run/unusable_train.csv").read_text()
    assert (speakers / "run/whisper.pt").read_bytes() != first
    exported = load_state(speakers / "run/whisper.pt").state
    kept = load_state(speakers / "run/checkpoints/checkpoint-2.pt").state
    assert torch.equal(exported["encoder.conv1.weight"], kept["encoder.conv1.weight"].half())


def test_what_is_wrong_is_told(speakers, tmp_path, capsys):
    assert command(speakers, "model.n_audio_head=3") == 2
    assert "model.n_audio_state has 16; use multiples of 3" in capsys.readouterr().err
    assert command(speakers, f"ckpt.resume_ckpt_path={tmp_path / 'none.pt'}") == 2
    assert "none.pt: no such file" in capsys.readouterr().err
    assert command(speakers, *[f"run.{name}_loss_weight=0" for name in ("mouth", "viseme", "state")]) == 2
    assert "set one of them above 0" in capsys.readouterr().err


# ------------------------------------------------------------------ readability


def test_what_features_say_can_be_read_off_them_and_what_they_do_not_cannot(spoken, monkeypatch):
    monkeypatch.setattr("eval.eval_audio.read_sound", lambda path: int(path.stem))  # the clip's number

    def describe(number: int, n_frames: int) -> Tensor:
        truth = torch.from_numpy(spoken[number].mouth[1::2])
        return torch.cat([truth[:, :1] * 3 + 1, torch.ones(n_frames, 2)], dim=1)

    found = readability(spoken, spoken, describe)
    assert list(found) == list(CURVES) and found["opening"] > 0.999
    assert abs(found["jaw"]) < 0.3


def test_the_columns_of_a_frame_are_those_of_its_tokens():
    samples = noise(0, 2.0)
    rows = columns(samples, 50).view(50, 80, 20)
    mel = log_mel(samples)
    assert torch.equal(rows[10], mel[:, 32:52])  # positions 16 to 25
    assert (rows[0, :, :8] == 0).all() and torch.equal(rows[0, :, 8:], mel[:, :12])
