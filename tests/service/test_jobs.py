import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import pytest

from latentsync.errors import ConfigError
from latentsync.service.jobs import JobStore


def add(store, *ids, **values):
    given = {"video": "v.mp4", "audio": "a.wav", "options": {"crf": 20}, "webhook": None, "max_queue": 1000, **values}
    return [store.add(id, **given) for id in ids]


@pytest.fixture
def store(tmp_path):
    store = JobStore(tmp_path)
    yield store
    store.close()


def test_jobs_come_in_order_and_know_their_position(store):
    assert [job.position for job in add(store, "a", "b", "c")] == [1, 2, 3]
    first = store.claim("cuda:0")
    assert (first.id, first.status, first.device, first.position) == ("a", "processing", "cuda:0", None)
    assert first.options == {"crf": 20} and first.started >= first.created
    assert [store.get(id).position for id in "abc"] == [None, 1, 2]
    assert store.claim("cuda:1").id == "b"
    assert [job.id for job in store.processing()] == ["a", "b"]


def test_no_job_is_claimed_twice(store):
    add(store, *map(str, range(200)))

    def claim_all(device):
        return [job.id for job in iter(lambda: store.claim(device), None)]

    with ThreadPoolExecutor(8) as pool:
        claimed = list(chain.from_iterable(pool.map(claim_all, "abcdefgh")))
    assert sorted(claimed, key=int) == [str(i) for i in range(200)]


def test_a_full_queue_takes_no_more(store):
    assert add(store, "a", "b", max_queue=1)[1] is None
    store.claim("cpu")
    assert add(store, "c", max_queue=1)[0].position == 1


def test_how_jobs_end(store):
    add(store, *"abcd")
    for _ in "abc":
        store.claim("cpu")
    store.progress("a", 3, 9, "lip sync")
    assert (store.get("a").done, store.get("a").total, store.get("a").stage) == (3, 9, "lip sync")
    assert store.finish("a", {"frames": 9}) and store.get("a").report == {"frames": 9}
    assert store.fail("b", "no face") and store.get("b").reason == "no face"
    assert store.cancel("c") and store.cancel("d")
    assert [store.get(id).status for id in "abcd"] == ["completed", "failed", "cancelled", "cancelled"]
    assert not any((store.finish("c", {}), store.fail("c", "x"), store.cancel("a"), store.cancel("none")))
    store.progress("c", 5, 9, "late")
    store.hand_back("c")
    assert (store.get("c").status, store.get("c").done) == ("cancelled", 0)


def test_only_ended_jobs_expire_or_are_removed(store):
    add(store, *"abc")
    store.claim("cpu")
    store.finish("a", {})
    store.claim("cpu")
    now = time.time()
    assert [job.id for job in store.expired(now + 1)] == ["a"] and store.expired(now - 9) == []
    assert [store.remove(id) for id in "abc"] == [True, False, False]
    assert store.ids() == {"b", "c"} and store.get("a") is None


def test_jobs_outlive_the_process(tmp_path):
    store = JobStore(tmp_path)
    add(store, *"ab")
    store.claim("cpu")
    for deaths in (1, 2):
        store.close()
        store = JobStore(tmp_path)
        assert [job.id for job in store.processing()] == []
        if deaths == 1:
            assert store.get("a").position == 1  # its old place
            assert store.claim("cpu").id == "a"
    job = store.get("a")
    assert (job.status, job.reason) == ("failed", "the server stopped unexpectedly 2 times during this job")
    assert store.claim("cpu").id == "b"
    store.close()


def test_a_job_that_was_handed_back_is_not_blamed(tmp_path):
    store = JobStore(tmp_path)
    add(store, "a")
    for _ in range(5):
        assert store.claim("cpu").attempts == 1
        store.hand_back("a")
    store.close()


def test_two_servers_never_share_a_folder(tmp_path):
    store = JobStore(tmp_path)
    with pytest.raises(ConfigError, match="another server uses this folder"):
        JobStore(tmp_path)
    store.close()
    JobStore(tmp_path).close()


def test_other_files_are_no_queue(tmp_path):
    (tmp_path / "jobs.sqlite").write_text("something else, and long enough to be no header of a database" * 9)
    with pytest.raises(ConfigError, match="cannot be used as a queue"):
        JobStore(tmp_path)
    (tmp_path / "jobs.sqlite").unlink()
    sqlite3.connect(tmp_path / "jobs.sqlite").execute("PRAGMA user_version = 99").connection.close()
    with pytest.raises(ConfigError, match="format 99, expected 1"):
        JobStore(tmp_path)


def test_webhooks_that_were_not_called_are_known(store):
    add(store, *"ab", webhook="https://example.org")
    assert store.to_notify() == []
    store.cancel("a")
    store.cancel("b")
    store.notified("a")
    assert [job.id for job in store.to_notify()] == ["b"]
