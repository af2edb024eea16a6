"""Stages in processes, and on a cluster."""

import time
from contextlib import closing
from tempfile import TemporaryDirectory

import psutil
import pytest

from latentsync.errors import ConfigError
from latentsync.processing.cluster import RayExecutor, connect
from latentsync.processing.executors import LocalExecutor
from latentsync.processing.stage import FAILED, KEPT, REJECTED, Work

from .toys import Shout, log, pieces

NAMES = ["a", "b", "reject me", "ours", "bug", "split", "die once", "die always"]


def check(outcomes, root):
    by_key = {outcome.piece.key: outcome for outcome in outcomes}
    assert sorted(by_key) == sorted(NAMES)
    assert {key: o.status for key, o in by_key.items() if o.status != KEPT} == {
        "reject me": REJECTED,
        "ours": FAILED,
        "bug": FAILED,
        "die always": FAILED,
    }
    assert (by_key["reject me"].reason, by_key["reject me"].metrics) == ("too quiet: indeed", {"loudness": 9})
    assert by_key["ours"].reason.endswith("ours.txt is damaged")
    assert by_key["bug"].reason == "ZeroDivisionError: a mistake"
    assert [made.key for made in by_key["split"].outputs] == ["split_a", "split_b"]
    assert all(made.path.read_text() == made.path.stem[: -2 if "_" in made.path.stem else None].upper() + "!"
               for outcome in by_key.values() for made in outcome.outputs)
    assert sorted(log(root)) == ["a", "b", "die once", "split"]
    return by_key


def test_local_outcomes(tmp_path):
    executor = LocalExecutor(n_workers=2)
    outcomes = list(executor.map(Shout(), pieces(tmp_path / "in", *NAMES), tmp_path / "loud"))
    by_key = check(outcomes, tmp_path)
    assert "stopped by signal 9" in by_key["die always"].reason


def test_a_piece_that_hangs_fails_and_the_others_go_on(tmp_path):
    executor = LocalExecutor(n_workers=1, limit_s=6)
    outcomes = executor.map(Shout(), pieces(tmp_path / "in", "hang", "a"), tmp_path / "loud")
    by_key = {outcome.piece.key: outcome for outcome in outcomes}
    assert (by_key["hang"].status, by_key["a"].status) == (FAILED, KEPT)
    assert by_key["hang"].reason == "took longer than the 6 s that a job may take"


def test_workers_are_shared_out_among_devices(tmp_path):
    work = Work(Shout(), tmp_path, ["cuda:0", "cuda:1"])
    devices = []
    for number in range(3):
        work.setup(number)
        devices.append(work.stage._device)
    assert devices == ["cuda:0", "cuda:1", "cuda:0"]


def test_seconds_are_measured(tmp_path):
    (outcome,) = LocalExecutor(1).map(Shout(pause_s=0.2), pieces(tmp_path / "in", "a"), tmp_path / "loud")
    assert outcome.seconds >= 0.2 > outcome.cpu_seconds


@pytest.fixture(scope="module")
def cluster():
    """Two machines, as far as Ray is concerned, with one processor each; nothing of them remains."""
    ray = pytest.importorskip("ray", reason="ray is missing: pip install ray")
    from ray.cluster_utils import Cluster

    machine = {"num_cpus": 1, "object_store_memory": 80 << 20}
    others = set(psutil.Process().children(recursive=True))
    with TemporaryDirectory(prefix="ray_", dir="/tmp") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)  # sockets lie there: that of tmp_path is too long
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "disabled")
        machines = Cluster(initialize_head=True, head_node_args={**machine, "include_dashboard": False})
        machines.add_node(**machine)
        yield machines
        ray.shutdown()
        machines.shutdown()
    assert not psutil.wait_procs(set(psutil.Process().children(recursive=True)) - others, timeout=10)[1]


def actors():
    return [child for child in psutil.Process().children(recursive=True) if child.name().startswith("ray::_Worker")]


def test_ray_outcomes(tmp_path, cluster):
    executor = RayExecutor(cluster.address, limit_s=4)
    outcomes = list(executor.map(Shout(), pieces(tmp_path / "in", "hang", *NAMES), tmp_path / "loud"))
    by_key = check([outcome for outcome in outcomes if outcome.piece.key != "hang"], tmp_path)
    assert by_key["die always"].reason == "its process or its machine was lost, out of memory perhaps"
    (hung,) = [outcome for outcome in outcomes if outcome.piece.key == "hang"]
    assert (hung.status, hung.reason) == (FAILED, "took longer than the 4 s that a job may take")
    assert (tmp_path / "ended").exists()


@pytest.mark.parametrize(
    ("how", "why"), [("no weights", "shout cannot be set up: no weights"), ("by death", "its machine was lost")]
)
def test_a_stage_that_cannot_be_set_up_is_one_error(tmp_path, cluster, how, why):
    executor = RayExecutor(cluster.address, n_workers=1)
    with pytest.raises(ConfigError, match=why):
        list(executor.map(Shout(broken=how), pieces(tmp_path / "in", "a", "b"), tmp_path / "loud"))


def test_closing_stops_the_actors_and_ends_their_blocks(tmp_path, cluster):
    executor = RayExecutor(cluster.address)
    outcomes = executor.map(Shout(), pieces(tmp_path / "in", "hang", "a"), tmp_path / "loud")
    assert next(outcomes).piece.key == "a"
    while not (tmp_path / "hangs").exists():
        time.sleep(0.05)
    outcomes.close()
    assert (tmp_path / "ended").exists()
    psutil.wait_procs(actors(), timeout=10)
    assert not actors()


def test_a_machine_that_is_lost_leaves_nothing_undone(tmp_path, cluster):
    """The actor that takes the place of the lost one finds no room and must not be waited for."""
    names = [f"piece {i}" for i in range(8)]
    executor = RayExecutor(cluster.address, limit_s=60)
    done = []
    with closing(executor.map(Shout(pause_s=0.5), pieces(tmp_path / "in", *names), tmp_path / "loud")) as outcomes:
        for outcome in outcomes:
            done.append(outcome)
            if len(done) == 3:
                cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    assert sorted(outcome.piece.key for outcome in done if outcome.status == KEPT) == sorted(names)


def test_an_address_without_a_cluster_is_an_error_at_once(monkeypatch):
    ray = pytest.importorskip("ray", reason="ray is missing: pip install ray")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(ConfigError, match=r"--ray_address 127\.0\.0\.1:1: no cluster answers"):
        connect("127.0.0.1:1")


@pytest.mark.parametrize("per_gpu", [1, 3, 7])
def test_actors_share_the_graphics_cards_as_processes_do(monkeypatch, per_gpu):
    monkeypatch.setattr(Shout, "gpus", 0.25)
    n_actors, share = RayExecutor(n_workers=5, per_gpu=per_gpu)._shares(Shout(), {"CPU": 8.0, "GPU": 2.0})
    assert n_actors == 2 * per_gpu and share["num_cpus"] == 0
    assert 1 - 0.001 <= per_gpu * round(share["num_gpus"], 4) <= 1
    assert RayExecutor(n_workers=5)._shares(Shout(), {"CPU": 8.0}) == (5, {"num_cpus": 1})
