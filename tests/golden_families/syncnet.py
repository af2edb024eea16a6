"""The SyncNets that supervise training."""

import torch
import torch.nn.functional as F

from latentsync.models.syncnet import StableSyncNet, SyncNet, Wav2LipSyncNet

from . import Golden, family, golden_rule, stated_input

rule = golden_rule()

#: What the file that shows the norms' eps makes small, so that those constants count.
SMALL_ENTRIES = ("conv_in.bias", "norm1.weight", "norm1.bias")


@family("stable_syncnet")
@torch.no_grad()
def stable_syncnet(golden: Golden) -> dict:
    with torch.device("meta"):
        net = StableSyncNet(**golden.meta["config"])
    result = _embeddings(golden, net)
    vision, audio = (torch.from_numpy(result[key]) for key in ("vision_embeds", "audio_embeds"))
    return {**result, "cosine": F.cosine_similarity(vision, audio, dim=1).numpy()}


@family("wav2lip_syncnet")
@torch.no_grad()
def wav2lip_syncnet(golden: Golden) -> dict:
    with torch.device("meta"):
        net = Wav2LipSyncNet()
    return _embeddings(golden, net)


def _embeddings(golden: Golden, net: SyncNet) -> dict:
    meta = golden.meta
    rule.apply_to_module(net.to_empty(device="cpu").eval(), meta["salt"])  # which sets every entry
    assert len(net.state_dict()) == meta["keys"]
    assert sum(p.numel() for p in net.parameters()) == meta["parameters"]
    small = "rule_change" in meta
    if small:
        for key, value in net.state_dict().items():
            if key.endswith(SMALL_ENTRIES):
                value.mul_(0.01)
    images, mel = (
        torch.from_numpy(stated_input(golden, key, _shape(meta["inputs"][key]))) * (1e-3 if small else 1)
        for key in ("image_sequences", "audio_sequences")
    )
    result = {}
    for key, encoder in (("raw_vision", net.visual_encoder), ("raw_audio", net.audio_encoder)):
        encoder.register_forward_hook(lambda module, args, y, key=key: result.update({key: y.flatten(1)}))
    result["vision_embeds"], result["audio_embeds"] = net(images, mel)
    return {key: value.numpy() for key, value in result.items()}


def _shape(text: str) -> tuple[int, ...]:
    """The shape at the end of a stated input: "normal('tag'), (2, 48, 128, 256)"."""
    return tuple(int(n) for n in text.rpartition("(")[2].rstrip(")").split(","))
