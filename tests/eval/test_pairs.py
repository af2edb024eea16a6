"""Which pairs are made of lists and tables, and what their results are called."""

import os
import random
from pathlib import Path

import pytest

from eval.pairs import Named, Pair, check_results, draw_pairs, name_pairs, read_list, read_pairs, write_pairs
from latentsync.errors import ConfigError


def names(pairs) -> list[tuple[str, str]]:
    return [(str(pair.video), str(pair.audio)) for pair in pairs]


def test_pairs_are_drawn_as_the_public_version_draws_them():
    pairs = draw_pairs([Path(f"v{i}") for i in range(4)], [Path(f"a{i}") for i in range(3)], 42)
    assert names(pairs) == [("v1", "a2"), ("v3", "a1"), ("v2", "a0")]


def test_drawing_leaves_the_lists_and_other_random_numbers_alone():
    videos, state = [Path("a"), Path("b"), Path("c")], random.getstate()
    assert len(draw_pairs(videos, videos[:2], 1)) == 2
    assert videos == [Path("a"), Path("b"), Path("c")] and random.getstate() == state


def test_lists_are_relative_to_themselves(tmp_path):
    (tmp_path / "list.txt").write_text("# comment\n\na b's.mp4\n-dash.mp4\n/abs/c.mp4\n../up.mp4\n")
    up = tmp_path.parent / "up.mp4"
    assert read_list(tmp_path / "list.txt") == [tmp_path / "a b's.mp4", tmp_path / "-dash.mp4", Path("/abs/c.mp4"), up]


@pytest.mark.parametrize(
    ("content", "message"), [(None, "cannot be read"), (b"\n", "names no"), (b"\xff", "not UTF-8")]
)
def test_lists_that_are_none(tmp_path, content, message):
    path = tmp_path / "list.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"list\.txt .*{message}"):
        read_list(path)


@pytest.mark.parametrize("header", ["", "video,audio,out\n", "\ufeffvideo,audio,out\n"])
def test_a_table_with_and_without_header(tmp_path, header):
    path = tmp_path / "pairs.csv"
    path.write_text(header + 'v.mp4,a.wav\n\n"it\'s, a ""v"".mp4", -a.wav,sub/out.mkv\nvideo,audio,\n')
    assert read_pairs(path) == [
        Named(tmp_path / "v.mp4", tmp_path / "a.wav"),
        Named(tmp_path / 'it\'s, a "v".mp4', tmp_path / "-a.wav", "sub/out.mkv"),
        Named(tmp_path / "video", tmp_path / "audio"),
    ]


def test_a_header_says_the_order(tmp_path):
    (tmp_path / "pairs.csv").write_text("audio,video\na.wav,v.mp4\n")
    assert read_pairs(tmp_path / "pairs.csv") == [Named(tmp_path / "v.mp4", tmp_path / "a.wav")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("v.mp4", "expected video,audio,out,truth, got v.mp4"),
        ("v.mp4,", "expected video,audio,out,truth, got v.mp4,"),
        ("v.mp4,a.wav,o.mp4,t.mp4,more", "expected video,audio,out,truth, got v.mp4,a.wav,o.mp4,t.mp4,more"),
        ("v.mp4,a.wav,../o.mp4", "../o.mp4 lies outside of the output folder"),
        ("v.mp4,a.wav,/o.mp4", "/o.mp4 lies outside of the output folder"),
        ("v.mp4,a.wav,o.txt", "o.txt is no result; expected a name ending in .mp4"),
        ("v.mp4,a.wav,./FIRST.mp4", "FIRST.mp4 is the result of line 1 too"),
        ('v.mp4,"a.wav" more', "correct the quotes"),
    ],
)
def test_mistakes_in_a_table_name_file_and_line(tmp_path, line, message):
    path = tmp_path / "pairs.csv"
    path.write_text(f"v.mp4,a.wav,first.mp4\nv.mp4,a.wav\n{line}\n")
    with pytest.raises(ConfigError) as caught:
        read_pairs(path)
    assert str(caught.value).startswith(f"{path}, line 3: ") and message in str(caught.value)


def test_an_empty_table(tmp_path):
    (tmp_path / "pairs.csv").write_text("video,audio\n")
    with pytest.raises(ConfigError, match=r"pairs\.csv has no pair"):
        read_pairs(tmp_path / "pairs.csv")


def keys(*named: tuple) -> list[str]:
    return [pair.key for pair in name_pairs([Named(Path(v), Path(a), *out) for v, a, *out in named])]


def test_results_are_named_after_both_whatever_their_suffixes():
    assert keys(("x/v.1.webm", "a.m4a"), ("-v", "a b's.wav")) == ["v.1__a.mp4", "-v__a b's.mp4"]


def test_no_two_results_have_the_same_name():
    same = ("x/v.mp4", "a.wav")
    assert keys(same, ("y/v.mov", "a.mp3"), same, ("y/V.mp4", "a.wav"), ("v.mp4", "a_2.wav")) == [
        "v__a.mp4", "v__a_2.mp4", "v__a_3.mp4", "V__a_4.mp4", "v__a_2_2.mp4"
    ]  # fmt: skip
    assert keys(same, ("w.mp4", "b.wav", "v__a.mp4")) == ["v__a_2.mp4", "v__a.mp4"]
    assert keys(("a__b.mp4", "c.wav"), ("a.mp4", "b__c.wav")) == ["a__b__c.mp4", "a__b__c_2.mp4"]


def test_long_names_are_cut_and_stay_apart(tmp_path):
    long = [("ü" * 120 + name, "a" * 240) for name in "xy"]
    found = keys(*long)
    assert len(set(found)) == 2
    for key in found:
        (tmp_path / key).touch()


def test_a_table_of_results_can_be_read_again(tmp_path):
    pairs = name_pairs([Named(tmp_path / 'in/it"s, v.mp4', tmp_path / "-a.wav"), Named(tmp_path / "v", tmp_path / "a")])
    write_pairs(tmp_path / "pairs.csv", pairs)
    assert name_pairs(read_pairs(tmp_path / "pairs.csv")) == pairs


def test_a_result_in_the_place_of_an_input(tmp_path):
    pairs = name_pairs(
        [Named(tmp_path / "v.mp4", tmp_path / "a.wav"), Named(tmp_path / "v__a.mp4", tmp_path / "b.wav")]
    )
    check_results(pairs, tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match=r"v__a\.mp4 is an input too"):
        check_results(pairs, tmp_path)


@pytest.mark.parametrize("name", ["v.mp4", "a.wav"])
def test_a_pair_changes_with_either_file(tmp_path, name):
    pair = Pair("k", tmp_path / "v.mp4", audio=tmp_path / "a.wav")
    missing = pair.fingerprint()
    for path in (pair.path, pair.audio):
        path.write_text("1")
    there = pair.fingerprint()
    os.utime(tmp_path / name, ns=(1, 1))
    assert len({missing, there, pair.fingerprint()}) == 3


def test_a_truth_goes_on_to_the_table_of_results(tmp_path):
    (tmp_path / "pairs.csv").write_text("video,audio,truth\nv.mp4,a.wav,t.mp4\nw.mp4,b.wav,\n")
    pairs = name_pairs(read_pairs(tmp_path / "pairs.csv"))
    assert [pair.truth for pair in pairs] == [tmp_path / "t.mp4", None]
    write_pairs(tmp_path / "again.csv", pairs)
    assert [named.truth for named in read_pairs(tmp_path / "again.csv")] == [tmp_path / "t.mp4", None]
