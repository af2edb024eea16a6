"""Where we differ from the public version: one field each, and the preset that does not."""

from dataclasses import dataclass


@dataclass(frozen=True)
class InferenceOptions:
    """How a video is made. Defaults are what we think better; `reference()` is the public behaviour.

    Geometry is float32 in both: the public float16 gives NaN on a CPU and wobbles on a GPU.
    """

    #: As many frames as the sound lasts, rounded up; else up to two more.
    exact_frame_count: bool = True
    #: Recordings over 30 s are encoded in overlapping segments; else they jump every 30 s.
    overlap_audio: bool = True
    #: One person followed through each shot, gaps bridged, points with fractions and smoothed, crops rounded to 8
    #: bits; else the largest face of each frame, points rounded twice, a drifting bias, truncation.
    precise_alignment: bool = True
    #: A crop whose lips would leave the region that is generated is moved (head far back, broad smile); else brows and
    #: nose alone place it.
    mouth_inside_mask: bool = True
    #: Latents of the masked and the reference picture are the posterior's mean; else random samples of it.
    posterior_mean: bool = True
    #: Random numbers are drawn in float32 on the CPU, so a seed means the same everywhere; else on the device.
    portable_noise: bool = True
    #: A short last window is filled from its predecessors; else it runs alone, in another normalisation.
    fill_windows: bool = True
    #: Only the mouth region and a feather around it change; else the whole crop is resampled and replaced.
    paste_mouth_only: bool = True
    #: Frames without a face pass through; else they end the run with an error.
    pass_faceless: bool = True

    @classmethod
    def reference(cls) -> "InferenceOptions":
        """Behave as the public version does."""
        return cls(
            exact_frame_count=False,
            overlap_audio=False,
            precise_alignment=False,
            mouth_inside_mask=False,
            posterior_mean=False,
            portable_noise=False,
            fill_windows=False,
            paste_mouth_only=False,
            pass_faceless=False,
        )
