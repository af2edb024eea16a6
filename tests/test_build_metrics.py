"""The networks of measures: which files they take, and what is said where one is missing or another's."""

import numpy as np
import pytest
import torch

from latentsync import build
from latentsync.errors import CheckpointError
from latentsync.metrics.sync_video import SyncOptions

from .metrics.test_s3fd import Stub as S3FDStub

BUILDERS = {
    "syncnet_v2.model": build.build_syncnet_v2,
    "sfd_face.pth": build.build_s3fd,
    "koniq_pretrained.pkl": build.build_hyper_iqa,
}


@pytest.mark.parametrize("name", BUILDERS)
def test_a_missing_file_says_where_it_comes_from(name, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "AUXILIARY", tmp_path)
    with pytest.raises(CheckpointError) as caught:
        BUILDERS[name]()
    assert str(caught.value) == (
        f"{tmp_path / name}: no such file; fetch it by setup_env.sh --train or from "
        f"https://huggingface.co/ByteDance/LatentSync-1.5 (auxiliary/{name})"
    )


@pytest.mark.parametrize("name", BUILDERS)
def test_another_networks_file_is_refused(name, tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError) as caught:
        BUILDERS[name](tmp_path / "other.pth")
    text = str(caught.value)
    assert text.startswith(f"{tmp_path / 'other.pth'}: does not fit this ") and "1 unexpected (a)" in text
    assert text.endswith(f"; use that of https://huggingface.co/ByteDance/LatentSync-1.5 (auxiliary/{name})")


@pytest.mark.parametrize("archive", [True, False])
def test_an_old_file_without_counters_is_taken(archive, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "AUXILIARY", tmp_path)
    torch.manual_seed(0)
    state = build.SyncNetV2().state_dict()
    old = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "syncnet_v2.model", _use_new_zipfile_serialization=archive)
    network = build.build_syncnet_v2()
    assert all(torch.equal(network.state_dict()[key], value) for key, value in old.items())
    assert not network.training and not any(p.requires_grad for p in network.parameters())


def test_official_sync_wants_both_files(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "AUXILIARY", tmp_path)
    (tmp_path / "syncnet_v2.model").touch()
    assert not build.official_sync_available()
    (tmp_path / "sfd_face.pth").touch()
    assert build.official_sync_available()
    (tmp_path / "syncnet_v2.model").unlink()
    assert not build.official_sync_available()
    with pytest.raises(CheckpointError, match=r"syncnet_v2.model: no such file; fetch it by setup_env.sh --train"):
        build.build_sync_evaluator()


def test_the_official_evaluator_looks_for_faces_by_s3fd(monkeypatch):
    devices = []
    monkeypatch.setattr(build, "build_syncnet_v2", lambda path, device: devices.append(device) or path or "network")
    stub = S3FDStub([[0, 0, 0.5, 1]], [0.95])
    monkeypatch.setattr(build, "build_s3fd", lambda device: devices.append(device) or stub)
    options = SyncOptions.reference()
    evaluator = build.build_sync_evaluator("meta", options)
    assert (evaluator.network, evaluator.options, devices) == ("network", options, ["meta", "meta"])
    assert build.build_sync_evaluator(network="another").network == "another"
    first, second = evaluator.detector(np.zeros((2, 200, 400, 3), np.uint8))
    np.testing.assert_allclose(first, [[0, 0, 200, 200, 0.95]])
    assert np.array_equal(first, second)
