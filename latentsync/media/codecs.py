"""One scale of quality, x264's, for every encoder: each has its own options for it."""

import os

from ..errors import MediaError

_X264_PRESETS = (
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
    "placebo",
)
#: The last ones need ffmpeg 4.4, the others of older versions (hq, llhp, ...) are deprecated.
_NVENC_PRESETS = ("fast", "medium", "slow", *(f"p{n}" for n in range(1, 8)))
_QSV_PRESETS = _X264_PRESETS[2:-1]
_PRESETS = {
    "libx264": _X264_PRESETS,
    "libx265": _X264_PRESETS,
    "libsvtav1": tuple(map(str, range(14))),
    **{f"{name}_nvenc": _NVENC_PRESETS for name in ("h264", "hevc", "av1")},
    **{f"{name}_qsv": _QSV_PRESETS for name in ("h264", "hevc", "av1")},
}
_HIGHEST_CRF = {"libsvtav1": 63, "libaom-av1": 63, "libvpx-vp9": 63, "libvpx": 63, "av1_nvenc": 63}

#: Frames that x264 looks ahead, 7 MB each at 1080x1920. At crf 18 10 frames instead of 40 make files 5 to 14 % smaller
#: and 0.8 dB worse (docs/performance.md).
_X264_LOOKAHEAD = dict(zip(_X264_PRESETS, (0, 0, 10, 20, 30, 40, 50, 60, 60, 60), strict=True))
_LOOKAHEAD_PIXELS = 10 * 1920 * 1080
_MIN_LOOKAHEAD = 10

#: Encoders without any option for the quality: either lossless or of a fixed quality.
_FIXED_QUALITY = frozenset({"ffv1", "ffvhuff", "huffyuv", "utvideo", "magicyuv", "prores", "prores_ks", "rawvideo"})
_QUANTISER = frozenset({"mpeg4", "libxvid", "mpeg2video", "mpeg1video", "mjpeg", "h263", "h263p", "msmpeg4", "wmv2"})
_NEEDS_UPLOAD = ("_vaapi", "_vulkan", "_v4l2m2m")


def encoder_args(codec: str, crf: int = 18, preset: str | None = None) -> list[str]:
    """The ffmpeg options of an encoder for a quality on x264's scale (0 ... 51, less is better).

    AV1 and VP9 count to 63 on a scale of their own, which is then the one meant. Raises MediaError for a quality out
    of range, a preset that the encoder does not have, and an encoder that takes frames in a device's memory only.
    """
    highest = _HIGHEST_CRF.get(codec, 51)
    if not 0 <= crf <= highest:
        raise MediaError(f"expected a crf of 0 to {highest} for {codec}, got {crf}; 18 is a good one")
    if codec.endswith(_NEEDS_UPLOAD):
        raise MediaError(f"{codec} takes frames of a device's memory only; use libx264, or h264_nvenc on NVIDIA GPUs")
    return ["-c:v", codec, *_quality(codec, crf), *_speed(codec, preset)]


def bounded_args(codec: str, preset: str | None, pixels: int) -> list[str]:
    """The ffmpeg options that keep x264's memory in bounds for frames of so many pixels; none for other encoders."""
    if codec != "libx264":
        return []
    bound = max(_MIN_LOOKAHEAD, _LOOKAHEAD_PIXELS // pixels)
    shorter = ["-rc-lookahead", str(bound)] if bound < _X264_LOOKAHEAD[preset or "medium"] else []
    # Threads share one frame instead of holding 19 MB each: under 1 % more bytes with three of them.
    return ["-threads", str(min(4, os.cpu_count() or 1)), "-x264-params", "sliced-threads=1", *shorter]


def _quality(codec: str, crf: int) -> list[str]:
    if codec.endswith("_nvenc"):
        return ["-rc", "vbr", "-cq", str(crf), "-b:v", "0"]  # a bit rate, even the default one, would limit it
    if codec.endswith("_qsv"):
        return ["-global_quality", str(max(1, crf))]
    if codec.endswith("_amf"):
        return ["-rc", "cqp", "-qp_i", str(crf), "-qp_p", str(crf)]
    if codec.endswith("_videotoolbox"):
        return ["-q:v", str(max(1, 100 - 2 * crf))]  # 1 ... 100, more is better
    if codec.startswith("libvpx") or codec == "libaom-av1":
        return ["-crf", str(crf), "-b:v", "0"]  # the bit rate would limit it
    if codec in _QUANTISER:
        return ["-q:v", str(min(31, max(2, round(0.85 * 2 ** ((crf - 12) / 6)))))]  # the same quantiser step
    if codec in _FIXED_QUALITY:
        return []
    if codec in ("libx264", "libx264rgb", "libx265", "libsvtav1"):
        return ["-crf", str(crf)]
    raise MediaError(f"{codec} has no known option for its quality; expected libx264, libx265 or h264_nvenc")


def _speed(codec: str, preset: str | None) -> list[str]:
    if preset is None:
        return []
    known = _PRESETS.get(codec)
    if known is None:
        raise MediaError(f"{codec} has no presets, got {preset}; leave the preset out")
    if preset not in known:
        raise MediaError(f"{codec} has no preset {preset}; expected one of {', '.join(known)}")
    return ["-preset", preset]
