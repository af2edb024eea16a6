"""What is known of earlier runs, and what is done again."""

import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from latentsync.data.clips import find_clips
from latentsync.errors import ConfigError
from latentsync.processing.chain import run_stage
from latentsync.processing.executors import LocalExecutor
from latentsync.processing.manifest import Manifest
from latentsync.processing.piece import Piece
from latentsync.processing.stage import FAILED, REJECTED

from .toys import Shout, log, pieces


class Chain:
    """One stage and its manifest, run as often as one likes."""

    def __init__(self, root: Path, *names: str) -> None:
        self.root, self.pieces = root, pieces(root / "in", *names)

    def __call__(self, stage: Shout | None = None, **options):
        with Manifest(self.root / "manifest.sqlite") as manifest:
            manifest.begin(["test"])
            return run_stage(
                stage or Shout(), self.pieces, LocalExecutor(1), manifest, quiet=True, **options
            )

    @property
    def files(self) -> list[str]:
        return sorted(path.name for path in (self.root / "loud").iterdir())


def test_what_is_done_is_not_done_again(tmp_path):
    chain = Chain(tmp_path, "a", "split", "reject", "ours")
    first, second = chain(), chain()
    assert first == second
    assert [piece.key for piece in first[0]] == ["a", "split_a", "split_b"]
    assert [(o.piece.key, o.status) for o in first[1]] == [("reject", REJECTED), ("ours", FAILED)]
    assert log(tmp_path) == ["a", "split"]


def test_failures_are_tried_again_on_request(tmp_path):
    chain = Chain(tmp_path, "bug")
    chain()
    chain.pieces[0].path.rename(tmp_path / "in/fine.txt")
    chain.pieces = [replace(chain.pieces[0], path=tmp_path / "in/fine.txt")]
    assert chain()[1][0].status == FAILED
    chain.pieces = pieces(tmp_path / "in", "a")
    assert chain(retry_failed=True)[0]


@pytest.mark.parametrize("change", ["parameters", "content", "lost output", "half an output"])
def test_what_has_changed_is_done_again(tmp_path, change):
    chain, stage = Chain(tmp_path, "a", "b"), Shout()
    chain(stage)
    if change == "parameters":
        stage = Shout(mark="?")
    if change == "content":
        chain.pieces[0].path.write_text("new text")
    if change == "lost output":
        (tmp_path / "loud/a.txt").unlink()
    if change == "half an output":
        (tmp_path / "loud/a.txt").write_text("A")
    chain(stage)
    assert log(tmp_path) == (["a", "b", "a", "b"] if change == "parameters" else ["a", "b", "a"])
    assert (tmp_path / "loud/a.txt").read_text() == {"parameters": "A?", "content": "NEW TEXT!"}.get(change, "A!")


def test_files_that_are_no_longer_made_are_removed_and_inputs_are_not(tmp_path):
    chain = Chain(tmp_path, "split")
    chain()
    assert chain.files == ["split_a.txt", "split_b.txt"]
    os.utime(chain.pieces[0].path, ns=(1, 1))
    chain(Stubborn())
    assert chain.files == [] and chain.pieces[0].path.read_text() == "split"


class Stubborn(Shout):
    def __call__(self, piece: Piece, folder: Path) -> list[Piece]:
        return [piece]


def test_a_file_knows_whence_it_came_until_it_changes(tmp_path):
    chain = Chain(tmp_path, "a")
    (made,), _ = chain()
    with Manifest(tmp_path / "manifest.sqlite") as manifest:
        assert manifest.origin_of(made.path) == made
        assert manifest.origin_of(tmp_path / "in/a.txt") is None
        made.path.write_text("somebody else's")
        assert manifest.origin_of(made.path) is None


def test_training_reads_what_was_kept(tmp_path):
    chain = Chain(tmp_path, "a", "reject", "ours", "split")
    kept, dropped = chain()
    with Manifest(tmp_path / "manifest.sqlite") as manifest:
        manifest.settle(kept, [("shout", outcome) for outcome in dropped])
    clips = find_clips(fileslist=tmp_path / "manifest.sqlite")
    assert [clip.key for clip in clips] == ["loud/a.txt", "loud/split_a.txt", "loud/split_b.txt"]
    with closing(sqlite3.connect(tmp_path / "manifest.sqlite")) as db:
        rows = db.execute("SELECT key, fate, stage, reason FROM clips WHERE fate != 'kept' ORDER BY key").fetchall()
    assert rows[1] == ("reject", "rejected", "shout", "too quiet: indeed")


def test_versions_and_commands_are_kept(tmp_path):
    Chain(tmp_path, "a")()
    with Manifest(tmp_path / "manifest.sqlite") as manifest:
        (run,) = manifest.runs()
    assert run["command"] == '["test"]' and '"torch": "2' in run["versions"]


def test_other_files_are_no_manifests(tmp_path):
    (tmp_path / "manifest.sqlite").write_text("something else entirely, and long enough for a header of SQLite" * 20)
    with pytest.raises(ConfigError, match=r"manifest\.sqlite cannot be used as a manifest"):
        Manifest(tmp_path / "manifest.sqlite")


def test_a_piece_remembers_its_origin_through_parts_and_files():
    piece = Piece("a", Path("raw/a.mp4"))
    part = piece.part("_shot_002", 100, 200).part("_001", 50, 100)
    assert (part.key, part.first, part.n_frames, part.origin) == ("a_shot_002_001", 150, 100, (Path("raw/a.mp4"), 150))
    made = part.made(Path("aligned/b.mp4"), "_b", 20)
    assert made.whole and made.origin == (Path("raw/a.mp4"), 170)
    moved = made.delayed(3).made(Path("synced/b.mp4"))
    assert (moved.origin, moved.delay) == ((Path("raw/a.mp4"), 170), 3)
    assert Piece.from_plain(moved.plain()) == moved
