"""What SyncNet's training step computes, and whether its validation can tell a good network."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from eval.eval_syncnet_acc import draw, measure
from latentsync.config import load_config, model_config
from latentsync.data.draws import torch_generator
from latentsync.metrics.sync_score import sync_score
from latentsync.models.syncnet import StableSyncNet
from latentsync.schema import SyncNetConfig
from latentsync.train.syncnet import PLATEAU_STEPS, Plateau, SyncNetTask

from .tiny import FRAMES, SIDE, SYNCNET, fill, random_frames, syncnet_config, write_clips, write_config


@pytest.fixture
def make(tmp_path, clips):
    """A function from overrides to a task with a tiny network, or another one."""

    def task(*overrides: str, model: nn.Module | None = None, held_out=clips, **settings) -> SyncNetTask:
        cfg = syncnet_config(tmp_path, *overrides)
        model = fill(StableSyncNet(**model_config(cfg))) if model is None else model
        return SyncNetTask(cfg, model, clips, held_out, **settings)

    return task


def batch(b: int = 3, v: int = 1, height: int = SIDE // 2) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(b + v)
    return {
        "frames": random_frames(b, v, FRAMES)[..., :height, :],
        "mel": torch.randn(b, v, 1, 80, 13, generator=generator),
        "label": torch.tensor([1.0, 0.0, 1.0])[:b],
        "number": torch.arange(4, 4 + b),
    }


def vectors(task: SyncNetTask, sample: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Unit vectors (b, v, d) of pictures and sound, one window at a time."""
    vision, audio = [], []
    for frames, mel in zip(sample["frames"].flatten(0, 1), sample["mel"].flatten(0, 1), strict=True):
        pixels = torch.cat(list(frames))[None].float() / 127.5 - 1  # colours of a frame, frame by frame
        vision.append(task.model.visual_encoder(pixels).flatten())
        audio.append(task.model.audio_encoder(mel[None]).flatten())
    shape = sample["label"].shape[0], -1
    return tuple(F.normalize(torch.stack(x), dim=1).unflatten(0, shape) for x in (vision, audio))


# ------------------------------------------------------------------ losses


def test_one_window_is_in_sync_or_not_by_its_label(make):
    task, sample = make(), batch()
    with torch.no_grad():
        losses = task.losses(task.model, sample)
        vision, audio = vectors(task, sample)
    similarity = (vision * audio).sum(dim=2)[:, 0]
    expected = torch.where(sample["label"] > 0, -similarity.log(), -(1 - similarity).log()).mean()
    assert list(losses) == list(task.weights) == ["bce_loss"]
    torch.testing.assert_close(losses["bce_loss"], expected, rtol=1e-4, atol=1e-5)


def test_each_of_several_windows_meets_the_sound_of_all(make):
    task = make(
        "data.windows_per_clip=4",
        "run.infonce_loss_weight=0.5",
        "run.batch_infonce_loss_weight=0.25",
        "run.infonce_temperature=0.2",
    )
    sample = batch(2, 4)
    with torch.no_grad():
        losses = task.losses(task.model, sample)
        vision, audio = vectors(task, sample)
    similarity = vision @ audio.mT
    own = torch.eye(4, dtype=torch.bool).expand(2, 4, 4)
    bce = (-similarity[own].log().mean() - (1 - similarity[~own]).log().mean()) / 2
    partner = torch.arange(4).repeat(2)
    logits = similarity / 0.2
    nce = (F.cross_entropy(logits.flatten(0, 1), partner) + F.cross_entropy(logits.mT.flatten(0, 1), partner)) / 2
    weights = {"bce_loss": 1, "infonce_loss": 0.5, "batch_infonce_loss": 0.25}
    assert task.weights == weights and list(losses) == list(weights)
    torch.testing.assert_close(losses["bce_loss"], bce, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(losses["infonce_loss"], nce, rtol=1e-4, atol=1e-5)
    every = vision.flatten(0, 1) @ audio.flatten(0, 1).mT / 0.2
    nce = (F.cross_entropy(every, torch.arange(8)) + F.cross_entropy(every.mT, torch.arange(8))) / 2
    torch.testing.assert_close(losses["batch_infonce_loss"], nce, rtol=1e-4, atol=1e-5)


def test_everything_learns(make):
    task = make("data.windows_per_clip=2", "run.infonce_loss_weight=1")
    sum(task.losses(task.model, batch(2, 2)).values()).backward()
    assert all(p.grad.abs().max() > 0 for p in task.model.parameters())


LATENT = {
    "data": {**SYNCNET["data"], "lower_half": True},
    "model": {
        **SYNCNET["model"],
        "visual_encoder": {
            **SYNCNET["model"]["visual_encoder"],
            "in_channels": 4 * FRAMES,
            "downsample_factors": [[2, 2], [2, 4], [2, 2]],  # (16, 8, 16)
        },
    },
}


def test_latents_are_drawn_by_number_and_cut_after_the_vae(tmp_path, clips, vae):
    cfg = load_config(SyncNetConfig, write_config(tmp_path / "latent.yaml", "syncnet/syncnet_16_latent", LATENT))
    task = SyncNetTask(cfg, fill(StableSyncNet(**model_config(cfg))), clips, clips, vae=vae)
    assert task.dataset[0]["frames"].shape == (1, FRAMES, 3, SIDE, SIDE)  # whole, for the VAE
    sample = batch(2, 1, SIDE)
    seen = []
    task.model.visual_encoder.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    with torch.no_grad():
        task.losses(task.model, sample)
        for i, number in enumerate(sample["number"].tolist()):
            posterior = vae.encode(sample["frames"][i, 0].float() / 127.5 - 1).latent_dist
            generator = torch_generator(cfg.run.seed, number, "posterior")
            noise = torch.randn(FRAMES, 4, SIDE // 8, SIDE // 8, generator=generator)
            latents = (posterior.mean + posterior.std * noise)[:, :, SIDE // 16 :] * 0.18215
            torch.testing.assert_close(seen[0][i], rearrange(latents, "f c h w -> (f c) h w"), rtol=1e-4, atol=1e-5)
    measured = task.validate(task.model.state_dict(), 1, None)
    assert set(measured) == set(task.validation_columns)


# -------------------------------------------------------------- validation


class Reader(nn.Module):
    """Reads the frame's number that the clips of tests show, and the one that their sound names: never wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, images: Tensor, mel: Tensor) -> tuple[Tensor, Tensor]:
        return self.encode_visual(images), self.encode_audio(mel)

    def encode_visual(self, images: Tensor) -> Tensor:
        return self.code(((images[:, 0, 0, 0] + 1) * 127.5).round())

    def encode_audio(self, mel: Tensor) -> Tensor:
        return self.code((mel[:, 0, 0, 0] / 3.2).ceil())  # windows start at columns rounded down

    def code(self, frame: Tensor) -> Tensor:
        return self.weight * F.one_hot(frame.long() % 64, 64)


class Constant(Reader):
    """Answers the same for every pair: cosine `similarity`."""

    def __init__(self, similarity: float) -> None:
        super().__init__()
        self.pair = torch.tensor([1.0, 0.0]), torch.tensor([similarity, (1 - similarity**2) ** 0.5])

    def encode_visual(self, images: Tensor) -> Tensor:
        return self.pair[0].expand(len(images), 2)

    def encode_audio(self, mel: Tensor) -> Tensor:
        return self.pair[1].expand(len(mel), 2)


def test_a_network_that_knows_is_always_right(make):
    task = make("data.num_val_samples=40", model=Reader())
    assert task.validate(task.model.state_dict(), 1, None) == {
        "bce_loss": 0,
        "accuracy": 1,
        "offset_accuracy": 1,
        "offset_within_1_accuracy": 1,
    }


@pytest.mark.parametrize("similarity", [0.2, 0.8])
def test_a_network_that_always_answers_the_same_is_right_half_the_time(make, similarity):
    found = make("data.num_val_samples=40").pair_accuracy(Constant(similarity))
    assert found["accuracy"] == 0.5
    p = torch.tensor(similarity)
    assert found["bce_loss"] == pytest.approx(-(p.log() + (1 - p).log()).item() / 2, rel=1e-5)


@pytest.mark.parametrize("late", [3, -4, 1])
def test_a_positive_offset_means_that_the_sound_is_early(make, tmp_path, late):
    shifted = write_clips(tmp_path, late=late)
    task = make(model=Reader(), held_out=shifted)
    score = sync_score(*task.embed_clip(task.model, shifted[0]))
    assert score.offset == -late and score.confidence > 0.5
    found = task.offset_accuracy(task.model)
    assert found == {"offset_accuracy": 0, "offset_within_1_accuracy": float(abs(late) <= 1)}


def test_validation_measures_the_given_weights_and_leaves_the_model_alone(make):
    task = make()
    own = {key: value.clone() for key, value in task.model.state_dict().items()}
    other = {key: value + 0.1 for key, value in own.items()}
    task.model.train()
    first = task.validate(own, 1, None)
    assert task.validate(other, 2, None) != first == task.validate(own, 3, None)
    assert task.model.training and all(torch.equal(own[k], v) for k, v in task.model.state_dict().items())


def test_without_clips_to_search_there_is_no_offset(make):
    found = make("data.num_val_clips=0").validate(make().model.state_dict(), 1, None)
    assert set(found) == {"bce_loss", "accuracy"}


def test_clips_shorter_than_the_search_still_have_an_offset(make, clips):
    short = [replace(clip, n_frames=FRAMES + 6) for clip in clips]
    task = make(model=Reader(), held_out=short)
    assert task.offset_accuracy(task.model)["offset_accuracy"] == 1


# ----------------------------------------------------------------- plateau


def notices(losses) -> list[int]:
    plateau = Plateau()
    return [step for step, loss in enumerate(losses, 1) if plateau.notice(step, loss)]


def test_a_loss_that_stays_at_guessing_is_told_once():
    assert notices([0.693] * 3 * PLATEAU_STEPS) == [PLATEAU_STEPS]
    assert notices([2.0] * 100 + [0.69, 0.697] * PLATEAU_STEPS) != []


@pytest.mark.parametrize(
    "losses",
    [
        [0.693] * (PLATEAU_STEPS - 1),
        [0.8 - 0.0003 * step for step in range(1000)],
        [0.66] * 2000,
    ],
    ids=["too short", "falling", "below"],
)
def test_other_courses_are_not_remarked(losses):
    assert notices(losses) == []


# ------------------------------------------------------------------ the accuracy command


def test_the_accuracy_command_measures_and_draws_distances_and_offsets(make, tmp_path):
    task = make(model=Reader(), held_out=write_clips(tmp_path, late=2))
    found = measure(task, task.model)
    by_distance = found["accuracy_by_distance"]
    assert list(by_distance) == list(range(1, 16))
    assert by_distance.pop(2) == 0.25  # half of these wrong pairs are the ones that agree, and no right one does
    assert set(by_distance.values()) == {0.5}
    assert found["offsets"] == [-2, -2] and found["offset_exact"] == found["offset_within_1"] == 0
    draw(tmp_path / "plot.png", found, "late sound")
    assert (tmp_path / "plot.png").stat().st_size > 5000


def test_the_accuracy_command_finds_a_perfect_network_perfect(make):
    task = make(model=Reader())
    found = measure(task, task.model)
    assert set(found["accuracy_by_distance"].values()) == {1.0}
    assert found["accuracy"] == found["offset_exact"] == 1
