"""The lip sync of one video, as a stream: memory does not depend on its length."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler
from torch import Tensor

from latentsync.diffusion import latents as lat
from latentsync.diffusion.sampler import StepCallback, denoise
from latentsync.errors import ConfigError, MemoryLimitError, NoFaceError
from latentsync.face.align import FaceAligner
from latentsync.face.detect import FaceDetector, MediaPipeDetector
from latentsync.face.mask import fixed_mask
from latentsync.face.paste import FacePaster, paste_crop
from latentsync.face.track import FaceChoice, parse_face
from latentsync.media.ffmpeg import VideoWriter, decode_audio, decode_frames
from latentsync.media.loop import looped_frames
from latentsync.media.stream import map_ahead, prefetch
from latentsync.models.unet import UNet3DConditionModel
from latentsync.options import InferenceOptions
from latentsync.types import AlignedFace, SyncedFace, VideoInfo, Window
from latentsync.whisper.audio2feature import Audio2Feature

from .faces import align_faces
from .inbetween import key_step, sync_keys
from .job import check_job, temporary_folder
from .report import LipsyncReport, Stopwatch
from .windows import Item, cut_windows

FrameCallback = Callable[[np.ndarray, np.ndarray], None]

SAMPLE_RATE = 16000  # Hz, what the audio encoder hears
FRAME_RATE = 25  # Hz, what the networks were trained on

#: Frames that wait before and after networks which run on the CPU, where they take nearly all of the time.
DEPTH = 2


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
        self.idle_detectors: list[FaceDetector] = []  # made for earlier runs: each run takes one, or makes it

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
        video_fps: int | Fraction | None = FRAME_RATE,
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
        face: str = "largest",
        loop: str = "pingpong",
        tail: str = "cut",
        crf: int = 18,
        preset: str | None = None,
        codec: str = "libx264",
        cache_interval: int = 1,
        windows_per_call: int = 1,
        progress: Callable[[int, int], None] | None = None,
        on_frame: FrameCallback | None = None,
        **ignored,
    ) -> LipsyncReport:
        """Make the lips of `video_path` follow `audio_path`.

        Args:
            num_frames: frames of a window, 1...24 with motion modules.
            video_fps: of the output, at a constant rate; None is the source's average.
            height, width: equal, a multiple of 8; the pipeline's resolution if None.
            guidance_scale: 1 or less switches guidance off.
            weight_dtype: accepted for old callers; the networks' own dtypes count.
            temp_dir: parent of the temporary folder, the system's if None; nothing else in it is touched.
            generator: of all random numbers; torch's default one if None.
            callback: called with (step, time step, latents) at every `callback_steps`-th step.
            face: whose lips: "largest", an index counted from the left, or "x,y" in pixels.
            loop: where the sound outlasts the video: "pingpong", "loop", "freeze" or "cut".
            tail: where the video outlasts the sound: "cut", or "keep" its other frames, with silence.
            crf, preset, codec: of the encoder; its own preset if None.
            cache_interval: 1 is exact, 3 reuses deep features as DeepCache does.
            windows_per_call: windows stacked in one call of the networks.
            progress: called with (frames done, frames in all).
            on_frame: called in another thread, in order, with each frame as it was and as it became, (h, w, 3) uint8
                RGB both; they are not to be written to. What it raises ends the run.

        Raises MediaError, NoFaceError, ConfigError or MemoryLimitError; then `video_out_path` is what it was.
        """
        resolution = self._resolution(height, width)
        encoder = {"crf": crf, "preset": preset, "codec": codec}
        info = check_job(
            video_path, audio_path, video_out_path, face=face, loop=loop, tail=tail, temp_dir=temp_dir, **encoder
        )
        if audio_sample_rate != SAMPLE_RATE:
            raise ConfigError(
                f"expected audio_sample_rate {SAMPLE_RATE}, got {audio_sample_rate}; leave it out, any sound is "
                "converted"
            )
        mask = fixed_mask(resolution, mask_image_path)
        rate = info.rate if video_fps is None else Fraction(video_fps).limit_denominator(1_000_000)
        clock = Stopwatch()
        with temporary_folder(temp_dir) as folder:
            with clock("sound"):
                samples = decode_audio(Path(audio_path), Path(folder), sample_rate=audio_sample_rate)
            total = frame_count(len(samples), rate, exact=self.options.exact_frame_count)
            frames = self._frames(info, rate, total, loop, tail, Path(folder))
            settings = {
                "steps": num_inference_steps,
                "guidance_scale": guidance_scale,
                "eta": eta,
                "cache_interval": cache_interval,
                "callback": every(callback_steps, callback),
            }

            def sync(items: Iterable[Item]) -> Iterator[SyncedFace]:
                breaks = self.options.fill_windows
                windows = cut_windows(items, num_frames, fill=self.options.fill_windows, breaks=breaks)
                return self._sync(windows, mask, windows_per_call, generator, settings, clock)

            # A GPU shall find the next call's frames ready.
            depth = DEPTH if self.device.type == "cpu" else num_frames * windows_per_call
            report = LipsyncReport(seconds=clock.seconds)
            writer = VideoWriter(
                Path(video_out_path),
                info.width,
                info.height,
                rate,
                audio=Path(audio_path),
                pad_after_s=Fraction(len(samples), audio_sample_rate) if tail == "keep" else None,
                **encoder,
            )
            with closing(frames), writer:
                decoded = clock.each("decode", frames)
                aligned = self._align(islice(decoded, total), resolution, parse_face(face), rate, clock)
                with closing(prefetch(aligned, depth)) as faces:
                    audio = clock.each("sound", self.audio_encoder.stream(samples, total, rate))
                    synced = sync_keys(zip(faces, audio, strict=False), key_step(rate), sync)
                    with closing(map_ahead(self._finisher(mask, writer, clock, on_frame), synced, depth)) as finished:
                        for has_face in finished:
                            report.add(has_face=has_face)
                            if progress is not None:
                                progress(report.frames, total)
                if report.n_faceless == report.frames:
                    chosen = "" if face == "largest" else f" that answers the choice {face!r}"
                    raise NoFaceError(
                        f"{video_path}: no face found{chosen} in any of {report.frames} frames; expected one at least "
                        "64 pixels wide and turned towards the camera, so enlarge the video or choose another"
                    )
                for _, frame in decoded:  # the tail that is kept
                    writer.write(frame)
                    report.tail += 1
            return report

    def _resolution(self, height: int | None, width: int | None) -> int:
        resolution = height or width or self.resolution
        if (width or resolution) != resolution or resolution % lat.DOWNSAMPLE:
            raise ConfigError(
                f"expected equal height and width, a multiple of {lat.DOWNSAMPLE}, got {height} and {width}; "
                f"leave both out to use {self.resolution}"
            )
        return resolution

    @staticmethod
    def _frames(
        info: VideoInfo, rate: Fraction, total: int, loop: str, tail: str, folder: Path
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Source numbers and frames: `total` of them, fewer where the video is cut short, more where its tail stays."""
        keep = tail == "keep"
        if loop == "cut":
            with closing(decode_frames(info, rate, n_frames=None if keep else total)) as frames:
                yield from enumerate(frames)
        else:
            yield from looped_frames(info, rate, total, loop, folder, whole=keep)

    def _align(
        self,
        frames: Iterable[tuple[int, np.ndarray]],
        resolution: int,
        choice: FaceChoice,
        rate: Fraction,
        clock: Stopwatch,
    ) -> Iterator[AlignedFace]:
        """The aligned face of each frame; runs in a thread of its own."""
        with self.borrowed_detector() as detector:
            aligner = FaceAligner(
                resolution,
                reference=not self.options.precise_alignment,
                alignment_points=detector.alignment_points,
            )
            aligned = align_faces(frames, aligner, detector, choice=choice, rate=rate, options=self.options)
            yield from clock.each("decode and align", aligned)

    @contextmanager
    def borrowed_detector(self) -> Iterator[FaceDetector]:
        """A detector that no other run uses meanwhile."""
        try:
            detector = self.idle_detectors.pop()
        except IndexError:
            detector = self.detector()
        try:
            yield detector
        finally:
            self.idle_detectors.append(detector)

    def _sync(
        self,
        windows: Iterable[Window | AlignedFace],
        mask: Tensor,
        windows_per_call: int,
        generator: torch.Generator | None,
        settings: dict,
        clock: Stopwatch,
    ) -> Iterator[SyncedFace]:
        """Run the networks; frames come out in order, and one without a face waits for nothing after it.

        On a GPU the results of one call come out when the next one is under way, so that it never pauses.
        """
        generator = generator or self._default_generator()
        side = mask.shape[-1] // lat.DOWNSAMPLE
        noise = lat.draw((1, 4, 1, side, side), generator, self.unet.conv_in.weight)
        mask = mask.to(self.device)
        batch: list[Window] = []
        launched: deque[tuple[deque[SyncedFace], torch.cuda.Event | None]] = deque()

        def run(*, wait: bool) -> Iterator[SyncedFace]:
            """Start the networks on the batch; then what is ready, or with `wait` everything."""
            if batch:
                lower = "--windows_per_call 1" if len(batch) > 1 else "--dtype bf16 or a configuration of 256 pixels"
                windows = "a window" if len(batch) == 1 else f"{len(batch)} windows"
                doing = f"with {windows} of {mask.shape[-1]} pixels in a call"
                with clock("networks"), memory_errors(doing, lower):
                    synced = deque(self.sync_windows(batch, mask, noise, generator, **settings))
                    launched.append((synced, arrival(self.device)))
                batch.clear()  # here and below, nothing but its way out holds a frame
            while launched and (wait or len(launched) > 1 or launched[0][1] is None):
                synced, arrived = launched.popleft()
                if arrived is not None:
                    with clock("networks"):
                        arrived.synchronize()
                while synced:
                    yield synced.popleft()

        for item in windows:
            if isinstance(item, AlignedFace):
                yield from run(wait=True)
                yield SyncedFace(item.index, item.frame, None, None)
                continue
            if batch and len(item.faces) != len(batch[0].faces):
                yield from run(wait=False)  # the public rule's short last window: clips of one length stack
            batch.append(item)
            del item
            if len(batch) == windows_per_call:
                yield from run(wait=False)
        yield from run(wait=True)

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

        On a GPU this only starts the work: crops are there when an event that is recorded afterwards has come.

        Args:
            mask: (1, r, r), 1 = keep.
            noise: (1, 4, 1, h, w) start noise, the same for every frame.
            generator: draws posterior samples, window by window, where the options want them.
            settings: keyword arguments of `denoise`.
        """
        frames, device, dtype = len(windows[0].faces), self.device, self.unet.dtype
        crops = torch.stack([face.crop for window in windows for face in window.faces])
        pixels = lat.to_pixel_values(send(crops, device))
        mask = mask.to(device)
        masked = self._encode(lat.mask_pixels(pixels, mask), pixels, frames, generator)
        context = lat.assemble(lat.latent_mask(mask), *(lat.to_clips(z, frames) for z in masked)).to(dtype)
        audio = send(torch.stack([window.audio for window in windows]), device).to(dtype)
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
        decoded = fetch(decoded).unflatten(0, (len(windows), frames))
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

    def _finisher(
        self, mask: Tensor, writer: VideoWriter, clock: Stopwatch, on_frame: FrameCallback | None
    ) -> Callable[[SyncedFace], bool]:
        """A function that puts a face back and writes its frame; whether it has one."""
        paste = FacePaster(mask) if self.options.paste_mouth_only else paste_crop

        def finish(face: SyncedFace) -> bool:
            frame = face.frame
            if face.pose is not None:
                with clock("paste"):
                    frame = paste(frame, face.crop, face.pose.matrix)
            with clock("encode"):
                writer.write(frame)
            if on_frame is not None:
                on_frame(face.frame, frame)
            return face.pose is not None

        return finish


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor on the device. Pinned, as a copy from pageable memory to a GPU waits for all work before it."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def fetch(tensor: Tensor) -> Tensor:
    """A device's tensor on the CPU. From CUDA it is a pinned copy, complete when an `arrival` after it has come.

    Other devices have no such event here, so their copies are waited for.
    """
    return tensor.to("cpu", non_blocking=tensor.device.type == "cuda")


def arrival(device: torch.device) -> torch.cuda.Event | None:
    """An event that comes when the work started so far is done; None where work is done when it returns."""
    if device.type != "cuda":
        return None
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(device))
    return event


@contextmanager
def memory_errors(doing: str, lower: str) -> Iterator[None]:
    """Turn the allocators' errors into one that says what to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "allocate memory" not in str(error):
            raise
        raise MemoryLimitError(f"out of memory {doing}; free some or use {lower}") from error


def every(steps: int, callback: StepCallback | None) -> StepCallback | None:
    """The callback at every `steps`-th step only."""
    if callback is None or steps == 1:
        return callback

    def call(index: int, timestep: int, latents: Tensor) -> None:
        if index % steps == 0:
            callback(index, timestep, latents)

    return call
