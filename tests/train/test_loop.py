"""The loop by itself, with a network of forty weights."""

import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType

import pytest
import torch

from latentsync.errors import CheckpointError, ConfigError, TrainingError
from latentsync.train import loop
from latentsync.train.log import read_table
from latentsync.train.loop import train
from latentsync.train.state import kept_steps

from .toy import Points, ToyTask, plan, run

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")


def curve(folder: Path) -> list[tuple[str, ...]]:
    """All that a step computed; not how fast."""
    rows = read_table(folder / "metrics.csv")
    return [tuple(value for key, value in row.items() if key != "samples_per_s") for row in rows]


def weights(folder: Path) -> dict:
    step = kept_steps(folder / "checkpoints")[-1]
    return torch.load(folder / f"checkpoints/checkpoint-{step}.pt", weights_only=True)["state_dict"]


def assert_equal_runs(one: Path, other: Path) -> None:
    assert curve(one) == curve(other)
    for (key, a), b in zip(weights(one).items(), weights(other).values(), strict=True):
        assert torch.equal(a, b), key


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    train(ToyTask(), plan(), folder, CPU)
    return folder


def test_it_learns_and_reports(whole):
    losses = [float(row["loss"]) for row in read_table(whole / "metrics.csv")]
    assert len(losses) == 12 and losses[-1] < 0.8 * losses[0]
    first = read_table(whole / "metrics.csv")[0]
    total = 2 * float(first["square_loss"]) + 0.01 * float(first["size_loss"])
    assert float(first["loss"]) == pytest.approx(total, rel=1e-6)
    assert [row["step"] for row in read_table(whole / "validation.csv")] == ["6", "12"]
    assert (whole / "loss_chart.png").stat().st_size > 5000
    assert kept_steps(whole / "checkpoints") == [4, 8, 12]
    assert [path.name for path in (whole / "checkpoints").glob("state-*")] == ["state-12.pt"]


@pytest.mark.parametrize("stop_at", [5, 8, 11])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ema_decay": 0.9, "accumulation": 3, "lr_scheduler": "cosine"},
        {"optimizer": "muon", "lr_scheduler": "cosine"},
    ],
)
def test_a_stopped_run_goes_on_bit_for_bit(tmp_path, stop_at, changes):
    """By SIGTERM, which keeps the step it came in; dropout included."""

    class Stopping(ToyTask):
        def notice(self, step, values):
            if step == stop_at - 1:
                os.kill(os.getpid(), signal.SIGTERM)

    train(ToyTask(), plan(**changes), tmp_path / "whole", CPU)
    assert train(Stopping(), plan(**changes), tmp_path / "parts", CPU) == stop_at
    assert train(ToyTask(), plan(**changes), tmp_path / "parts", CPU) == 12
    assert_equal_runs(tmp_path / "parts", tmp_path / "whole")


def test_steps_after_the_last_kept_one_are_cut_from_the_tables(tmp_path, whole):
    """As after a power failure: a later step was logged, one row only half, and nothing of it kept."""

    class Failing(ToyTask):
        def notice(self, step, values):
            if step == 7:
                raise KeyError

    with pytest.raises(KeyError):
        train(Failing(), plan(), tmp_path, CPU)
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("8,0.2")
    assert kept_steps(tmp_path / "checkpoints") == [4]
    train(ToyTask(), plan(), tmp_path, CPU)
    assert_equal_runs(tmp_path, whole)


def test_a_finished_run_does_nothing_more(tmp_path):
    train(ToyTask(), plan(), tmp_path, CPU)
    before = (tmp_path / "checkpoints/checkpoint-12.pt").stat().st_mtime_ns
    task = ToyTask()
    assert train(task, plan(), tmp_path, CPU) == 12
    assert (tmp_path / "checkpoints/checkpoint-12.pt").stat().st_mtime_ns == before and not task.validated


def test_accumulation_equals_a_larger_batch(tmp_path):
    class Still(ToyTask):
        def __init__(self):
            super().__init__()
            self.model[1].p = 0.0

    train(Still(), plan(batch_size=12), tmp_path / "large", CPU)
    train(Still(), plan(batch_size=4, accumulation=3), tmp_path / "small", CPU)
    for a, b in zip(weights(tmp_path / "large").values(), weights(tmp_path / "small").values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_averaged_weights_are_what_is_kept_and_validated(tmp_path):
    train(ToyTask(), plan(ema_decay=0.9), tmp_path / "ema", CPU)
    train(ToyTask(), plan(), tmp_path / "raw", CPU)
    state = torch.load(tmp_path / "ema/checkpoints/state-12.pt", weights_only=True)
    raw, averaged = weights(tmp_path / "raw"), weights(tmp_path / "ema")
    assert torch.equal(state["model"]["0.weight"], raw["0.weight"])
    assert not torch.allclose(averaged["0.weight"], raw["0.weight"])
    shown = float(read_table(tmp_path / "ema/validation.csv")[-1]["accuracy"])
    assert shown == pytest.approx(float(averaged["2.bias"].abs().sum()))


def test_only_the_last_checkpoints_are_kept_if_so_wanted(tmp_path):
    train(ToyTask(), plan(keep_last=2), tmp_path, CPU)
    assert kept_steps(tmp_path / "checkpoints") == [8, 12]


def test_a_batch_that_is_not_finite_stops_the_run_and_is_named(tmp_path):
    task = ToyTask(poison=22)  # of step 6
    with pytest.raises(TrainingError, match=r"step 6: loss, square_loss not finite .*clip22\.mp4.*last checkpoint"):
        train(task, plan(), tmp_path, CPU)
    assert all(parameter.isfinite().all() for parameter in task.model.parameters())
    assert kept_steps(tmp_path / "checkpoints") == [4] and len(curve(tmp_path)) == 5


def test_gradients_that_are_not_finite_stop_the_run(tmp_path):
    class Steep(ToyTask):
        def losses(self, model, batch):
            y = model(batch["x"])[:, 0]
            zero = (y - y.detach()).abs().sqrt().mean()  # its slope at 0 is infinite
            return {"square_loss": zero, "size_loss": y.abs().mean()}

    with pytest.raises(TrainingError, match="gradients are not finite"):
        train(Steep(), plan(), tmp_path, CPU)


def test_another_network_is_refused(tmp_path, whole):
    task = ToyTask()
    task.model = torch.nn.Sequential(torch.nn.Linear(3, 9), torch.nn.Dropout(), torch.nn.Linear(9, 1))
    with pytest.raises(CheckpointError, match="does not fit this configuration"):
        train(task, plan(), whole, CPU)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_a_run_goes_on_with_the_rates_it_is_given(tmp_path, name):
    """As the error about numbers that are not finite advises; the schedule stays where it was."""
    task = ToyTask()
    train(task, plan(max_steps=8, lr_scheduler="linear", optimizer=name), tmp_path, CPU)
    train(task, plan(max_steps=16, lr_scheduler="linear", lr=0.002, optimizer=name), tmp_path, CPU)
    rates = [float(row["lr"]) for row in read_table(tmp_path / "metrics.csv")]
    assert rates[:8] == pytest.approx([0.02 * (1 - step / 8) for step in range(8)])
    assert rates[8:] == pytest.approx([0.002 * (1 - step / 16) for step in range(8, 16)])


def test_averaged_weights_are_not_mistaken_for_raw_ones(tmp_path):
    train(ToyTask(), plan(ema_decay=0.9), tmp_path, CPU)
    with pytest.raises(CheckpointError, match="does not fit this configuration"):
        train(ToyTask(), plan(), tmp_path, CPU)


def test_weights_with_more_steps_than_wanted_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"run\.max_train_steps is 12, .* have 12 steps behind"):
        train(ToyTask(), plan(), tmp_path, CPU, first_step=12)


def test_what_a_kill_left_is_removed_and_nothing_else(tmp_path):
    leftovers = [tmp_path / ".metrics-abcdefg1.csv", tmp_path / "checkpoints/.state-4-a_cdefg1.pt"]
    others = [tmp_path / ".hidden", tmp_path / "checkpoints/.notes-mine.txt", tmp_path / "notes-abcdefg1.txt"]
    (tmp_path / "checkpoints").mkdir()
    for path in leftovers + others:
        path.touch()
    train(ToyTask(), plan(), tmp_path, CPU)
    assert not any(path.exists() for path in leftovers) and all(path.exists() for path in others)


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:
    """Two processes that do three runs, as starting them takes longest; the last one meets what is not finite."""
    folder = tmp_path_factory.mktemp("ranks")
    runs = [(folder / "1", 4, 1), (folder / "2", 4, 2), (folder / "poison", 4, 1, 22)]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["-m", "tests.train.toy", json.dumps(runs, default=str)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    return folder, done


@pytest.mark.parametrize("accumulation", [1, 2])
def test_two_processes_equal_one_with_twice_the_batch(two_ranks, tmp_path, accumulation):
    """But for the order of sums: gradients are averaged over the processes."""
    two, one = two_ranks[0] / str(accumulation), tmp_path
    assert kept_steps(two / "checkpoints") == [4, 8, 12], two_ranks[1].stderr
    run(one, 8, accumulation)
    for a, b in zip(weights(one).values(), weights(two).values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    losses = [[float(row["loss"]) for row in read_table(folder / "metrics.csv")] for folder in (one, two)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_all_processes_stop_at_a_batch_of_one_of_them(two_ranks):
    folder, done = two_ranks  # 22 is a sample of the second process, in step 3
    assert done.returncode != 0 and kept_steps(folder / "poison/checkpoints") == []
    assert done.stderr.count("TrainingError: step 3") == 2 and "clip22.mp4" in done.stderr


def test_points_depend_on_their_number_alone():
    assert torch.equal(Points()[5]["x"], Points()[5]["x"]) and not torch.equal(Points()[5]["x"], Points()[6]["x"])


def test_half_precision_skips_steps_until_its_scale_fits_and_goes_on_exactly(tmp_path):
    """Scaled gradients overflow at first: such a step leaves weights and schedule alone."""

    class Large(ToyTask):
        weights = MappingProxyType({"square_loss": 20.0, "size_loss": 0.01})

    half = {"precision": torch.float16, "max_steps": 16, "lr_scheduler": "linear"}
    train(Large(), plan(**half), tmp_path / "whole", CPU)
    rows = read_table(tmp_path / "whole/metrics.csv")
    taken = [row["grad_norm"] not in ("inf", "nan") for row in rows]
    assert not taken[0] and 5 < sum(taken) < 16
    rates = [row["lr"] for row in rows]
    moved = [before != after for before, after in itertools.pairwise(rates)]
    assert moved == taken[:-1]  # a step that is not taken leaves the rate to the next one

    class Failing(Large):
        def notice(self, step, values):
            if step == 10:
                raise KeyError

    with pytest.raises(KeyError):
        train(Failing(), plan(**half), tmp_path / "parts", CPU)
    train(Large(), plan(**half), tmp_path / "parts", CPU)
    assert_equal_runs(tmp_path / "parts", tmp_path / "whole")


def test_gradients_that_never_become_finite_end_the_run(tmp_path, monkeypatch):
    class Endless(ToyTask):
        def losses(self, model, batch):
            y = model(batch["x"])[:, 0]
            return {"square_loss": (y - y.detach()).abs().sqrt().mean(), "size_loss": y.abs().mean()}

    monkeypatch.setattr(loop, "MAX_SKIPPED", 3)
    with pytest.raises(TrainingError, match="step 4: the gradients are not finite"):
        train(Endless(), plan(precision=torch.float16), tmp_path, CPU)
