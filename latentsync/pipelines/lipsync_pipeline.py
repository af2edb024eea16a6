"""The lip sync of one video, as a stream: memory does not depend on its length."""

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler
from torch import Tensor

from latentsync.diffusion import latents as lat
from latentsync.diffusion.sampler import StepCallback, denoise
from latentsync.errors import ConfigError, MediaError, NoFaceError
from latentsync.face.align import FaceAligner
from latentsync.face.detect import FaceDetector, MediaPipeDetector
from latentsync.face.mask import fixed_mask
from latentsync.face.paste import FacePaster, paste_crop
from latentsync.media.ffmpeg import VideoWriter, decode_audio, decode_frames, probe
from latentsync.media.stream import map_ahead, prefetch
from latentsync.models.unet import UNet3DConditionModel
from latentsync.options import InferenceOptions
from latentsync.types import AlignedFace, SyncedFace, Window
from latentsync.whisper.audio2feature import Audio2Feature

from .windows import cut_windows

SAMPLE_RATE = 16000  # Hz, what the audio encoder hears
FRAME_RATE = 25  # Hz, what the networks were trained on

#: Where a video ends this many frames before its sound, its last frame is held.
MAX_HELD_FRAMES = 12

#: Aligned frames waiting for the networks, and generated ones waiting for the encoder.
DEPTH = 16


@dataclass
class LipsyncReport:
    """What a run did."""

    frames: int = 0
    faceless: list[tuple[int, int]] = field(default_factory=list)  # first and last output frame of each gap

    def pass_frame(self) -> None:
        """The frame that comes next has no face."""
        if self.faceless and self.faceless[-1][1] == self.frames - 1:
            self.faceless[-1] = (self.faceless[-1][0], self.frames)
        else:
            self.faceless.append((self.frames, self.frames))

    @property
    def n_faceless(self) -> int:
        return sum(last - first + 1 for first, last in self.faceless)


def frame_count(n_samples: int, rate: Fraction, *, exact: bool = True) -> int:
    """Output frames for a sound of `n_samples` at 16 kHz: as long as it, rounded up; at least one.

    Not `exact` is the public rule, which makes one or two more.
    """
    if exact:
        return max(1, math.ceil(n_samples * Fraction(rate) / SAMPLE_RATE))
    return math.floor((n_samples // 320) * Fraction(rate) / 50) + 2


class LipsyncPipeline:
    """Networks and options; a call makes one video. Calls do not share any state."""

    def __init__(
        self,
        vae: AutoencoderKL,
        audio_encoder: Audio2Feature,
        unet: UNet3DConditionModel | None = None,
        scheduler: DDIMScheduler | None = None,
        *,
        denoising_unet: UNet3DConditionModel | None = None,  # the name of version 1.5
        options: InferenceOptions | None = None,
        resolution: int | None = None,
        detector: Callable[[], FaceDetector] = MediaPipeDetector,
    ) -> None:
        self.vae = vae
        self.audio_encoder = audio_encoder
        self.unet = unet if unet is not None else denoising_unet
        self.scheduler = scheduler
        self.options = options or InferenceOptions()
        self.resolution = resolution or self.unet.config.sample_size * lat.DOWNSAMPLE
        self.detector = detector

    def to(self, *args, **kwargs) -> "LipsyncPipeline":
        """Move the networks, as `torch.nn.Module.to` does."""
        for network in (self.vae, self.unet):
            network.to(*args, **kwargs)
        device = self.unet.device
        self.audio_encoder.model.to(device)
        return self

    @property
    def device(self) -> torch.device:
        return self.unet.device

    def __call__(
        self,
        video_path: str | Path,
        audio_path: str | Path,
        video_out_path: str | Path,
        num_frames: int = 16,
        video_fps: int = FRAME_RATE,
        audio_sample_rate: int = SAMPLE_RATE,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int = 20,
        guidance_scale: float = 1.5,
        weight_dtype: torch.dtype | None = None,
        eta: float = 0.0,
        mask_image_path: str | Path | None = None,
        temp_dir: str | Path | None = None,
        generator: torch.Generator | None = None,
        callback: StepCallback | None = None,
        callback_steps: int = 1,
        *,
        cache_interval: int = 1,
        windows_per_call: int = 1,
        progress: Callable[[int, int], None] | None = None,
        **ignored,
    ) -> LipsyncReport:
        """Make the lips of `video_path` follow `audio_path`, at 25 frames/s, as long as the sound.

        Args:
            num_frames: frames of a window, 1...24 with motion modules.
            height, width: equal, a multiple of 8; the pipeline's resolution if None.
            guidance_scale: 1 or less switches guidance off.
            weight_dtype: accepted for old callers; the networks' own dtypes count.
            temp_dir: parent of the temporary folder, the system's if None; nothing else in it is touched.
            generator: of all random numbers; torch's default one if None.
            callback: called with (step, time step, latents) at every `callback_steps`-th step.
            cache_interval: 1 is exact, 3 reuses deep features as DeepCache does.
            windows_per_call: windows stacked in one call of the networks.
            progress: called with (frames done, frames in all).

        Raises MediaError, NoFaceError or ConfigError; then `video_out_path` is what it was before.
        """
        resolution = self._resolution(height, width)
        if video_fps != FRAME_RATE or audio_sample_rate != SAMPLE_RATE:
            raise ConfigError(
                f"expected video_fps {FRAME_RATE} and audio_sample_rate {SAMPLE_RATE}, got {video_fps} and "
                f"{audio_sample_rate}; leave both out: any input rate is converted"
            )
        rate = Fraction(video_fps)
        info = probe(video_path)
        if temp_dir is not None:
            Path(temp_dir).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="latentsync-", dir=temp_dir) as folder:
            samples = decode_audio(Path(audio_path), Path(folder), sample_rate=audio_sample_rate)
            total = frame_count(len(samples), rate, exact=self.options.exact_frame_count)
            if info.duration_s is not None and total > info.duration_s * rate + MAX_HELD_FRAMES:
                raise too_short(info.path, info.duration_s, total, rate)

            mask = fixed_mask(resolution, mask_image_path)
            frames = hold_last(decode_frames(info, rate, n_frames=total), total, info.path, rate)
            faces = prefetch(self._align(frames, resolution), DEPTH)
            audio = self.audio_encoder.stream(samples, total, rate)
            settings = {
                "steps": num_inference_steps,
                "guidance_scale": guidance_scale,
                "eta": eta,
                "cache_interval": cache_interval,
                "callback": every(callback_steps, callback),
            }
            report = LipsyncReport()
            writer = VideoWriter(
                Path(video_out_path), info.width, info.height, rate, audio=Path(audio_path)
            )
            with writer, closing(faces):
                windows = cut_windows(
                    zip(faces, audio, strict=True),
                    num_frames,
                    fill=self.options.fill_windows,
                    breaks=self.options.fill_windows,
                )
                synced = self._sync(windows, mask, windows_per_call, generator, settings)
                with closing(map_ahead(self._paster(mask), synced, DEPTH)) as pasted:
                    for frame, has_face in pasted:
                        if not has_face:
                            report.pass_frame()
                        writer.write(frame)
                        report.frames += 1
                        if progress is not None:
                            progress(report.frames, total)
                if report.n_faceless == report.frames:
                    raise NoFaceError(
                        f"{video_path}: no face found in any of {report.frames} frames; expected a face of at "
                        "least 50 by 80 pixels, turned towards the camera"
                    )
            return report

    def _resolution(self, height: int | None, width: int | None) -> int:
        resolution = height or width or self.resolution
        if (width or resolution) != resolution or resolution % lat.DOWNSAMPLE:
            raise ConfigError(
                f"expected equal height and width, a multiple of {lat.DOWNSAMPLE}, got {height} and {width}; "
                f"leave both out to use {self.resolution}"
            )
        return resolution

    def _align(self, frames: Iterable[np.ndarray], resolution: int) -> Iterator[AlignedFace]:
        """Detect and cut out the face of each frame (h, w, 3) uint8 RGB."""
        with closing(self.detector()) as detector:
            aligner = FaceAligner(
                resolution,
                reference=not self.options.precise_alignment,
                alignment_points=detector.alignment_points,
            )
            for index, frame in enumerate(frames):
                found = detector(frame)
                if found:
                    pose = aligner.pose(found[0].landmarks)
                    yield AlignedFace(index, frame, pose, aligner.crop(frame, pose.matrix))
                elif self.options.pass_faceless:
                    yield AlignedFace(index, frame, None, None)
                else:
                    raise NoFaceError(f"no face found in frame {index}; remove it or allow frames to pass through")

    def _sync(
        self,
        windows: Iterable[Window | AlignedFace],
        mask: Tensor,
        windows_per_call: int,
        generator: torch.Generator | None,
        settings: dict,
    ) -> Iterator[SyncedFace]:
        """Run the networks; frames come out in order, and one without a face waits for nothing after it."""
        generator = generator or self._default_generator()
        side = mask.shape[-1] // lat.DOWNSAMPLE
        noise = lat.draw((1, 4, 1, side, side), generator, self.unet.conv_in.weight)
        batch: list[Window] = []

        def run() -> Iterator[SyncedFace]:
            if batch:
                yield from self.sync_windows(batch, mask, noise, generator, **settings)
                batch.clear()

        for item in windows:
            if isinstance(item, AlignedFace):
                yield from run()
                yield SyncedFace(item.index, item.frame, None, None)
                continue
            if batch and len(item.faces) != len(batch[0].faces):
                yield from run()  # the public rule's short last window: clips of one length stack
            batch.append(item)
            if len(batch) == windows_per_call:
                yield from run()
        yield from run()

    @torch.no_grad()
    def sync_windows(
        self,
        windows: list[Window],
        mask: Tensor,
        noise: Tensor,
        generator: torch.Generator,
        **settings,
    ) -> list[SyncedFace]:
        """Generate the faces of some windows in one call of each network.

        Args:
            mask: (1, r, r), 1 = keep.
            noise: (1, 4, 1, h, w) start noise, the same for every frame.
            generator: draws posterior samples, window by window, where the options want them.
            settings: keyword arguments of `denoise`.
        """
        frames, device, dtype = len(windows[0].faces), self.device, self.unet.dtype
        crops = torch.stack([face.crop for window in windows for face in window.faces])
        pixels = lat.to_pixel_values(crops.to(device, non_blocking=True))
        mask = mask.to(device)
        masked = self._encode(lat.mask_pixels(pixels, mask), pixels, frames, generator)
        context = lat.assemble(lat.latent_mask(mask), *(lat.to_clips(z, frames) for z in masked)).to(dtype)
        audio = torch.stack([window.audio for window in windows]).to(device, dtype, non_blocking=True)
        latents = denoise(
            self.unet,
            self.scheduler,
            noise.expand(len(windows), -1, frames, -1, -1),
            context,
            audio,
            generator=generator,
            **settings,
        )
        latents = lat.from_clips(latents).to(self.vae.dtype)
        decoded = torch.cat([lat.decode(self.vae, part) for part in latents.split(frames)]).float()
        if not self.options.paste_mouth_only:
            decoded = decoded * (1 - mask) + pixels * mask
        decoded = decoded.cpu().unflatten(0, (len(windows), frames))
        return [
            SyncedFace(face.index, face.frame, face.pose, crop)
            for window, crops in zip(windows, decoded, strict=True)
            for face, crop in zip(window.faces[window.keep], crops[window.keep], strict=True)
        ]

    def _encode(
        self, masked: Tensor, reference: Tensor, frames: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Latents of the masked and of the reference pictures, (b f, 3, r, r) -> (b f, 4, h, w) each."""
        latents: tuple[list[Tensor], list[Tensor]] = ([], [])
        for pair in zip(masked.split(frames), reference.split(frames), strict=True):
            for pixels, done in zip(pair, latents, strict=True):
                pixels = pixels.to(self.vae.dtype)
                n, _, height, width = pixels.shape
                shape = (n, 4, height // lat.DOWNSAMPLE, width // lat.DOWNSAMPLE)
                noise = None if self.options.posterior_mean else lat.draw(shape, generator, pixels)
                done.append(lat.encode(self.vae, pixels, noise))
        return torch.cat(latents[0]), torch.cat(latents[1])

    def _default_generator(self) -> torch.Generator:
        if self.options.portable_noise or self.device.type != "cuda":
            return torch.default_generator
        return torch.cuda.default_generators[self.device.index or 0]

    def _paster(self, mask: Tensor) -> Callable[[SyncedFace], tuple[np.ndarray, bool]]:
        """A function that puts a face back: the frame (h, w, 3) uint8 RGB, and whether it has one."""
        paste = FacePaster(mask) if self.options.paste_mouth_only else paste_crop

        def put_back(face: SyncedFace) -> tuple[np.ndarray, bool]:
            if face.pose is None:
                return face.frame, False
            return paste(face.frame, face.crop, face.pose.matrix), True

        return put_back


def hold_last(
    frames: Iterable[np.ndarray], total: int, path: Path, rate: Fraction
) -> Iterator[np.ndarray]:
    """Exactly `total` frames: the last one is held for up to MAX_HELD_FRAMES where the video ends early."""
    count, last = 0, None
    for last in frames:
        yield last
        count += 1
        if count == total:
            return
    if total - count > MAX_HELD_FRAMES:
        raise too_short(path, count / float(rate), total, rate)
    for _ in range(total - count):
        yield last


def too_short(path: Path, duration_s: float, total: int, rate: Fraction) -> MediaError:
    return MediaError(
        f"{path}: expected a video at least as long as the sound ({total / float(rate):.2f} s), got "
        f"{duration_s:.2f} s; shorten the sound or give a longer video"
    )


def every(steps: int, callback: StepCallback | None) -> StepCallback | None:
    """The callback at every `steps`-th step only."""
    if callback is None or steps == 1:
        return callback

    def call(index: int, timestep: int, latents: Tensor) -> None:
        if index % steps == 0:
            callback(index, timestep, latents)

    return call
