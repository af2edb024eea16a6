"""The decisions of the set-up on every system, and fetching weights from a hub that misbehaves."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub.errors import HfHubHTTPError, HTTPError

from scripts import setup_env
from scripts.setup_env import (
    Gpu,
    Hub,
    Interpreter,
    Listing,
    OfficialFile,
    Offline,
    SetupError,
    Stated,
    choose_base,
    choose_build,
    environment_folder,
    environment_python,
    fetch_all,
    git_blob_id,
    is_current,
    missing_library,
    official_files,
    parse_gpus,
    read_pins,
    read_record,
    torch_index,
    torch_versions,
)

ROOT = Path(__file__).resolve().parents[1]


def interpreter(*version, makes_environments=True, packages=None):
    return Interpreter(version, Path("/usr/bin/python"), Path("/usr"), makes_environments, packages or {})


# --- Python and its environment


def test_first_supported_python_is_taken():
    assert choose_base([interpreter(3, 13, 0), interpreter(3, 12, 1), interpreter(3, 10, 2)]).version == (
        3,
        12,
        1,
    )


def test_python_without_venv_is_passed_over_or_named():
    broken = interpreter(3, 11, 2, makes_environments=False)
    assert choose_base([broken, interpreter(3, 10, 2)]).version == (3, 10, 2)
    with pytest.raises(SetupError, match=r"apt-get install -y python3\.11-venv"):
        choose_base([broken])


def test_no_supported_python_says_what_was_found_and_what_to_do():
    with pytest.raises(SetupError, match=r"Python 3\.13\.0 was found: install one"):
        choose_base([interpreter(3, 13, 0)])


def test_a_command_that_starts_no_python_is_no_interpreter(tmp_path):
    assert setup_env.inspect(str(tmp_path / "missing")) is None
    assert setup_env.inspect(sys.executable).version == sys.version_info[:3]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, "/repo/.venv"),
        ({"VIRTUAL_ENV": "/v"}, "/v"),
        ({"CONDA_PREFIX": "/c", "CONDA_DEFAULT_ENV": "lips"}, "/c"),
        ({"CONDA_PREFIX": "/c", "CONDA_DEFAULT_ENV": "base"}, "/repo/.venv"),
        ({"VIRTUAL_ENV": "/v", "CONDA_PREFIX": "/c"}, "/v"),
    ],
)
def test_active_environment_is_used(environ, expected):
    assert environment_folder(environ, Path("/repo")) == Path(expected)


def test_environment_python_by_system():
    folder = Path("env")
    assert (
        environment_python(folder, "Linux") == environment_python(folder, "Darwin") == folder / "bin/python"
    )
    assert environment_python(folder, "Windows") == folder / "Scripts/python.exe"
    assert environment_python(folder, "Windows", conda=True) == folder / "python.exe"


# --- The torch build


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("580.65.06, 9.0\n", Gpu((580, 65, 6), (9, 0))),
        ("528.33, 7.5\n528.33, 12.0\n", Gpu((528, 33), (12, 0))),
        ("470.82.01\n", Gpu((470, 82, 1), None)),
        ("580.65.06, [N/A]\n", Gpu((580, 65, 6), None)),
        ("", None),
    ],
)
def test_nvidia_smi_output(text, expected):
    assert parse_gpus(text) == expected


@pytest.mark.parametrize(
    ("system", "gpu", "expected"),
    [
        ("Linux", None, "cpu"),
        ("Windows", None, "cpu"),
        ("Darwin", None, "default"),
        ("Linux", Gpu((580, 65, 6), (9, 0)), "cu130"),
        ("Linux", Gpu((579, 99), (9, 0)), "cu128"),
        ("Linux", Gpu((569, 0), (8, 6)), "cu126"),
        ("Linux", Gpu((525, 60, 13), (8, 6)), "cu126"),
        ("Linux", Gpu((525, 53), (8, 6)), "cpu"),
        ("Windows", Gpu((527, 41), (8, 6)), "cpu"),
        ("Windows", Gpu((528, 33), None), "cu126"),
        ("Linux", Gpu((580, 65), (6, 1)), "cu126"),  # newer builds have no kernels for Pascal
        ("Linux", Gpu((570, 26), (12, 0)), "cu128"),
        ("Linux", Gpu((580, 65), (3, 5)), "cpu"),
    ],
)
def test_build_by_driver_and_card(system, gpu, expected):
    assert choose_build(system, gpu) == expected


def test_build_that_was_asked_for_or_still_runs_is_kept():
    new = Gpu((580, 65), (9, 0))
    assert choose_build("Linux", new, asked="cpu") == "cpu"
    assert choose_build("Linux", new, installed="cu126") == "cu126"
    assert choose_build("Linux", None, installed="cu130") == "cu130"  # a login node without a GPU
    assert choose_build("Linux", new, installed="cpu") == "cu130"
    assert choose_build("Linux", Gpu((535, 0), (9, 0)), installed="cu130") == "cu126"


def test_index_and_versions_by_build():
    pins = read_pins((ROOT / "requirements.txt").read_text())
    assert torch_index("Linux", "cu130") is None and torch_index("Darwin", "default") is None
    assert torch_index("Windows", "cu130").endswith("/whl/cu130")
    index = torch_index("Linux", "cu126")
    assert set(torch_versions(pins, "cu126", index)) == {"torch", "torchvision", "torchaudio"}
    assert torch_versions(pins, "cu126", index)["torch"] == f"{pins['torch']}+cu126"
    assert torch_versions(pins, "cu130", None)["torch"] == pins["torch"]


@pytest.fixture
def pip_calls(monkeypatch):
    calls = []
    monkeypatch.setattr(setup_env, "pip", lambda python, *arguments, verbose: calls.append(arguments))
    return calls


def test_unreachable_torch_index_leaves_torch_to_the_default_one(monkeypatch, pip_calls, capsys):
    monkeypatch.setattr(setup_env, "index_offers", lambda *_: False)
    assert setup_env.install_torch(interpreter(3, 11, 2), "cu126", "Linux", verbose=False) == "default"
    assert pip_calls == []
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_torch_comes_from_its_index_as_one_family(monkeypatch, pip_calls):
    monkeypatch.setattr(setup_env, "index_offers", lambda *_: True)
    setup_env.install_torch(interpreter(3, 11, 2), "cu126", "Linux", verbose=False)
    (call,) = pip_calls
    assert sum(argument.endswith("+cu126") for argument in call) == 3 and "--no-deps" in call


def test_other_build_is_removed_before_the_default_one(pip_calls):
    installed = interpreter(3, 11, 2, packages={"torch": "2.11.0+cpu"})
    setup_env.install_torch(installed, "cu130", "Linux", verbose=False)
    assert [call[0] for call in pip_calls] == ["uninstall"]


# --- Packages


def test_pins_are_read_by_normalised_name():
    assert read_pins('# x==1\nA_b.c==1.0; python_version < "3.11"\nA-b-c==2\nd>=3\n') == {"a-b-c": "1.0"}


def test_stamp_is_believed_only_while_everything_is_there():
    wanted = {"build": "cpu", "root": "/repo"}
    stamp = {**wanted, "index": "default", "packages": {"torch": "2.11.0"}}
    assert is_current(stamp, wanted, {"torch": "2.11.0", "other": "1"})
    assert not is_current(stamp, wanted, {"torch": "2.12.0"})
    assert not is_current(stamp, wanted, {})
    assert not is_current(stamp, {**wanted, "build": "cu126"}, {"torch": "2.11.0"})
    assert not is_current({}, wanted, {"torch": "2.11.0"})


def test_failing_command_shows_its_output_and_the_remedy():
    code = "print('no space left on device'); raise SystemExit(3)"
    with pytest.raises(SetupError, match=r"(?s)no space left.*failed \(3\): free some"):
        setup_env.run([sys.executable, "-c", code], remedy="free some")


def test_interrupted_install_leaves_no_stamp(monkeypatch, tmp_path):
    python = Interpreter((3, 11, 2), Path(sys.executable), tmp_path, True, {})

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(setup_env, "pip", interrupted)
    with pytest.raises(KeyboardInterrupt):
        setup_env.install(python, "cu130", "Linux", verbose=False)
    assert not (tmp_path / setup_env.STAMP).exists()


def test_optional_package_that_does_not_install_costs_one_line(monkeypatch, capsys):
    def refuse(*_, **__):
        raise SetupError("lines\nof pip output")

    monkeypatch.setattr(setup_env, "pip", refuse)
    setup_env.install_optional(interpreter(3, 11, 2), verbose=False)
    (line,) = capsys.readouterr().err.splitlines()
    assert "espeakng-loader==0.2.4 was not installed" in line


def test_optional_package_that_is_there_is_left_alone(pip_calls):
    setup_env.install_optional(interpreter(3, 11, 2, packages=setup_env.OPTIONAL), verbose=False)
    assert pip_calls == []


@pytest.mark.parametrize(
    ("flags", "complete", "added"),
    [([], True, True), ([], False, True), (["--quick"], False, True), (["--quick"], True, False)],
)
def test_environment_made_before_gets_the_optional_packages(monkeypatch, tmp_path, pip_calls, flags, complete, added):
    python = Interpreter((3, 11, 2), Path(sys.executable), tmp_path, True, {"torch": "2.11.0"})
    stamp = {**setup_env.fingerprint("cpu"), "index": "default", "packages": {"torch": "2.11.0"} if complete else {}}
    (tmp_path / setup_env.STAMP).write_text(json.dumps(stamp))
    monkeypatch.setattr(setup_env, "open_environment", lambda *_: python)
    monkeypatch.setattr(setup_env, "find_gpu", lambda: None)
    monkeypatch.setattr(setup_env, "choose_build", lambda *_, **__: "cpu")
    monkeypatch.setattr(setup_env, "torch_index", lambda *_: None)
    monkeypatch.setattr(setup_env, "check_imports", lambda *_, **__: None)
    monkeypatch.setattr(setup_env, "write_stamp", lambda *_: None)
    assert setup_env.prepare(setup_env.parse(flags), "Linux") == (python, complete)
    assert any("espeakng-loader==0.2.4" in call for call in pip_calls) == added


# --- System libraries


def test_missing_library_is_read_from_the_import_error():
    error = "ImportError: libGL.so.1: cannot open shared object file: No such file or directory"
    assert missing_library(error) == "libGL.so.1"
    assert missing_library("ImportError: numpy is missing") is None


def test_missing_library_names_the_command(monkeypatch):
    error = "ImportError: libGL.so.1: cannot open shared object file"
    monkeypatch.setattr(setup_env, "import_error", lambda python: error)
    monkeypatch.setattr(setup_env.shutil, "which", lambda name: f"/usr/bin/{name}" if name == "dnf" else None)
    with pytest.raises(SetupError, match=r"libGL\.so\.1: run `sudo dnf install -y mesa-libGL glib2`"):
        setup_env.check_imports(interpreter(3, 11, 2), verbose=False)


@pytest.mark.skipif(os.name == "nt", reason="Debian only")
def test_root_on_debian_gets_the_library(monkeypatch):
    errors = ["libGL.so.1: cannot open shared object file", ""]
    commands = []
    monkeypatch.setattr(setup_env, "import_error", lambda python: errors.pop(0))
    monkeypatch.setattr(
        setup_env.shutil, "which", lambda name: "/usr/bin/apt-get" if name == "apt-get" else None
    )
    monkeypatch.setattr(setup_env.os, "geteuid", lambda: 0)
    monkeypatch.setattr(setup_env, "run", lambda command, **_: commands.append(command))
    setup_env.check_imports(interpreter(3, 11, 2), verbose=False)
    assert commands[0] == ["apt-get", "update"] and "libgl1" in commands[1]


# --- Official weights


class FakeHub(Hub):
    """A hub of named contents. `broken` files arrive damaged; `online` False raises Offline."""

    def __init__(self, files, *, online=True):
        self.files, self.online, self.broken, self.downloads = files, online, set(), []

    def listing(self, repository):
        if not self.online:
            raise Offline("no route")
        files = {
            name: Stated(hashlib.sha256(content).hexdigest(), None)
            for (owner, name), content in self.files.items()
            if owner == repository
        }
        return Listing(f"commit of {repository}", files)

    def download(self, repository, filename, revision, folder):
        self.downloads.append(filename)
        path = folder / filename
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"damaged" if filename in self.broken else self.files[repository, filename])
        return path


def unet(version):
    return OfficialFile(
        f"ByteDance/LatentSync-{version}", "latentsync_unet.pt", "latentsync_unet.pt", version
    )


@pytest.fixture
def hub():
    return FakeHub(
        {(unet(v).repository, "latentsync_unet.pt"): f"weights {v}".encode() for v in ("1.5", "1.6")}
    )


def test_file_list():
    inference = official_files("1.6")
    assert [file.target for file in inference if file.release] == ["latentsync_unet.pt"]
    assert {file.repository for file in inference} == {
        "ByteDance/LatentSync-1.6",
        "stabilityai/sd-vae-ft-mse",
    }
    extra = official_files("1.6", train=True)[len(inference) :]
    assert len(extra) == 8
    auxiliary = {file.repository for file in extra if file.target.startswith("auxiliary/")}
    assert auxiliary == {"ByteDance/LatentSync-1.5", setup_env.INCEPTION.repository}


def test_fetched_file_is_recorded(hub, tmp_path):
    assert fetch_all([unet("1.6")], tmp_path, hub) == []
    assert json.loads((tmp_path / "latentsync_unet.pt.json").read_text()) == {
        "repository": "ByteDance/LatentSync-1.6",
        "revision": "commit of ByteDance/LatentSync-1.6",
        "filename": "latentsync_unet.pt",
        "sha256": hashlib.sha256(b"weights 1.6").hexdigest(),
        "size": 11,
        "release": "1.6",
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "latentsync_unet.pt",
        "latentsync_unet.pt.json",
    ]


def test_present_file_needs_no_network(hub, tmp_path):
    fetch_all([unet("1.6")], tmp_path, hub)
    hub.online = False
    assert fetch_all([unet("1.6")], tmp_path, hub) == []
    assert hub.downloads == ["latentsync_unet.pt"]


def test_damage_is_found_by_size_or_by_verify(hub, tmp_path):
    target = tmp_path / "latentsync_unet.pt"
    fetch_all([unet("1.6")], tmp_path, hub)
    target.write_bytes(b"weights")
    fetch_all([unet("1.6")], tmp_path, hub)
    assert target.read_bytes() == b"weights 1.6"
    target.write_bytes(b"WEIGHTS 1.6")
    fetch_all([unet("1.6")], tmp_path, hub)
    assert target.read_bytes() == b"WEIGHTS 1.6"
    fetch_all([unet("1.6")], tmp_path, hub, verify=True)
    assert target.read_bytes() == b"weights 1.6"


def test_other_release_replaces_only_when_complete(hub, tmp_path):
    fetch_all([unet("1.5")], tmp_path, hub)
    hub.broken = {"latentsync_unet.pt"}
    (failure,) = fetch_all([unet("1.6")], tmp_path, hub)
    assert "hash" in failure and "run this again" in failure
    assert (tmp_path / "latentsync_unet.pt").read_bytes() == b"weights 1.5"
    assert read_record(tmp_path / "latentsync_unet.pt").release == "1.5"
    assert not list(tmp_path.glob(".download/**/*.pt"))  # what was damaged is gone
    hub.broken = set()
    assert fetch_all([unet("1.6")], tmp_path, hub) == []
    assert (tmp_path / "latentsync_unet.pt").read_bytes() == b"weights 1.6"
    assert read_record(tmp_path / "latentsync_unet.pt").release == "1.6"


def test_file_placed_by_hand_is_recorded_or_left_alone(hub, tmp_path):
    target = tmp_path / "latentsync_unet.pt"
    target.write_bytes(b"weights 1.6")
    fetch_all([unet("1.6")], tmp_path, hub)
    assert read_record(target).release == "1.6"
    (tmp_path / "latentsync_unet.pt.json").unlink()
    target.write_bytes(b"my own training")
    assert fetch_all([unet("1.6")], tmp_path, hub) == []
    assert target.read_bytes() == b"my own training" and read_record(target) is None
    assert hub.downloads == []


def test_one_failure_does_not_stop_the_others(hub, tmp_path):
    files = [OfficialFile(unet("1.6").repository, "gone.pt", "gone.pt"), unet("1.6")]
    (failure,) = fetch_all(files, tmp_path, hub)
    assert "has no gone.pt" in failure
    assert (tmp_path / "latentsync_unet.pt").exists()


def test_without_network_one_line_and_success(hub, tmp_path, monkeypatch, capsys):
    hub.online = False
    monkeypatch.setattr(setup_env, "Hub", lambda: hub)
    monkeypatch.setattr(setup_env, "CHECKPOINTS", tmp_path)
    assert setup_env.main(["--fetch-only", "--version", "1.5", "--train"]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert "no network" in line and "`bash setup_env.sh --version 1.5 --train`" in line


def test_small_files_are_checked_by_git_blob_id(tmp_path):
    path = tmp_path / "config.json"
    path.write_bytes(b"hello\n")
    assert git_blob_id(path) == "ce013625030ba8dba906f756967f9e9ca394464a"  # git hash-object
    stated = Stated(None, git_blob_id(path))
    assert setup_env.verified_digest(path, stated) == hashlib.sha256(b"hello\n").hexdigest()
    assert setup_env.verified_digest(path, Stated(None, "0" * 40)) is None


class FakeApi:
    """huggingface_hub's client: answers from `siblings`, or raises `error`."""

    siblings: tuple = ()
    error: Exception | None = None

    def model_info(self, repository, *, files_metadata, timeout):
        assert files_metadata
        if self.error:
            raise self.error
        return SimpleNamespace(sha="c0ffee", siblings=self.siblings)


@pytest.fixture
def api(monkeypatch):
    monkeypatch.setattr(huggingface_hub, "HfApi", FakeApi)
    yield FakeApi
    FakeApi.siblings, FakeApi.error = (), None


def test_hub_listing_reads_hashes(api):
    large = SimpleNamespace(rfilename="a.pt", lfs=SimpleNamespace(sha256="f" * 64), blob_id="1")
    small = SimpleNamespace(rfilename="config.json", lfs=None, blob_id="2")
    api.siblings = (large, small)
    expected = Listing("c0ffee", {"a.pt": Stated("f" * 64, "1"), "config.json": Stated(None, "2")})
    assert Hub().listing("owner/name") == expected


@pytest.mark.parametrize("error", [HTTPError("no route"), ConnectionError("down")])
def test_hub_without_answer_is_offline(api, error):
    api.error = error
    with pytest.raises(Offline):
        Hub().listing("owner/name")


def test_hub_that_refuses_is_an_error(api):
    response = SimpleNamespace(headers={}, request=None)
    api.error = HfHubHTTPError("403 Forbidden", response=response)
    with pytest.raises(SetupError, match="owner/name refused \\(403 Forbidden\\)"):
        Hub().listing("owner/name")


def test_lost_download_resumes_where_it_stopped(monkeypatch, tmp_path):
    """The partial file stays in our folder, where huggingface_hub finds it again."""
    content = b"weights 1.6"

    def download(repository, filename, *, revision, local_dir):
        partial = local_dir / ".cache" / f"{filename}.incomplete"
        partial.parent.mkdir(parents=True, exist_ok=True)
        if not partial.exists():
            partial.write_bytes(content[:4])
            raise ConnectionError("reset by peer")
        partial.write_bytes(partial.read_bytes() + content[4:])
        return str(partial.replace(local_dir / filename))

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    hub = Hub()
    stated = Listing("c0ffee", {"latentsync_unet.pt": Stated(hashlib.sha256(content).hexdigest(), None)})
    monkeypatch.setattr(hub, "listing", lambda repository: stated)
    (failure,) = fetch_all([unet("1.6")], tmp_path, hub)
    assert "stopped (reset by peer)" in failure
    assert fetch_all([unet("1.6")], tmp_path, hub) == []
    assert (tmp_path / "latentsync_unet.pt").read_bytes() == content


def test_a_file_of_the_web_is_checked_by_the_digits_in_its_name(monkeypatch, tmp_path):
    web, place = tmp_path / "v1", tmp_path / "checkpoints"
    web.mkdir()
    digits = hashlib.sha256(b"weights").hexdigest()[:8]
    file = OfficialFile(web.as_uri(), f"net-{digits}.pth", "auxiliary/net.pth")
    monkeypatch.setattr(setup_env, "official_files", lambda version, *, train: [file])
    (failure,) = fetch_all([file], place, Hub())
    assert f"net-{digits}.pth of {web.as_uri()} stopped (" in failure and failure.endswith("run this again")
    (web / file.filename).write_bytes(b"damaged")
    (failure,) = fetch_all([file], place, Hub())
    assert "came without the hash" in failure and not (place / file.target).exists()
    (web / file.filename).write_bytes(b"weights")
    assert fetch_all([file], place, Hub()) == []
    assert (place / file.target).read_bytes() == b"weights"
    assert (read_record(place / file.target).revision, read_record(place / file.target).size) == ("v1", 7)


# --- Entry points


def test_quick_run_of_a_finished_environment_touches_nothing(monkeypatch, capsys):
    python = interpreter(3, 11, 2)
    monkeypatch.setattr(setup_env, "prepare", lambda arguments, system: (python, True))
    monkeypatch.setattr(setup_env, "fetch_checkpoints", lambda *_: pytest.fail("downloads"))
    assert setup_env.main(["--quick", "--print-python"]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{python.path.as_posix()}\n" and captured.err == ""


def test_quick_run_goes_on_when_the_weights_fail(monkeypatch, capsys):
    monkeypatch.setattr(setup_env, "prepare", lambda arguments, system: (interpreter(3, 11, 2), False))
    monkeypatch.setattr(setup_env, "find_ffmpeg", lambda python: "ffmpeg")
    monkeypatch.setattr(setup_env, "fetch_checkpoints", lambda *_: 1)
    assert setup_env.main(["--quick", "--print-python"]) == 0
    assert setup_env.main(["--print-python"]) == 1


@pytest.mark.parametrize(
    ("gpu", "flags", "expected"),
    [
        (None, [], True),
        (Gpu((535, 0), (9, 0)), [], False),
        (Gpu((535, 0), (9, 0)), ["--quick"], True),
        (None, ["--torch", "cu126"], False),
    ],
)
def test_build_missed_for_want_of_its_index_is_tried_again(monkeypatch, tmp_path, gpu, flags, expected):
    packages = {"torch": "2.11.0"}
    python = Interpreter((3, 11, 2), Path(sys.executable), tmp_path, True, packages)
    stamp = {**setup_env.fingerprint("cu126"), "index": "default", "packages": packages}
    setup_env.write_json(tmp_path / setup_env.STAMP, stamp)
    monkeypatch.setattr(setup_env, "open_environment", lambda *_: python)
    monkeypatch.setattr(setup_env, "find_gpu", lambda: gpu)
    installs = []
    monkeypatch.setattr(setup_env, "install", lambda *_, **__: installs.append("again"))
    assert setup_env.prepare(setup_env.parse(flags), "Linux")[1] is expected
    assert bool(installs) is not expected


def test_help_stays_off_stdout(capsys):
    with pytest.raises(SystemExit) as done:
        setup_env.main(["--help"])
    captured = capsys.readouterr()
    assert done.value.code == 0 and captured.out == "" and "--no-checkpoints" in captured.err


bash = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")


@pytest.fixture
def checkout(tmp_path):
    """A checkout in a folder with a space, whose set-up prints an environment made of stubs."""
    root = tmp_path / "my repo"
    (root / "scripts").mkdir(parents=True)
    for name in ("setup_env.sh", "inference.sh", "scripts/bootstrap.sh", "scripts/launch.py"):
        shutil.copy(ROOT / name, root / name)
    environment = root / ".venv"
    (environment / "bin").mkdir(parents=True)
    (environment / "pyvenv.cfg").touch()
    (environment / "bin" / "activate").write_text("ACTIVATED=yes\n")
    (environment / "bin" / "python").symlink_to(sys.executable)
    program = f"import sys; print({str(environment / 'bin' / 'python')!r}); sys.exit('--fail' in sys.argv)"
    (root / "scripts" / "setup_env.py").write_text(program)
    report = "import os, sys, marker; print(os.getcwd()); print(sys.argv[1:]); print(marker.__file__)"
    (root / "scripts" / "inference.py").write_text(report)
    (root / "marker.py").touch()
    return root


def shell(command, cwd, *arguments):
    environ = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    return subprocess.run(
        ["bash", "-c", command, "bash", *arguments],
        cwd=cwd,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )


@bash
def test_sourced_setup_activates_and_leaves_the_shell_alive(checkout, tmp_path):
    done = shell('source "$1/setup_env.sh" --quick; echo "$ACTIVATED $-"', tmp_path, str(checkout))
    assert done.stdout.split()[0] == "yes" and "e" not in done.stdout.split()[1]
    failed = shell('source "$1/setup_env.sh" --fail; echo "alive $? $ACTIVATED"', tmp_path, str(checkout))
    assert failed.stdout.strip() == "alive 1"


@bash
def test_executed_setup_says_how_to_activate_and_passes_the_status(checkout, tmp_path):
    done = shell('bash "$1/setup_env.sh"', tmp_path, str(checkout))
    assert done.returncode == 0 and f"source '{checkout}/.venv/bin/activate'" in done.stdout
    assert shell('bash "$1/setup_env.sh" --fail', tmp_path, str(checkout)).returncode == 1


@bash
def test_inference_runs_ours_in_the_users_folder(checkout, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "scripts").mkdir(parents=True)
    (elsewhere / "scripts" / "inference.py").write_text("raise SystemExit('another checkout')")
    done = shell('bash "$1/inference.sh" "a b.mp4" c.wav --seed 1', elsewhere, str(checkout))
    lines = done.stdout.splitlines()
    assert lines[0] == str(elsewhere), done.stderr
    assert lines[1] == "['--enable_deepcache', 'a b.mp4', 'c.wav', '--seed', '1']"
    assert Path(lines[2]) == checkout / "marker.py"
