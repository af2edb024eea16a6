from pathlib import Path

import pytest

from latentsync.service.storage import Storage, safe_suffix, shown_name
from latentsync.service.wording import for_client

NASTY = [
    "../../etc/passwd",
    "/etc/passwd.mp4",
    "..\\..\\windows\\system.mp4",
    "a/../../b.mp4",
    "..",
    ".",
    "",
    "\0.mp4",
    "x\0.mp4/../y",
    "-i.mp4",
    "%03d.png",
    "a" * 5000 + ".mp4",
    "a." + "b" * 5000,
    "concat:a.mp4",
    ".mp4/",
    "name.mp4\n.sh",
]


@pytest.mark.parametrize("name", NASTY)
def test_no_name_leads_out_of_its_folder(tmp_path, name):
    storage = Storage(tmp_path)
    id = storage.create()
    path = storage.input(id, "video", name)
    assert path.parent == storage.folder(id)
    assert path.name in ("video", "video.mp4", "video.png")
    shown = shown_name(name, "video")
    assert shown and len(shown) <= 100 and not set(shown) & set("/\\\0\n")
    assert safe_suffix(shown) == safe_suffix(name)  # the store knows the shown name alone


@pytest.mark.parametrize("id", ["..", "../runs", "", "A" * 32, "0" * 31, "0" * 33, "0" * 32 + "\n", "/" * 32])
def test_only_ids_name_folders(tmp_path, id):
    with pytest.raises(ValueError, match="32 hexadecimal digits"):
        Storage(tmp_path).folder(id)


def test_suffixes_that_are_kept():
    names = {"a.MP4": ".mp4", "b.c.wav": ".wav", "photo.jpeg": ".jpeg", "x.sh": "", "x.m3u8": "", "mp4": ""}
    assert {name: safe_suffix(name) for name in names} == names


def test_orphans_go_and_nothing_else(tmp_path):
    storage = Storage(tmp_path)
    known, orphan = storage.create(), storage.create()
    other = storage.runs / "notes"
    other.mkdir()
    storage.remove_orphans({known})
    assert storage.folder(known).is_dir() and other.is_dir() and not storage.folder(orphan).exists()


def test_clearing_keeps_what_it_shall(tmp_path):
    storage = Storage(tmp_path)
    id = storage.create()
    kept = storage.input(id, "video", "a.mp4")
    for path in (kept, storage.result(id), storage.folder(id) / ".picture-x" / "a.mp4"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    storage.clear(id, keep={kept})
    assert list(storage.folder(id).iterdir()) == [kept]


def test_messages_show_the_clients_names():
    video = Path("/srv/data/runs/0/video.mp4")
    names = {video: "my /odd/ face.mp4", video.parent: "the run's folder"}
    text = f"{video}: bad; file:{video}.part; {video.parent}/x; /usr/lib/ffmpeg/bin failed at 30000/1001 for 'a/b'"
    assert for_client(text, names) == (
        "my /odd/ face.mp4: bad; file:my /odd/ face.mp4.part; the run's folder/x; bin failed at 30000/1001 for 'a/b'"
    )
    assert len(for_client("x" * 9000, {})) == 1000
