"""Loss curves of several trainings: where they are read from, and how they look."""

import os
from pathlib import Path

import pytest
import torch
from matplotlib.colors import to_rgb

from eval import draw_syncnet_lines
from eval.draw_syncnet_lines import Curves, cli, names_of, read_curves
from latentsync.checkpoint import save_checkpoint
from latentsync.train.log import Table


@pytest.fixture
def run(tmp_path) -> Path:
    """The tables of a run, the last row of which a kill cut short."""
    folder = tmp_path / "my run"
    folder.mkdir()
    training = Table(folder / "metrics.csv", ["bce_loss", "lr"], step=0)
    for step, loss in ((1, 0.7), (2, float("nan")), (3, 0.5)):
        training.add(step, {"bce_loss": loss, "lr": 1e-4})
    validation = Table(folder / "validation.csv", ["bce_loss", "accuracy"], step=0)
    validation.add(2, {"bce_loss": 0.6, "accuracy": 0.8})
    for table in (training, validation):
        table.close()
    with (folder / "metrics.csv").open("a") as file:
        file.write("4,0.")
    return folder


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    lists = {"train_step_list": [1, 2], "train_loss_list": [0.7, 0.6], "val_step_list": [2], "val_loss_list": [0.65]}
    save_checkpoint(tmp_path / "checkpoint-2.pt", {"w": torch.zeros(1)}, global_step=2, **lists)
    return tmp_path / "checkpoint-2.pt"


def test_curves_of_a_run(run):
    assert read_curves(run, "bce_loss") == Curves([(1, 0.7), (3, 0.5)], [(2, 0.6)])
    assert read_curves(run, "accuracy") == Curves([], [(2, 0.8)])


def test_curves_of_a_public_checkpoint(checkpoint):
    assert read_curves(checkpoint, "bce_loss") == Curves([(1, 0.7), (2, 0.6)], [(2, 0.65)])


def test_a_public_checkpoint_before_its_first_validation(tmp_path):
    lists = {"train_step_list": [1], "train_loss_list": [0.7], "val_step_list": [], "val_loss_list": []}
    save_checkpoint(tmp_path / "a.pt", {"w": torch.zeros(1)}, **lists)
    assert read_curves(tmp_path / "a.pt", "bce_loss") == Curves([(1, 0.7)], [])


def test_the_figure_looks_as_the_public_one(run, checkpoint, tmp_path, monkeypatch):
    seen = []
    close = draw_syncnet_lines.pyplot.close
    monkeypatch.setattr(draw_syncnet_lines.pyplot, "close", lambda figure: (seen.append(figure), close(figure)))
    monkeypatch.chdir(tmp_path)
    assert cli(["--runs", "my run", checkpoint.name, "--labels", "ours", "theirs", "--out", "loss.svg"]) == 0
    (figure,) = seen
    assert tuple(figure.get_size_inches()) == (7.766, 4.8)
    (axis,) = figure.axes
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("Step", "Loss")
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["ours", "theirs"]
    assert axis.xaxis.label.get_fontsize() == 14 and axis.xaxis.label.get_fontfamily() == ["serif"]
    lines = [line for line in axis.lines if len(line.get_xdata())]
    assert [list(line.get_xdata()) for line in lines] == [[1, 3], [2], [1, 2], [2]]
    assert [(line.get_linewidth(), line.get_alpha()) for line in lines] == 2 * [(0.5, 0.5), (1.5, None)]
    colors = [to_rgb(line.get_color()) for line in lines]
    assert colors[0] == colors[1] != colors[2] == colors[3]


@pytest.mark.parametrize(("name", "start"), [("a.pdf", b"%PDF"), ("a.PNG", b"\x89PNG"), ("a b.svg", b"<?xml")])
def test_formats(run, tmp_path, name, start, capsys):
    out = tmp_path / "figures" / name
    out.parent.mkdir()
    assert cli(["--runs", str(run), "--out", str(out)]) == 0
    assert out.read_bytes().startswith(start) and os.listdir(out.parent) == [name]
    assert capsys.readouterr().out == f"{out}\n"


def test_names_that_are_the_same_are_told_apart(run, checkpoint, tmp_path):
    assert names_of([run, checkpoint]) == ["my run", "checkpoint-2"]
    (tmp_path / "other/my run").mkdir(parents=True)
    assert names_of([run, tmp_path / "other/my run"]) == [str(run), str(tmp_path / "other/my run")]


def test_runs_without_curves_are_one_line(run, checkpoint, tmp_path, capsys):
    bare, odd, code = (tmp_path / name for name in ("bare.pt", "odd.pt", "code.pt"))
    save_checkpoint(bare, {"w": torch.zeros(1)})
    save_checkpoint(odd, {"w": torch.zeros(1)}, train_step_list=[1, 2], train_loss_list=[0.7])
    torch.save({"state_dict": {}, "train_step_list": os.system}, code)
    (tmp_path / "empty").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged/metrics.csv").write_text("step,bce_loss\n1,soon\n")
    out = tmp_path / "loss.pdf"
    for path, more, message in (
        (tmp_path / "lost", [], "expected metrics.csv or validation.csv with a step or more"),
        (tmp_path / "empty", [], "expected metrics.csv or validation.csv with a step or more"),
        (tmp_path / "damaged", [], "expected numbers in its tables"),
        (run, ["--column", "sync"], "expected a column sync, found bce_loss, lr, accuracy"),
        (checkpoint, ["--column", "accuracy"], "holds bce_loss alone, expected accuracy"),
        (bare, [], "expected train_step_list and train_loss_list of a public SyncNet"),
        (odd, [], "expected as many losses as steps"),
        (code, [], "found other objects or damage"),
    ):
        assert cli(["--runs", str(path), "--out", str(out), *more]) == 2
        told = capsys.readouterr()
        assert told.err.startswith(f"error: {path}") and message in told.err and told.err.count("\n") == 1
    assert cli(["--runs", str(run), "--out", str(tmp_path / "lost/loss.pdf")]) == 2
    assert "loss.pdf cannot be written" in capsys.readouterr().err
    assert not out.exists() and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--out", "a.jpg"], "--out a.jpg: expected a name ending in .pdf, .png, .svg"),
        (["--out", "a.pdf", "--labels", "a", "b"], "--labels: expected 1 for as many --runs, got 2"),
    ],
)
def test_wrong_flags_are_one_line(capsys, more, message):
    with pytest.raises(SystemExit) as left:
        cli(["--runs", "a", *more])
    told = capsys.readouterr().err
    assert left.value.code == 2 and message in told and told.count("\n") == 1
