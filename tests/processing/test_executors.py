"""Stages in processes, and on a cluster."""

from contextlib import closing

import pytest

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
    """Three machines, as far as Ray is concerned, with one processor each."""
    ray = pytest.importorskip("ray", reason="ray is missing: pip install ray")
    from ray.cluster_utils import Cluster

    machines = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    nodes = [machines.add_node(num_cpus=1) for _ in range(2)]
    yield machines, nodes
    ray.shutdown()
    machines.shutdown()


def test_ray_outcomes(tmp_path, cluster):
    from latentsync.processing.cluster import RayExecutor

    machines, _ = cluster
    executor = RayExecutor(machines.address, limit_s=60)
    check(list(executor.map(Shout(), pieces(tmp_path / "in", *NAMES), tmp_path / "loud")), tmp_path)


def test_a_machine_that_is_lost_leaves_nothing_undone(tmp_path, cluster):
    from latentsync.processing.cluster import RayExecutor

    machines, nodes = cluster
    names = [f"piece {i}" for i in range(12)]
    executor = RayExecutor(machines.address, limit_s=120)
    done = []
    with closing(executor.map(Shout(pause_s=0.3), pieces(tmp_path / "in", *names), tmp_path / "loud")) as outcomes:
        for outcome in outcomes:
            done.append(outcome)
            if len(done) == 3:
                machines.remove_node(nodes.pop(), allow_graceful=False)
    assert sorted(outcome.piece.key for outcome in done if outcome.status == KEPT) == sorted(names)
