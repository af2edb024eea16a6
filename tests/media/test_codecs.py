import pytest

from latentsync.errors import MediaError
from latentsync.media.codecs import bounded_args, encoder_args


@pytest.mark.parametrize(
    ("codec", "crf", "preset", "expected"),
    [
        ("libx264", 18, None, ["-crf", "18"]),
        ("libx264", 0, "veryslow", ["-crf", "0", "-preset", "veryslow"]),
        ("libx265", 22, "medium", ["-crf", "22", "-preset", "medium"]),
        ("libsvtav1", 30, "8", ["-crf", "30", "-preset", "8"]),
        ("h264_nvenc", 19, "p5", ["-rc", "vbr", "-cq", "19", "-b:v", "0", "-preset", "p5"]),
        ("hevc_nvenc", 19, "slow", ["-rc", "vbr", "-cq", "19", "-b:v", "0", "-preset", "slow"]),
        ("libvpx-vp9", 31, None, ["-crf", "31", "-b:v", "0"]),
        ("libaom-av1", 63, None, ["-crf", "63", "-b:v", "0"]),
        ("h264_qsv", 20, "veryfast", ["-global_quality", "20", "-preset", "veryfast"]),
        ("h264_amf", 20, None, ["-rc", "cqp", "-qp_i", "20", "-qp_p", "20"]),
        ("hevc_videotoolbox", 18, None, ["-q:v", "64"]),
        ("mpeg4", 18, None, ["-q:v", "2"]),
        ("mpeg4", 51, None, ["-q:v", "31"]),
        ("prores_ks", 18, None, []),
    ],
)
def test_every_encoder_gets_its_own_options(codec, crf, preset, expected):
    assert encoder_args(codec, crf, preset) == ["-c:v", codec, *expected]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("libx264", 18, "hasty"), "libx264 has no preset hasty; expected one of ultrafast, "),
        (("libsvtav1", 30, "medium"), "libsvtav1 has no preset medium; expected one of 0, 1, "),
        (("h264_nvenc", 18, "ultrafast"), "h264_nvenc has no preset ultrafast; expected one of fast, "),
        (("libvpx-vp9", 30, "medium"), "libvpx-vp9 has no presets, got medium"),
        (("libx264", 52), "expected a crf of 0 to 51 for libx264, got 52"),
        (("libx264", -1), "expected a crf of 0 to 51"),
        (("libsvtav1", 64), "expected a crf of 0 to 63"),
        (("h264_vaapi",), "h264_vaapi takes frames of a device's memory only"),
        (("snow",), "snow has no known option for its quality"),
    ],
)
def test_what_an_encoder_cannot_do_is_one_sentence(arguments, message):
    with pytest.raises(MediaError, match=message) as caught:
        encoder_args(*arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("preset", "pixels", "lookahead"),
    [
        (None, 1920 * 1080, "10"),
        ("slow", 1280 * 720, "22"),
        ("medium", 3840 * 2160, "10"),
        (None, 640 * 360, None),
        ("veryfast", 3840 * 2160, None),  # it has no more
    ],
)
def test_the_look_ahead_of_x264_is_bounded_where_frames_are_large(preset, pixels, lookahead):
    args = bounded_args("libx264", preset, pixels)
    assert (args[args.index("-rc-lookahead") + 1] if "-rc-lookahead" in args else None) == lookahead
    assert args[args.index("-x264-params") + 1] == "sliced-threads=1"
    assert bounded_args("libx265", preset, pixels) == []
