"""The measures of evaluation and of the choice of training data."""

from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch import nn
from torchvision.ops import nms

from latentsync.metrics import s3fd as faces
from latentsync.metrics.fvd import frechet_distance
from latentsync.metrics.hyper_iqa import HyperIQA, judge, network_input, quality
from latentsync.metrics.mfcc import mfcc
from latentsync.metrics.syncnet_v2 import distance_by_offset, embed_pictures, embed_sound, score_clip, sync_distance
from latentsync.models.syncnet_v2 import SyncNetV2

from . import Golden, close, family, golden_rule

rule = golden_rule()


def seeded(golden: Golden, network: Callable[[], nn.Module]) -> nn.Module:
    """A network with rule weights, in evaluation mode; its size is that of the file's."""
    with torch.device("meta"):
        net = network()
    rule.apply_to_module(net.to_empty(device="cpu").eval(), golden.meta["salt"])  # which sets every entry
    assert len(net.state_dict()) == golden.meta["keys"]
    assert sum(p.numel() for p in net.parameters()) == golden.meta["parameters"]
    return net


@family("mfcc")
def mfccs(golden: Golden) -> dict:
    return {"mfcc": mfcc(rule.waveform("mfcc", golden.meta["seconds"]))}


@family("syncnet_v2")
@torch.no_grad()
def syncnet_v2(golden: Golden) -> dict:
    net = seeded(golden, SyncNetV2)
    lips = torch.from_numpy(rule.bytes_image("syncnet_v2/lip", (3, 3, 5, 224, 224)).astype(np.float32))
    sound = 4 * rule.normal("syncnet_v2/mfcc", golden.arrays["mfcc_input"].shape)
    return {
        "aud": net.encode_sound(torch.from_numpy(sound)).numpy(),
        "lip": net.encode_lips(lips).numpy(),
        "lipfeat": net.netcnnlip(lips).flatten(1).numpy(),
        "mfcc_input": sound,
    }


@family("sync offset")
def sync_offset(golden: Golden) -> dict:
    stored = {key: golden.arrays[key] for key in ("im_feat", "cc_feat")}
    vectors = [torch.from_numpy(array) for array in stored.values()]
    score = sync_distance(*vectors, golden.meta["vshift"])
    return {
        **stored,
        "dists": distance_by_offset(*vectors, golden.meta["vshift"]).flip(0).numpy(),  # there the greatest comes first
        "mean_dists": score.by_offset.flip(0).numpy(),
        "min_dist": np.float32(score.distance),
        "offset": np.array(score.offset),
        "confidence": np.float32(score.confidence),
    }


@family("syncnet_v2 evaluate")
def syncnet_v2_evaluate(golden: Golden) -> dict:
    meta = golden.meta
    with torch.device("meta"):
        net = SyncNetV2()
    rule.apply_to_module(net.to_empty(device="cpu").eval(), meta["salt"])
    blue_first = [rule.smooth_image(112, 112, phase=0.35 * i) for i in range(meta["frames"])]
    frames = [cv2.cvtColor(frame, cv2.COLOR_BGR2RGB) for frame in blue_first]
    samples = rule.waveform("syncnet_v2_evaluate", meta["seconds"])
    score = score_clip(net, frames, samples, max_offset=meta["vshift"])
    pictures, sounds = embed_pictures(net, frames)[:-1], embed_sound(net, samples[: 640 * meta["frames"]])
    return {
        "im_feat_head": pictures[:4].numpy(),
        "cc_feat_head": sounds[:4].numpy(),
        "feature_rows": np.array([len(pictures), len(sounds)]),
        "offset": np.array(score.offset),
        "min_dist": (np.float32(score.distance), close(1e-4, 0)),
        "confidence": (np.float32(score.confidence), close(0, 0.02)),
    }


@family("s3fd")
@torch.no_grad()
def s3fd(golden: Golden) -> dict:
    meta = golden.meta
    net = seeded(golden, faces.S3FD)
    for key, value in net.state_dict().items():
        if key.startswith("L2Norm"):
            value.mul_(5)
    frame = rule.smooth_image(*meta["image"], phase=0.5)
    images = faces.network_input(torch.from_numpy(frame[None]))
    loc, conf, priors = net(images)
    assert len(priors) == meta["priors"]
    (boxes,) = faces.detect(net, frame[None], scale=meta["scales"][0], min_score=meta["conf_th"])
    spread = {"conf": conf, "loc": loc, "network_input": images, "prior": priors}
    return {
        "boxes": boxes,
        **{f"{key}_spread": _spread(x, golden.arrays[f"{key}_spread"].size) for key, x in spread.items()},
    }


@family("s3fd boxes")
def s3fd_boxes(golden: Golden) -> dict:
    stored = {key: golden.arrays[key] for key in ("loc", "priors", "score")}
    loc, priors, scores = (torch.from_numpy(array) for array in stored.values())
    boxes = faces.decode(loc, priors)
    kept = faces.candidates(boxes, scores)
    return {
        **stored,
        "decoded": boxes.numpy(),
        "nms_keep": kept.numpy(),
        "detect_rows": torch.cat([scores[kept, None], boxes[kept]], dim=1).numpy(),
        "second_nms_keep": nms(boxes, scores, faces.MAX_OVERLAP).numpy(),
        "prior_table": faces.priors(96, 160, ((24, 40), (12, 20), (6, 10), (3, 5), (2, 3), (1, 2))).numpy(),
    }


@family("hyper_iqa")
@torch.no_grad()
def hyper_iqa(golden: Golden) -> dict:
    net = seeded(golden, HyperIQA)
    frames = torch.from_numpy(np.stack([rule.smooth_image(250, 300, phase=0.7 * i) for i in range(3)])).movedim(3, 1)
    features, layers = net.target(network_input(frames))
    made = {"target_in_vec": features}
    for i, (weights, biases) in enumerate(layers, 1):
        made |= {f"target_fc{i}w": weights, f"target_fc{i}b": biases}
    return {
        **{key: _spread(x, golden.arrays[key].size) for key, x in made.items()},
        "target_in_vec_full": features.numpy(),
        "prediction": judge(features, layers).numpy(),
        "prediction_batch_of_one": net(network_input(frames[:1]))[0].numpy(),
        "mean": np.float32(quality(net, frames)),
    }


@family("frechet distance")
def frechet(golden: Golden) -> dict:
    stored = {key: golden.arrays[key] for key in ("features_a", "features_b")}
    return {**stored, "fvd": np.float32(frechet_distance(*stored.values()))}


def _spread(x: torch.Tensor, n: int) -> np.ndarray:
    """`n` values at equal steps of a flattened array."""
    return x.flatten().numpy()[np.linspace(0, x.numel() - 1, n).astype(int)]
