"""Make this checkout ready to run: a Python environment, system libraries and the official weights.

Standard library only, so any Python can start it. Run again at any time: finished work is skipped and
interrupted work goes on where it stopped. Progress goes to stderr; stdout is for `--print-python` alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parents[1]
CHECKPOINTS = ROOT / "checkpoints"
STAMP = "latentsync-setup.json"  # inside the environment: what was installed there, written last
SUPPORTED = ((3, 10), (3, 12))  # first and last Python; mediapipe has wheels for no later one
TORCH_FAMILY = ("torch", "torchvision", "torchaudio")
TORCH_INDEX = "https://download.pytorch.org/whl"
DEFAULT_INDEX_BUILD = {"Linux": "cu130", "Windows": "cpu"}  # what pip's default index carries as torch 2.11.0
RELEASES = ("1.6", "1.5")
OPTIONAL = {"espeakng-loader": "0.2.4"}  # speech for synthetic heads; not on every platform, and nothing else needs it

# The imports that fail when system libraries are missing or when parts of the torch family do not match.
IMPORT_CHECK = "import torch, torchvision, torchaudio, cv2, mediapipe; torch.ops.torchvision.nms"
APT_PACKAGES = ("libgl1", "libglib2.0-0")  # libGL.so.1; libglib-2.0.so.0 and libgthread-2.0.so.0
LIBRARY_COMMANDS = {  # what OpenCV links to, by package manager
    "apt-get": f"sudo apt-get install -y {' '.join(APT_PACKAGES)}",
    "dnf": "sudo dnf install -y mesa-libGL glib2",
    "pacman": "sudo pacman -S mesa glib2",
    "zypper": "sudo zypper install Mesa-libGL1 libglib-2_0-0",
}

PROBE = """
import importlib.metadata as metadata, importlib.util as util, json, re, sys
found = [(d.metadata["Name"] or "", d.version) for d in metadata.distributions()]
packages = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}
able = all(util.find_spec(name) for name in ("venv", "ensurepip"))
print(json.dumps([sys.version_info[:3], sys.executable, sys.prefix, able, packages]))
"""


class SetupError(Exception):
    """What stopped the set-up and what to do about it, in one sentence for the user."""


class Offline(Exception):
    """The hub gave no answer."""


def say(text: str, *, end: str = "\n") -> None:
    print(text, end=end, file=sys.stderr, flush=True)


@contextmanager
def step(what: str) -> Iterator[None]:
    """One line for one step: its name when it starts, its seconds when it is done."""
    say(f"{what} ... ", end="")
    began = time.monotonic()
    try:
        yield
    except BaseException:
        say("failed")
        raise
    say(f"{time.monotonic() - began:.0f} s")


def run(command: Sequence[str], *, remedy: str, verbose: bool = False) -> None:
    """Run silently, or on stderr when verbose. Raises SetupError with the output's end and the remedy."""
    output = {"stdout": 2} if verbose else {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = subprocess.run(command, text=True, errors="replace", check=False, **output)
    if done.returncode:
        tail = "\n".join((done.stdout or "").splitlines()[-20:])
        raise SetupError(f"{tail}\n`{shlex.join(command)}` failed ({done.returncode}): {remedy}".strip())


def sha256(path: Path) -> str:
    return _digest(path, hashlib.sha256())


def git_blob_id(path: Path) -> str:
    """Git's own name for a file's content, which the hub states for files too small for LFS."""
    header = f"blob {path.stat().st_size}\0".encode()
    return _digest(path, hashlib.sha1(header, usedforsecurity=False))


def _digest(path: Path, digest: Any) -> str:
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write beside the target, then rename: the name never holds half a file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """The file's object; empty where the file is missing or is not one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


# --- Python and its environment -------------------------------------------------------------------


@dataclass(frozen=True)
class Interpreter:
    """A Python that was started once and described itself."""

    version: tuple[int, ...]
    path: Path
    prefix: Path  # the environment's folder
    makes_environments: bool
    packages: Mapping[str, str]  # normalised distribution name -> version

    @property
    def supported(self) -> bool:
        return SUPPORTED[0] <= self.version[:2] <= SUPPORTED[1]

    @property
    def name(self) -> str:
        return f"Python {'.'.join(map(str, self.version))}"


def inspect(*command: str) -> Interpreter | None:
    """The interpreter that `command` starts; None where it starts none (a pyenv shim without its version)."""
    try:
        done = subprocess.run([*command, "-c", PROBE], capture_output=True, text=True, timeout=60, check=True)
        version, path, prefix, able, packages = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return Interpreter(tuple(version), Path(path), Path(prefix), able, packages)


def candidate_commands(system: str) -> list[list[str]]:
    """Where to look for a Python that can make the environment; the one running this comes first."""
    minors = range(SUPPORTED[1][1], SUPPORTED[0][1] - 1, -1)
    names = [[f"python3.{minor}"] for minor in minors]
    if system == "Windows":
        names += [["py", f"-3.{minor}"] for minor in minors]
    return [[sys.executable], *names]


def choose_base(found: Sequence[Interpreter]) -> Interpreter:
    """The first supported Python that can make environments. Raises SetupError with the remedy."""
    supported = [python for python in found if python.supported]
    for python in supported:
        if python.makes_environments:
            return python
    if supported:
        package = "python{}.{}-venv".format(*supported[0].version)
        raise SetupError(
            f"{supported[0].path} cannot make environments: run `sudo apt-get install -y {package}`, "
            "then run this again"
        )
    names = " and ".join(dict.fromkeys(python.name for python in found)) or "none"
    raise SetupError(
        f"Python 3.10, 3.11 or 3.12 is needed and {names} was found: install one from "
        "https://www.python.org/downloads/ or with `uv python install 3.12`, then run this again"
    )


def environment_folder(environ: Mapping[str, str], root: Path = ROOT) -> Path:
    """The active environment, else `.venv` of the checkout. Conda's base is not ours to fill."""
    if environ.get("VIRTUAL_ENV"):
        return Path(environ["VIRTUAL_ENV"])
    if environ.get("CONDA_PREFIX") and environ.get("CONDA_DEFAULT_ENV") != "base":
        return Path(environ["CONDA_PREFIX"])
    return root / ".venv"


def environment_python(folder: Path, system: str, *, conda: bool = False) -> Path:
    if system != "Windows":
        return folder / "bin" / "python"
    return folder / "python.exe" if conda else folder / "Scripts" / "python.exe"


def open_environment(asked: str | None, environ: Mapping[str, str], system: str) -> Interpreter:
    """The Python to install into, with pip. Makes `.venv` where no other is asked for or active."""
    folder = environment_folder(environ)
    conda = (folder / "conda-meta").is_dir()
    command = asked or str(environment_python(folder, system, conda=conda))
    if asked:
        remedy = "give another --python"
    elif folder == ROOT / ".venv":
        remedy = f"remove {folder}, then run this again"
        if inspect(command) is None:
            make_environment(folder, system, remedy)
    else:
        remedy = "deactivate that environment, then run this again"
    python = inspect(command)
    if python is None:
        raise SetupError(f"{command} does not start: {remedy}")
    if not python.supported:
        raise SetupError(f"{command} is {python.name} and 3.10, 3.11 or 3.12 is needed: {remedy}")
    if "pip" not in python.packages:
        run([str(python.path), "-m", "ensurepip"], remedy=remedy)
    return python


def make_environment(folder: Path, system: str, remedy: str) -> None:
    base = choose_base([python for command in candidate_commands(system) if (python := inspect(*command))])
    with step(f"environment {folder} ({base.name})"):
        run([str(base.path), "-m", "venv", str(folder)], remedy=remedy)


# --- The torch build ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gpu:
    """The NVIDIA driver and the most capable card, which is the one CUDA lists first."""

    driver: tuple[int, ...]  # e.g. (580, 65, 6)
    capability: tuple[int, ...] | None  # e.g. (9, 0); None where the driver is too old to say


@dataclass(frozen=True)
class CudaBuild:
    """What one CUDA build of torch needs.

    The driver of CUDA 12.0 is enough for every 12.x (minor-version compatibility); 13 starts anew.
    """

    name: str
    driver: Mapping[str, tuple[int, ...]]  # oldest driver by system
    capability: tuple[tuple[int, int], tuple[int, int]]  # oldest and newest card it has kernels for


CUDA_BUILDS = (
    CudaBuild("cu130", {"Linux": (580,), "Windows": (580,)}, ((7, 5), (99, 0))),
    CudaBuild("cu128", {"Linux": (570,), "Windows": (570,)}, ((7, 5), (99, 0))),
    CudaBuild("cu126", {"Linux": (525, 60), "Windows": (528, 33)}, ((5, 0), (9, 9))),
)


def parse_gpus(text: str) -> Gpu | None:
    """The best card of lines `driver, capability` (the second may be missing); None where there is none."""
    gpus = []
    for line in text.splitlines():
        numbers = [tuple(map(int, field.split("."))) for field in re.findall(r"\d+(?:\.\d+)+", line)]
        if numbers:
            gpus.append(Gpu(numbers[0], numbers[1] if len(numbers) > 1 else None))
    return max(gpus, key=lambda gpu: gpu.capability or (0,), default=None)


def find_gpu() -> Gpu | None:
    """What nvidia-smi reports; None without a driver, or with one that does not answer."""
    program = shutil.which("nvidia-smi") or "/usr/lib/wsl/lib/nvidia-smi"
    for fields in ("driver_version,compute_cap", "driver_version"):  # old drivers know only the first field
        command = [program, f"--query-gpu={fields}", "--format=csv,noheader"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        except (OSError, subprocess.SubprocessError):
            continue
        return parse_gpus(done.stdout)
    if shutil.which(program):
        say("WARNING: nvidia-smi does not answer: reboot or reinstall the NVIDIA driver to use the GPU")
    return None


def runs_on(build: CudaBuild, gpu: Gpu, system: str) -> bool:
    oldest, newest = build.capability
    has_kernels = gpu.capability is None or oldest <= gpu.capability <= newest
    return has_kernels and gpu.driver >= build.driver[system]


def choose_build(system: str, gpu: Gpu | None, *, asked: str | None = None, installed: str | None = None) -> str:
    """`cpu`, a CUDA build, or `default` on macOS, whose wheels have no variants.

    An `installed` CUDA build stays while it can run here, and where no GPU shows (a cluster's login node).
    """
    if system == "Darwin":
        return "default"
    if asked:
        return asked
    fitting = [build.name for build in CUDA_BUILDS if gpu and runs_on(build, gpu, system)]
    kept = fitting if gpu else [build.name for build in CUDA_BUILDS]
    if installed in kept:
        return installed
    return fitting[0] if fitting else "cpu"


def torch_index(system: str, build: str) -> str | None:
    """The index that has the build; None for pip's default one."""
    if build == "default" or build == DEFAULT_INDEX_BUILD.get(system):
        return None
    return f"{TORCH_INDEX}/{build}"


def torch_versions(pins: Mapping[str, str], build: str, index: str | None) -> dict[str, str]:
    """The family's exact versions: on its own index a build is part of the version (2.11.0+cu128)."""
    return {name: f"{pins[name]}+{build}" if index else pins[name] for name in TORCH_FAMILY}


def index_offers(python: Interpreter, index: str, version: str) -> bool:
    """Whether pip, with the user's proxies and certificates, finds this torch there. Takes seconds."""
    command = [str(python.path), "-m", "pip", "index", "versions", "torch", "--index-url", index]
    command += ["--retries", "0", "--timeout", "10"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return version in re.split(r"[\s,()]+", done.stdout)


def install_torch(python: Interpreter, build: str, system: str, *, verbose: bool) -> str:
    """Install a build that has an index of its own, and leave the others to requirements.txt.

    Returns the index used, "default" for pip's own.
    """
    index = torch_index(system, build)
    pins = read_pins((ROOT / "requirements.txt").read_text(encoding="utf-8"))
    wanted = torch_versions(pins, build, index)
    installed = {name: python.packages.get(name, "") for name in TORCH_FAMILY}
    if index and installed == wanted:
        return index
    if index and index_offers(python, index, wanted["torch"]):
        with step(f"torch {wanted['torch']}"):
            pip(python, "install", "--no-deps", "--index-url", index, *specifiers(wanted), verbose=verbose)
        return index
    if index:
        say(f"torch: {index} cannot be reached or lacks {wanted['torch']}; taking the default index's build")
    if any("+" in version for version in installed.values()):  # another build, which would satisfy pip
        pip(python, "uninstall", "-y", *TORCH_FAMILY, verbose=verbose)
    return "default"


# --- Packages -------------------------------------------------------------------------------------


def read_pins(text: str) -> dict[str, str]:
    """Normalised name -> version of each `name==version` line; of lines differing by marker, the first."""
    pins: dict[str, str] = {}
    for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", text, flags=re.MULTILINE):
        pins.setdefault(re.sub(r"[-_.]+", "-", name).lower(), version)
    return pins


def specifiers(versions: Mapping[str, str]) -> list[str]:
    return [f"{name}=={version}" for name, version in versions.items()]


def pip(python: Interpreter, *arguments: str, verbose: bool) -> None:
    command = [str(python.path), "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
    run(command, remedy="run this again when the cause is gone; what is done is kept", verbose=verbose)


def fingerprint(build: str) -> dict[str, str]:
    """What an environment must have been made from to be left as it is."""
    requirements, setup = sha256(ROOT / "requirements.txt"), sha256(Path(__file__))
    return {"requirements": requirements, "setup": setup, "root": str(ROOT), "build": build}


def is_current(stamp: Mapping[str, Any], wanted: Mapping[str, str], packages: Mapping[str, str]) -> bool:
    """Made from the same inputs, and every package still there in the version installed then."""
    recorded = stamp.get("packages") or {}
    return bool(recorded) and wanted.items() <= stamp.items() and recorded.items() <= packages.items()


def write_stamp(python: Interpreter, content: Mapping[str, Any], *requirements: str) -> None:
    """Record `content` and the installed versions of every package that the requirement files pin."""
    packages = inspect(str(python.path)).packages
    names = {name for file in requirements for name in read_pins((ROOT / file).read_text(encoding="utf-8"))}
    kept = {name: packages[name] for name in sorted(names | {"latentsync"}) if name in packages}
    write_json(python.prefix / STAMP, {**content, "packages": kept})


def install(python: Interpreter, build: str, system: str, *, verbose: bool) -> None:
    """Everything `import latentsync` needs; the stamp comes last."""
    say(f"torch build: {build}")
    index = install_torch(python, build, system, verbose=verbose)
    with step("packages"):
        pip(python, "install", "-r", str(ROOT / "requirements.txt"), verbose=verbose)
    with step("latentsync"):
        pip(python, "install", "--no-deps", "--no-build-isolation", "-e", str(ROOT), verbose=verbose)
    check_imports(python, verbose=verbose)
    write_stamp(python, {**fingerprint(build), "index": index}, "requirements.txt")


def install_optional(python: Interpreter, *, verbose: bool) -> None:
    """What is nice to have. A failure costs one line, and the next run that may use the network tries again."""
    missing = {name: version for name, version in OPTIONAL.items() if python.packages.get(name) != version}
    if not missing:
        return
    wanted = specifiers(missing)
    try:
        pip(python, "install", "--no-deps", "--retries", "1", "--timeout", "10", *wanted, verbose=verbose)
    except SetupError:
        say(f"optional: {' '.join(wanted)} was not installed: synthetic speech needs it, nothing else does")
    else:
        say(f"optional: {' '.join(wanted)}")


def install_tests(python: Interpreter, *, verbose: bool) -> None:
    """What tests/run.sh needs besides."""
    stamp = read_json(python.prefix / STAMP)
    digest = sha256(ROOT / "tests" / "requirements.txt")
    if stamp.get("tests") == digest:
        return
    with step("test packages"):
        pip(python, "install", "-r", str(ROOT / "tests" / "requirements.txt"), verbose=verbose)
    write_stamp(python, {**stamp, "tests": digest}, "requirements.txt", "tests/requirements.txt")


# --- System libraries and ffmpeg ------------------------------------------------------------------


def missing_library(error: str) -> str | None:
    """The shared library that an import failed for."""
    match = re.search(r"(lib\S+\.so[.\d]*): cannot open shared object file", error)
    return match and match[1]


def import_error(python: Interpreter) -> str:
    """Why the packages do not import, in one line; empty where they do."""
    command = [str(python.path), "-c", IMPORT_CHECK]
    with step("imports"):
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
    return lines[-1] if done.returncode else ""


def check_imports(python: Interpreter, *, verbose: bool) -> None:
    """Import what a missing system library or mixed torch builds break; root on Debian gets the library.

    Raises SetupError.
    """
    error = import_error(python)
    library = missing_library(error)
    if library:
        manager = next((name for name in LIBRARY_COMMANDS if shutil.which(name)), None)
        command = LIBRARY_COMMANDS.get(manager or "", f"your package manager for {library}")
        if manager != "apt-get" or os.geteuid() != 0:
            raise SetupError(f"OpenCV needs {library}: run `{command}`, then run this again")
        with step("system libraries"):
            apt_install(verbose=verbose)
        error = import_error(python)
    if error:
        raise SetupError(f"the installed packages do not import ({error}): remove {python.prefix}, then run this again")


def apt_install(*, verbose: bool) -> None:
    install = ["apt-get", "install", "-y", "--no-install-recommends", *APT_PACKAGES]
    remedy = f"run `{shlex.join(install)}`, then run this again"
    run(["apt-get", "update"], remedy=remedy, verbose=verbose)
    run(install, remedy=remedy, verbose=verbose)


def find_ffmpeg(python: Interpreter) -> str:
    """The system's, else the one that imageio-ffmpeg carries."""
    found = shutil.which("ffmpeg")
    if found:
        return found
    code = "import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())"
    done = subprocess.run([str(python.path), "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SetupError("there is no ffmpeg: install it from https://ffmpeg.org, then run this again")
    return done.stdout.strip()


# --- Official weights -----------------------------------------------------------------------------


@dataclass(frozen=True)
class OfficialFile:
    """A file of a repository and its place under checkpoints/."""

    repository: str  # of the hub, or the URL of a folder
    filename: str
    target: str
    release: str | None = None  # the U-Net's, "1.5" or "1.6"


@dataclass(frozen=True)
class Stated:
    """What the hub says a file holds: `sha256` for LFS files, git's `blob_id` for the others."""

    sha256: str | None  # or its first digits
    blob_id: str | None


@dataclass(frozen=True)
class Listing:
    revision: str  # a commit, or a tag
    files: Mapping[str, Stated]


@dataclass(frozen=True)
class Record:
    """Kept beside a fetched file as `<file name>.json`."""

    repository: str
    revision: str
    filename: str
    sha256: str
    size: int
    release: str | None


AUXILIARY = (
    "syncnet_v2.model",
    "sfd_face.pth",
    "koniq_pretrained.pkl",
    "i3d_torchscript.pt",
    "vit_g_hybrid_pt_1200e_ssv2_ft.pth",
    "vgg16-397923af.pth",
)
INCEPTION = OfficialFile(
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0",
    "weights-inception-2015-12-05-6726825d.pth",
    "auxiliary/pt_inception-2015-12-05-6726825d.pth",
)


def official_files(version: str, *, train: bool = False) -> list[OfficialFile]:
    repository, vae = f"ByteDance/LatentSync-{version}", "stabilityai/sd-vae-ft-mse"
    files = [
        OfficialFile(repository, "latentsync_unet.pt", "latentsync_unet.pt", version),
        OfficialFile(repository, "whisper/tiny.pt", "whisper/tiny.pt"),
        OfficialFile(vae, "config.json", "vae/config.json"),
        OfficialFile(vae, "diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors"),
    ]
    if train:
        files.append(OfficialFile(repository, "stable_syncnet.pt", "stable_syncnet.pt"))
        for name in AUXILIARY:  # every release takes these from the 1.5 repository
            files.append(OfficialFile("ByteDance/LatentSync-1.5", f"auxiliary/{name}", f"auxiliary/{name}"))
        files.append(INCEPTION)
    return files


def record_path(target: Path) -> Path:
    return target.with_name(f"{target.name}.json")


def read_record(target: Path) -> Record | None:
    """The record beside a file; None where there is none or it is not one of ours."""
    try:
        return Record(**read_json(record_path(target)))
    except TypeError:
        return None


def is_ready(file: OfficialFile, folder: Path, *, verify: bool) -> bool:
    """Whether the file is there as recorded. Its hash is trusted to the record unless `verify`."""
    target = folder / file.target
    record = read_record(target)
    if record is None or not target.is_file() or target.stat().st_size != record.size:
        return False
    if (record.repository, record.filename, record.release) != (file.repository, file.filename, file.release):
        return False
    return not verify or sha256(target) == record.sha256


def verified_digest(path: Path, stated: Stated) -> str | None:
    """The sha256 of a file that holds what the hub states; None for one that does not."""
    digest = sha256(path)
    good = digest.startswith(stated.sha256) if stated.sha256 else git_blob_id(path) == stated.blob_id
    return digest if good else None


class Hub:
    """The two requests we make of Hugging Face, with its errors sorted: no answer, or a useless one."""

    def listing(self, repository: str) -> Listing:
        """Raises Offline, SetupError."""
        from huggingface_hub import HfApi, errors

        try:
            info = HfApi().model_info(repository, files_metadata=True, timeout=10)
        except errors.HfHubHTTPError as error:
            raise SetupError(f"{repository} refused ({_first_line(error)}): try again later") from error
        except (errors.HTTPError, OSError) as error:
            raise Offline(_first_line(error)) from error
        stated = {
            entry.rfilename: Stated(entry.lfs.sha256 if entry.lfs else None, entry.blob_id) for entry in info.siblings
        }
        return Listing(info.sha, stated)

    def download(self, repository: str, filename: str, revision: str, folder: Path) -> Path:
        """Into `folder`, taking up what an earlier call left there. Raises SetupError."""
        from huggingface_hub import errors, hf_hub_download

        lost = (errors.HTTPError, OSError, RuntimeError, getattr(errors, "XetDownloadError", OSError))
        try:
            return Path(hf_hub_download(repository, filename, revision=revision, local_dir=folder))
        except lost as error:
            raise SetupError(
                f"{filename} of {repository} stopped ({_first_line(error)}): run this again to resume"
            ) from error


class WebFolder(Hub):
    """The same of a folder of the web whose file names end in the first digits of their sha256, as torch.hub's do."""

    def listing(self, repository: str) -> Listing:
        names = [file.filename for file in official_files(RELEASES[0], train=True) if file.repository == repository]
        stated = {name: Stated(Path(name).stem.rpartition("-")[2], None) for name in names}
        return Listing(repository.rpartition("/")[2], stated)

    def download(self, repository: str, filename: str, revision: str, folder: Path) -> Path:
        target = folder / filename
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with urlopen(f"{repository}/{filename}", timeout=30) as answer, target.open("wb") as file:
                shutil.copyfileobj(answer, file)
        except (OSError, HTTPException) as error:
            raise SetupError(f"{filename} of {repository} stopped ({_first_line(error)}): run this again") from error
        return target


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def fetch(file: OfficialFile, folder: Path, listing: Listing, hub: Hub) -> None:
    """Put the verified file and its record in place; until then what was there stays. Raises SetupError."""
    target = folder / file.target
    stated = listing.files.get(file.filename)
    if stated is None:
        raise SetupError(f"{file.repository} has no {file.filename}: give another --version")
    digest = verified_digest(target, stated) if target.is_file() else None
    if digest is None and target.is_file() and read_record(target) is None:
        say(f"{target} kept: placed by hand and not the official file; move it away to fetch that")
        return
    if digest is None:
        staged = hub.download(file.repository, file.filename, listing.revision, _staging(file, folder))
        digest = verified_digest(staged, stated)
        if digest is None:
            staged.unlink()
            raise SetupError(
                f"{file.filename} of {file.repository} came without the hash that the hub states and was "
                "removed: run this again"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        record_path(target).unlink(missing_ok=True)  # so that no record ever describes another file
        staged.replace(target)
    record = Record(file.repository, listing.revision, file.filename, digest, target.stat().st_size, file.release)
    write_json(record_path(target), asdict(record))


def _staging(file: OfficialFile, folder: Path) -> Path:
    return folder / ".download" / file.repository.replace(":", "").replace("/", "--")


def fetch_all(files: Sequence[OfficialFile], folder: Path, hub: Hub, *, verify: bool = False) -> list[str]:
    """Fetch what is absent, damaged or of another release; one sentence per failure. Raises Offline."""
    failures: list[str] = []
    listings: dict[str, Listing] = {}
    for file in files:
        if is_ready(file, folder, verify=verify):
            continue
        source = WebFolder() if "://" in file.repository else hub
        try:
            if file.repository not in listings:
                listings[file.repository] = source.listing(file.repository)
            say(f"{file.target} from {file.repository}")
            fetch(file, folder, listings[file.repository], source)
        except SetupError as error:
            failures.append(str(error))
    if not failures:
        shutil.rmtree(folder / ".download", ignore_errors=True)
    return failures


def fetch_main(arguments: argparse.Namespace) -> int:
    """The part that runs inside the environment, which has huggingface_hub."""
    files = official_files(arguments.version, train=arguments.train)
    try:
        failures = fetch_all(files, CHECKPOINTS, Hub(), verify=arguments.verify)
    except Offline:
        later = " ".join(["setup_env.sh --version", arguments.version, *["--train"] * arguments.train])
        say(f"no network: official weights were not fetched; run `bash {later}` once there is one")
        return 0
    for failure in failures:
        say(f"error: {failure}")
    say(f"official weights: {len(files) - len(failures)} of {len(files)} files in place")
    return 1 if failures else 0


# --- Entry point ----------------------------------------------------------------------------------


class Parser(argparse.ArgumentParser):
    def print_help(self, file: Any = None) -> None:
        super().print_help(file or sys.stderr)  # stdout belongs to --print-python


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog="setup_env", description=__doc__.split("\n\n")[0])
    builds = ["cpu", *reversed([build.name for build in CUDA_BUILDS])]
    option = parser.add_argument
    option("--version", choices=RELEASES, default=RELEASES[0], help="release of the official weights")
    option("--train", action="store_true", help="also fetch what training and evaluation need")
    option("--no-checkpoints", action="store_true", help="fetch no weights")
    option("--verify", action="store_true", help="hash the weights that are there already")
    option("--torch", choices=builds, help="torch build (default: by the NVIDIA driver)")
    option("--python", help="install into this Python's environment (default: the active one, else .venv)")
    option("--print-python", action="store_true", help="print the path of the environment's Python")
    option("--tests", action="store_true", help="also install what the tests need")
    option("--quick", action="store_true", help="use a finished environment as it is, without network")
    option("--verbose", action="store_true", help="show the output of pip and apt-get")
    option("--fetch-only", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def warn_about_cpu(gpu: Gpu) -> None:
    driver = ".".join(map(str, gpu.driver))
    say(f"WARNING: no CUDA build of torch fits this card and NVIDIA driver {driver}: the CPU does the work")
    say("WARNING: update the driver to 580 or later, then run this again")


def prepare(arguments: argparse.Namespace, system: str) -> tuple[Interpreter, bool]:
    """The environment's Python, and whether it was complete already. Raises SetupError."""
    python = open_environment(arguments.python, os.environ, system)
    stamp = read_json(python.prefix / STAMP)
    gpu = find_gpu()
    build = choose_build(system, gpu, asked=arguments.torch, installed=stamp.get("build"))
    if gpu and build == "cpu" and not arguments.torch:
        warn_about_cpu(gpu)
    complete = is_current(stamp, fingerprint(build), python.packages)
    missed = stamp.get("index") != (torch_index(system, build) or "default")
    if missed and (gpu or arguments.torch) and not arguments.quick:
        complete = False  # the index of this build could not be reached then
    if not complete:
        install(python, build, system, verbose=arguments.verbose)
    if not (arguments.quick and complete):
        install_optional(python, verbose=arguments.verbose)
    if arguments.tests:
        install_tests(python, verbose=arguments.verbose)
    return python, complete


def fetch_checkpoints(python: Interpreter, arguments: argparse.Namespace) -> int:
    flags = [f"--{name}" for name in ("train", "verify") if getattr(arguments, name)]
    command = [str(python.path), __file__, "--fetch-only", "--version", arguments.version, *flags]
    return subprocess.run(command, stdout=2, check=False).returncode


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse(argv)
    if arguments.fetch_only:
        return fetch_main(arguments)
    status = 0
    try:
        python, complete = prepare(arguments, platform.system())
        if not (arguments.quick and complete):
            say(f"environment: {python.path} ({python.name}); ffmpeg: {find_ffmpeg(python)}")
            if not arguments.no_checkpoints:
                status = fetch_checkpoints(python, arguments)
    except SetupError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted: run this again to go on")
        return 130
    if arguments.print_python:
        sys.stdout.reconfigure(newline="\n")  # a shell would keep Windows' carriage return
        print(python.path.as_posix())
    return 0 if arguments.quick else status


if __name__ == "__main__":
    sys.exit(main())
