"""The networks of measures: which files they take, and what is said where one is missing or another's."""

import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d, interpolate
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from latentsync import build, build_metrics
from latentsync.errors import CheckpointError, ConfigError
from latentsync.metrics.fvd import clip_features
from latentsync.metrics.sync_video import SyncOptions

from .losses.test_terms import random_vgg
from .metrics.i3d import write_i3d
from .metrics.test_s3fd import Stub as S3FDStub

BUILDERS = {
    "syncnet_v2.model": build_metrics.build_syncnet_v2,
    "sfd_face.pth": build_metrics.build_s3fd,
    "koniq_pretrained.pkl": build_metrics.build_hyper_iqa,
}


@pytest.mark.parametrize("name", BUILDERS)
def test_a_missing_file_says_where_it_comes_from(name, tmp_path, monkeypatch):
    monkeypatch.setattr(build_metrics, "AUXILIARY", tmp_path)
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
    monkeypatch.setattr(build_metrics, "AUXILIARY", tmp_path)
    torch.manual_seed(0)
    state = build_metrics.SyncNetV2().state_dict()
    old = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "syncnet_v2.model", _use_new_zipfile_serialization=archive)
    network = build_metrics.build_syncnet_v2()
    assert all(torch.equal(network.state_dict()[key], value) for key, value in old.items())
    assert not network.training and not any(p.requires_grad for p in network.parameters())


def test_official_sync_wants_both_files(tmp_path, monkeypatch):
    monkeypatch.setattr(build_metrics, "AUXILIARY", tmp_path)
    (tmp_path / "syncnet_v2.model").touch()
    assert not build_metrics.official_sync_available()
    (tmp_path / "sfd_face.pth").touch()
    assert build_metrics.official_sync_available()
    (tmp_path / "syncnet_v2.model").unlink()
    assert not build_metrics.official_sync_available()
    with pytest.raises(CheckpointError, match=r"syncnet_v2.model: no such file; fetch it by setup_env.sh --train"):
        build_metrics.build_sync_evaluator()


def test_the_official_evaluator_looks_for_faces_by_s3fd(monkeypatch):
    devices = []
    network = lambda path, device: devices.append(device) or path or "network"  # noqa: E731
    monkeypatch.setattr(build_metrics, "build_syncnet_v2", network)
    stub = S3FDStub([[0, 0, 0.5, 1]], [0.95])
    monkeypatch.setattr(build_metrics, "build_s3fd", lambda device: devices.append(device) or stub)
    options = SyncOptions.reference()
    evaluator = build_metrics.build_sync_evaluator("meta", options)
    assert (evaluator.network, evaluator.options, devices) == ("network", options, ["meta", "meta"])
    assert build_metrics.build_sync_evaluator(network="another").network == "another"
    first, second = evaluator.detector(np.zeros((2, 200, 400, 3), np.uint8))
    np.testing.assert_allclose(first, [[0, 0, 200, 200, 0.95]])
    assert np.array_equal(first, second)


# Perceptual distance


@pytest.fixture(scope="module")
def lpips(tmp_path_factory):
    path = tmp_path_factory.mktemp("vgg") / "vgg.pth"
    torch.save(random_vgg(), path)
    return build_metrics.build_lpips_distance(path)


def blurred(pictures: torch.Tensor, n: int) -> torch.Tensor:
    return interpolate(avg_pool2d(pictures, n), scale_factor=n)


def test_perceptual_distance_of_each_picture_grows_with_blur(lpips):
    torch.manual_seed(0)
    pictures = 2 * torch.rand(2, 3, 32, 32) - 1
    same, little, much = (lpips(pictures, other) for other in (pictures, blurred(pictures, 2), blurred(pictures, 8)))
    assert same.tolist() == [0, 0] and little.dtype == torch.float32 and little.shape == (2,)
    assert (little > 0.01).all() and (much > little).all()
    assert torch.allclose(lpips(pictures[1:], blurred(pictures, 8)[1:]), much[1:])
    assert not lpips.training and not any(p.requires_grad for p in lpips.parameters())


def test_a_missing_vgg_says_nothing_of_training(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(build, "AUXILIARY", tmp_path)
    with pytest.raises(CheckpointError) as caught:
        build_metrics.build_lpips_distance()
    assert str(caught.value) == (
        f"{tmp_path / 'vgg16-397923af.pth'}: no such file; fetch it by setup_env.sh --train or from "
        "https://download.pytorch.org/models/vgg16-397923af.pth"
    )


# Inception


class RandomInception(FeatureExtractorInceptionV3):
    def __init__(self) -> None:
        empty = io.BytesIO()
        torch.save({}, empty)
        empty.seek(0)
        torch.manual_seed(0)
        super().__init__("inception", ["2048"], empty)

    def load_state_dict(self, state) -> None:
        """Keep the random start."""


def test_inception_is_the_packages_network(tmp_path):
    network = RandomInception()
    torch.save(network.state_dict(), tmp_path / "inception.pth")
    built = build_metrics.build_inception(tmp_path / "inception.pth")
    pictures = torch.randint(256, (1, 3, 80, 100), dtype=torch.uint8)
    features = built(pictures)
    assert features.shape == (1, 2048) and features.dtype == torch.float32
    assert torch.equal(features, network(pictures)[0])
    assert not built.training and not any(p.requires_grad for p in built.parameters())


def test_inceptions_that_cannot_be_used(tmp_path, monkeypatch):
    monkeypatch.setattr(build_metrics, "AUXILIARY", tmp_path)
    with pytest.raises(CheckpointError, match=r"pt_inception-2015-12-05-6726825d\.pth: no such file; .*https://github"):
        build_metrics.build_inception()
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"other\.pth: does not fit the Inception network; use that of https://"):
        build_metrics.build_inception(tmp_path / "other.pth")
    torch.save(SimpleNamespace(), tmp_path / "code.pth")
    with pytest.raises(CheckpointError, match=r"code\.pth: expected a torch file with nothing but tensors"):
        build_metrics.build_inception(tmp_path / "code.pth")


# I3D


def test_i3d_sees_colours_in_0_to_1(tmp_path):
    network = build_metrics.build_i3d(write_i3d(tmp_path / "i3d.pt"))
    clips = np.zeros((2, 16, 224, 224, 3), np.uint8)
    clips[1] = (255, 51, 0)
    features = clip_features(network, clips)
    assert features.shape == (2, 400) and features.dtype == np.float32
    np.testing.assert_allclose(features[1, :3] - features[0, :3], (1, 0.2, 0), atol=1e-5)


def other_network(path) -> None:
    torch.jit.trace(torch.nn.Identity(), torch.zeros(1)).save(path)


BAD_I3D = {
    "expected a complete TorchScript file": lambda path: path.write_bytes(write_i3d(path).read_bytes()[:-100]),
    "expected a complete TorchScript file; use": lambda path: torch.save({"a": torch.zeros(1)}, path),
    "expected a network that takes rescale, resize, return_features": other_network,
}


@pytest.mark.parametrize("complaint", BAD_I3D)
def test_another_file_is_no_i3d(complaint, tmp_path):
    path = tmp_path / "i3d.pt"
    BAD_I3D[complaint](path)
    with pytest.raises(CheckpointError) as caught:
        build_metrics.build_i3d(path)
    assert str(caught.value).startswith(f"{path}: {complaint.removesuffix('; use')}; use that of https://")


def test_a_missing_i3d_says_where_it_comes_from(tmp_path, monkeypatch):
    monkeypatch.setattr(build_metrics, "AUXILIARY", tmp_path)
    with pytest.raises(CheckpointError, match=r"i3d_torchscript\.pt: no such file; fetch it by setup_env.sh --train"):
        build_metrics.build_i3d()


# Identity


def test_a_missing_embedder_says_what_to_unpack(tmp_path, monkeypatch):
    monkeypatch.setattr(build_metrics, "MODELS", tmp_path)
    with pytest.raises(CheckpointError, match=r"w600k_r50\.onnx; unpack InsightFace's .*buffalo_l.zip there$"):
        build_metrics.build_face_embedder()
    (tmp_path / "w600k_r50.onnx").write_bytes(b"model")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(ConfigError, match=r"onnxruntime-gpu for CUDA\)$"):
        patch.setitem(sys.modules, "onnxruntime", None)
        build_metrics.build_face_embedder()
