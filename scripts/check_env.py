"""Say what is installed, what is wrong and what to do about it; exit with 1 where inference cannot run.

python -m scripts.check_env [--json] [--verify]
"""

import argparse
import json
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import psutil

from latentsync.errors import MediaError, SpeechError
from scripts.setup_env import (
    CHECKPOINTS,
    RELEASES,
    SUPPORTED,
    Gpu,
    find_gpu,
    official_files,
    read_record,
    sha256,
)

SETUP = "run `bash setup_env.sh`"


@dataclass(frozen=True)
class Finding:
    """One line of the report. A `fatal` problem is one that inference cannot run with."""

    name: str
    state: Literal["ok", "note", "problem"]
    detail: str
    remedy: str = ""
    fatal: bool = False

    def __str__(self) -> str:
        remedy = f" -> {self.remedy}" if self.remedy else ""
        return f"{self.state:8}{self.name}: {self.detail}{remedy}"


def problem(name: str, detail: str, remedy: str, *, fatal: bool = False) -> Finding:
    return Finding(name, "problem", detail, remedy, fatal)


@dataclass(frozen=True)
class Torch:
    """What the installed torch says of itself and of its devices."""

    version: str
    cuda: str | None  # the CUDA version it was built for
    cudnn: str | None
    devices: tuple[str, ...]  # the accelerators it can use, with their memory


def read_torch() -> Torch:
    """Raises ImportError or OSError where torch does not load."""
    import torch
    import torchaudio  # noqa: F401  (the three must match to be imported at all)
    import torchvision  # noqa: F401

    devices = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        devices.append(f"cuda:{index} {properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    if torch.backends.mps.is_available():
        devices.append("mps")
    cudnn = torch.backends.cudnn.version()
    return Torch(torch.__version__, torch.version.cuda, str(cudnn) if cudnn else None, tuple(devices))


def check_python(version: Sequence[int] = sys.version_info) -> Finding:
    detail = f"{'.'.join(map(str, version[:3]))} ({sys.executable})"
    if SUPPORTED[0] <= tuple(version[:2]) <= SUPPORTED[1]:
        return Finding("Python", "ok", detail)
    return problem("Python", detail, f"{SETUP} with Python 3.10, 3.11 or 3.12")


def check_torch(read: Callable[[], Torch] = read_torch, gpu: Gpu | None = None) -> Iterator[Finding]:
    """torch and the devices. `gpu` is what the NVIDIA driver reports, whatever torch makes of it."""
    try:
        torch = read()
    except (ImportError, OSError) as error:
        yield problem("torch", f"does not import ({error})", SETUP, fatal=True)
        return
    build = f"CUDA {torch.cuda}, cuDNN {torch.cudnn}" if torch.cuda else "CPU build"
    driver = ".".join(map(str, gpu.driver)) if gpu else ""
    if gpu and not torch.cuda:
        detail = f"{torch.version} is a CPU BUILD beside an NVIDIA GPU (driver {driver}): the GPU is not used"
        yield problem("torch", detail, SETUP)
    elif gpu and not torch.devices:
        detail = f"{torch.version} for CUDA {torch.cuda} finds no GPU, and driver {driver} reports one"
        yield problem("torch", detail, f"update the NVIDIA driver or {SETUP}, which picks a build for it")
    else:
        yield Finding("torch", "ok", f"{torch.version}, {build}")
    for device in torch.devices:
        yield Finding("device", "ok", device)
    memory = psutil.virtual_memory()
    detail = f"cpu, {psutil.cpu_count()} threads, {memory.total / 2**30:.0f} GiB"
    yield Finding("device", "ok" if torch.devices else "note", detail, "" if torch.devices else "slow without a GPU")


def check_ffmpeg() -> Iterator[Finding]:
    from latentsync.media.ffmpeg import encoders, ffmpeg_path

    try:
        yield Finding("ffmpeg", "ok", ffmpeg_path())
    except MediaError as error:
        yield problem("ffmpeg", str(error), SETUP, fatal=True)
        return
    for name in ("libx264", "aac"):
        if name in encoders():
            yield Finding("encoder", "ok", name)
        else:
            remedy = "install an ffmpeg that has it, or unset LATENTSYNC_FFMPEG"
            yield problem("encoder", f"this ffmpeg has no {name}", remedy)


def check_opencv() -> Finding:
    try:
        import cv2
    except ImportError as error:
        return problem("OpenCV", f"does not import ({error})", SETUP, fatal=True)
    return Finding("OpenCV", "ok", cv2.__version__)


def check_mediapipe(folder: Path | None = None) -> Finding:
    """MediaPipe with the two models it carries; `folder` is the installed package's."""
    if folder is None:
        try:
            import mediapipe
        except ImportError as error:
            return problem("MediaPipe", f"does not import ({error})", SETUP, fatal=True)
        folder = Path(mediapipe.__file__).parent
    for model in ("face_landmark/face_landmark.tflite", "face_detection/face_detection_short_range.tflite"):
        if not (folder / "modules" / model).is_file():
            return problem("MediaPipe", f"has no {model}; only 0.10.21 and earlier carry it", SETUP, fatal=True)
    return Finding("MediaPipe", "ok", "with its models")


def check_speech() -> Finding:
    """Only synthetic heads speak, so absence is a note."""
    from latentsync.synthetic.espeak import usable_library

    try:
        return Finding("speech", "ok", f"synthesised by {usable_library().path}")
    except SpeechError as error:
        return Finding("speech", "note", str(error))


def check_checkpoints(folder: Path = CHECKPOINTS, *, verify: bool = False) -> Iterator[Finding]:
    """Each official file against its record.

    Without the U-Net inference uses the demo model, so absence is a note; a U-Net needs its companions.
    """
    needed = {file.target for file in official_files(RELEASES[0])}
    has_unet = (folder / "latentsync_unet.pt").is_file()
    for file in official_files(RELEASES[0], train=True):
        name, target = file.target, folder / file.target
        if target.is_file():
            yield check_checkpoint(name, target, fatal=name in needed, verify=verify)
        elif name in needed and has_unet:
            yield problem(name, "absent, and the U-Net beside it needs it", SETUP, fatal=True)
        else:
            yield Finding(name, "note", f"absent ({'inference' if name in needed else 'training and evaluation'})")
    if not has_unet:
        detail = "official weights absent: inference uses the small demo model"
        yield Finding("weights", "note", detail, f"{SETUP} where there is a network")


def check_checkpoint(name: str, target: Path, *, fatal: bool, verify: bool) -> Finding:
    size = target.stat().st_size
    record = read_record(target)
    remedy = "run `bash setup_env.sh --verify`, which fetches it again"
    if record is None:
        return Finding(name, "ok", f"{size / 1e6:.1f} MB, release unknown (placed by hand)")
    if size != record.size:
        return problem(name, f"has {size} bytes instead of {record.size}", remedy, fatal=fatal)
    if verify and sha256(target) != record.sha256:
        return problem(name, "is damaged: its sha256 is not the recorded one", remedy, fatal=fatal)
    origin = f"release {record.release}" if record.release else record.repository
    checked = "sha256 verified" if verify else "size verified"
    return Finding(name, "ok", f"{size / 1e6:.1f} MB, {origin}, {checked}")


def check_all(*, verify: bool = False) -> Iterator[Finding]:
    yield check_python()
    yield from check_torch(gpu=find_gpu())
    yield from check_ffmpeg()
    yield check_opencv()
    yield check_mediapipe()
    yield check_speech()
    yield from check_checkpoints(verify=verify)


def summary(findings: Sequence[Finding]) -> str:
    problems = sum(finding.state == "problem" for finding in findings)
    runs = "inference CANNOT run" if any(finding.fatal for finding in findings) else "inference can run"
    return f"{runs}; {problems} problem{'' if problems == 1 else 's'}"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="check_env", description=__doc__.split("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--verify", action="store_true", help="hash the weights (seconds per GB)")
    arguments = parser.parse_args(argv)
    findings = []
    for finding in check_all(verify=arguments.verify):
        findings.append(finding)
        if not arguments.json:
            print(finding, flush=True)
    if arguments.json:
        content = {
            "platform": platform.platform(),
            "summary": summary(findings),
            "findings": [asdict(finding) for finding in findings],
        }
        print(json.dumps(content, indent=2))
    else:
        print(summary(findings))
    return int(any(finding.fatal for finding in findings))


if __name__ == "__main__":
    sys.exit(main())
