"""Finding clips, by folder, list and manifest; writing lists."""

import sqlite3
from contextlib import closing

import pytest

from latentsync.data.clips import find_clips
from latentsync.errors import ConfigError
from scripts import write_fileslist


@pytest.fixture
def files(tmp_path):
    """Names matter only."""
    for name in ("b/1.mp4", "a/1.mp4", "a/.1-half.mp4", ".2.part/2.mp4", "a/notes.txt", "ü x.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def keys(*arguments):
    return [clip.key for clip in find_clips(*arguments)]


def test_a_folder_gives_its_finished_files_sorted_at_any_depth(files):
    clips = find_clips(files)
    assert [clip.key for clip in clips] == ["a/1.mp4", "b/1.mp4", "ü x.mp4"]
    assert all(clip.path.is_file() for clip in clips)


def test_a_list_gives_its_lines_in_order_once(files):
    listing = files / "list.txt"
    listing.write_text(f"# some\n\n ü x.mp4\r\nb/1.mp4\n{files}/a/1.mp4\na/../b/1.mp4\n", encoding="utf-8")
    assert keys("ignored", listing) == ["ü x.mp4", "b/1.mp4", "a/1.mp4"]


def test_clips_outside_the_lists_folder_keep_their_whole_path(files):
    listing = files / "b/list.txt"
    listing.write_text("1.mp4\n../a/1.mp4\n")
    assert keys("", listing) == ["1.mp4", (files / "a/1.mp4").as_posix()]


def test_a_manifest_gives_what_was_kept(files):
    with closing(sqlite3.connect(files / "manifest.sqlite")) as connection, connection:
        connection.execute("CREATE TABLE clips(path TEXT, fate TEXT, reason TEXT)")
        rows = [("b/1.mp4", "kept", ""), ("a/1.mp4", "rejected", "blurred"), ("a/2.mp4", "kept", "")]
        connection.executemany("INSERT INTO clips VALUES (?, ?, ?)", rows)
    assert keys("", files / "manifest.sqlite") == ["a/2.mp4", "b/1.mp4"]


def test_nothing_to_find_is_an_error_with_a_remedy(files):
    (files / "empty.txt").write_text("# nothing\n")
    (files / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with closing(sqlite3.connect(files / "other.sqlite")) as connection, connection:
        connection.execute("CREATE TABLE songs(path TEXT)")
    for arguments, message in (
        (("", ""), "set data.train_fileslist or data.train_data_dir"),
        ((files / "none", ""), "none is not a folder"),
        ((files / "a/notes.txt", ""), "is not a folder"),
        (("", files / "none.txt"), "No such file.*data.train_fileslist"),
        (("", files / "empty.txt"), "lists no clip.*data.train_fileslist"),
        (("", files / "binary.txt"), "not UTF-8 text"),
        (("", files / "other.sqlite"), "no such table: clips"),
    ):
        with pytest.raises(ConfigError, match=message):
            find_clips(*arguments)


@pytest.mark.parametrize("flags", [[], ["--relative"]])
def test_a_written_list_finds_the_same_clips(files, capsys, flags):
    listing = files / "list.txt"
    assert write_fileslist.cli(["--fileslist", str(listing), *flags, str(files / "b"), str(files)]) == 0
    assert capsys.readouterr().out == f"{listing}: 3 clips\n"
    assert keys("", listing) == ["b/1.mp4", "a/1.mp4", "ü x.mp4"]
    assert (str(files) in listing.read_text(encoding="utf-8")) == (not flags)


def test_a_list_that_cannot_be_written_is_one_line(files, capsys):
    for listing, source, message in (
        (files / "no/list.txt", files, "cannot be written"),
        (files / "list.txt", files / "none", "is not a folder"),
    ):
        assert write_fileslist.cli(["--fileslist", str(listing), str(source)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and message in error and error.count("\n") == 1
    assert not (files / "list.txt").exists()
