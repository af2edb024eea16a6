"""The page of a server: what a person sees who opens its address."""

import json
import os
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import gradio as gr
from anyio.to_thread import run_sync
from fastapi import FastAPI

from .. import REPO_ROOT
from . import view
from .errors import Refusal
from .jobs import COMPLETED, ENDED, Job
from .service import SWEEP_EVERY_S, Service
from .still import Still
from .texts import CHINESE, LANGUAGES, Texts

UPDATE_EVERY_S = 0.5
EXAMPLES = [
    [str(REPO_ROOT / f"assets/{name}_{kind}") for kind in ("video.mp4", "audio.wav")]
    for name in ("demo1", "demo2", "demo3")
]
#: Browsers that prefer Chinese get the Chinese page, unless they come from the other one.
_HEAD = f"""<script>
if (navigator.language.startsWith("zh") && !location.pathname.endsWith("/{CHINESE.path}")
    && !document.referrer.startsWith(location.origin))
  location.replace("{CHINESE.path}" + location.search)
</script>"""
_CSS = """
.note { margin: 0; opacity: .85 }
#video video { max-height: 300px }
#result video { max-height: 420px }
.done { margin: 0; font-weight: 600 }
.problem { margin: 0; padding: .6em .8em; border-radius: 6px; border: 1px solid #d97706; background: #d9770622 }
.bar { height: 8px; margin-top: 8px; border-radius: 4px; background: var(--border-color-primary); overflow: hidden }
.bar div { height: 100%; background: var(--primary-500); transition: width .4s }
.preview { display: block; max-height: 420px; margin: auto; border-radius: 6px }
.report { width: 100%; border: 0 !important }
.report th, .report td { padding: 5px 12px 5px 0; border: 0; border-bottom: 1px solid var(--border-color-primary) }
.report th { width: 34%; text-align: left; font-weight: 500; vertical-align: top }
"""
#: The page's address names the job that it shows, so reloading it or coming back does not lose the job.
_TO_ADDRESS = """(id) => {
  const address = new URL(location)
  id ? address.searchParams.set("job", id) : address.searchParams.delete("job")
  history.replaceState(null, "", address)
}"""
_PRIVATE = {"api_visibility": "private", "show_progress": "hidden"}  # of events: the API is the server's own


def mount_page(app: FastAPI, service: Service) -> FastAPI:
    """Add the page to a server's app at `/`, in English, and at `/zh`, in Chinese."""
    settings = service.settings
    os.environ["GRADIO_TEMP_DIR"] = str(service.storage.uploads)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    gr.set_static_paths([service.storage.runs])  # results are played where they lie
    cleaning = round(SWEEP_EVERY_S), max(1, round(3600 * settings.keep_hours))  # how often, how old, in seconds
    blocks = gr.Blocks(title="LatentSync", analytics_enabled=False, delete_cache=cleaning)
    for texts in LANGUAGES:
        with blocks.route(texts.language, texts.path) if texts.path else blocks:
            gr.Navbar(main_page_name=LANGUAGES[0].language)
            _Page(service, texts, blocks)
    blocks.queue(default_concurrency_limit=None, api_open=False)
    blocks.has_launched = True  # which launching sets, not mounting: else clients may name any file of this machine
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "SSR mode is not supported")  # nobody asked for it
        return gr.mount_gradio_app(
            app,
            blocks,
            "/",
            root_path=urlsplit(settings.base_url).path.rstrip("/") or None,
            auth=settings.auth,
            max_file_size=settings.max_upload_bytes,
            show_error=False,  # what nobody expected stays in the log
            footer_links=[],
            run_history=False,
            ssr_mode=False,
            theme=gr.themes.Default(primary_hue="emerald", font=["system-ui", "sans-serif"], font_mono=["monospace"]),
            css=_CSS,
            head=_HEAD,
        )


class _Page:
    """The page in one language, made inside the blocks that it belongs to."""

    def __init__(self, service: Service, texts: Texts, blocks: gr.Blocks) -> None:
        self.service, self.texts = service, texts
        self._id = gr.Textbox(visible="hidden", show_label=False)
        self._still = gr.State(None, time_to_live=3600)
        gr.Markdown(f"# LatentSync\n{texts.about}")
        if next(iter(service.models)) == "demo":
            gr.Markdown(texts.demo_model)
        with gr.Row():
            with gr.Column():
                self._make_inputs()
            with gr.Column():
                self._make_outputs()
        self._connect(blocks)

    def _make_inputs(self) -> None:
        texts, service = self.texts, self.service
        limits = texts.limits.format(
            megabytes=service.settings.max_upload_bytes / 1e6, length=view.length(texts, service.settings.max_seconds)
        )
        self._video = gr.Video(label=texts.video, sources=["upload", "webcam"], elem_id="video")
        self._video_note = gr.HTML(visible=False, elem_id="video_note")
        self._audio = gr.Audio(
            label=texts.audio, sources=["upload", "microphone"], type="filepath", elem_id="audio", editable=False
        )
        self._audio_note = gr.HTML(visible=False, elem_id="audio_note")
        gr.HTML(view.note(limits))
        with gr.Row():
            self._generate = gr.Button(texts.generate, variant="primary", elem_id="generate")
            self._cancel = gr.Button(texts.cancel, variant="stop", visible=False, elem_id="cancel")
        names = list(service.models)
        model = service.models[names[0]]
        guidance = gr.Slider(
            1, 3, model.guidance_scale, step=0.1, label=texts.guidance, info=texts.guidance_info, elem_id="guidance"
        )
        steps = gr.Slider(
            1, 50, model.inference_steps, step=1, label=texts.steps, info=texts.steps_info, elem_id="steps"
        )
        seed = gr.Number(1247, label=texts.seed, info=texts.seed_info, precision=0, elem_id="seed")
        with gr.Accordion(texts.more, open=False, elem_id="more"):
            self._face = gr.Textbox("largest", label=texts.face, info=texts.face_info, max_lines=1, elem_id="face")
            fps = gr.Textbox("25", label=texts.fps, info=texts.fps_info, max_lines=1, elem_id="fps")
            loop = gr.Radio(_choices(texts.loops), value="pingpong", label=texts.loop, elem_id="loop")
            tail = gr.Radio(_choices(texts.tails), value="cut", label=texts.tail, elem_id="tail")
            crf = gr.Slider(0, 51, 18, step=1, label=texts.crf, info=texts.crf_info, elem_id="crf")
            self._model = gr.Dropdown(names, value=names[0], label=texts.model, elem_id="model")
        self._options = {
            "guidance_scale": guidance,
            "inference_steps": steps,
            "seed": seed,
            "face": self._face,
            "fps": fps,
            "loop": loop,
            "tail": tail,
            "crf": crf,
            "model": self._model,
        }

    def _make_outputs(self) -> None:
        texts = self.texts
        self._status = gr.HTML(visible=False, elem_id="status")
        self._preview = gr.HTML(visible=False, elem_id="preview")
        self._result = gr.Video(
            label=texts.result, interactive=False, visible=False, buttons=["download"], elem_id="result"
        )
        self._compared = gr.ImageSlider(
            label=texts.compared, interactive=False, visible=False, buttons=[], elem_id="compared"
        )
        self._report = gr.HTML(visible=False, label=texts.report, elem_id="report")
        self._picture = gr.Image(
            label=texts.still, interactive=False, visible=False, format="jpeg", height=340, buttons=[], elem_id="still"
        )
        self._face_note = gr.HTML(visible=False, elem_id="face_note")
        if examples := [pair for pair in EXAMPLES if all(map(os.path.isfile, pair))]:
            gr.Examples(examples, [self._video, self._audio], label=texts.examples, elem_id="examples")

    def _connect(self, blocks: gr.Blocks) -> None:
        seen = [self._still, self._picture, self._face_note, self._video_note, self._face]
        self._video.change(self._look, self._video, seen, **_PRIVATE)
        self._audio.change(self._hear, self._audio, self._audio_note, **_PRIVATE)
        self._picture.select(self._choose, self._still, self._face, **_PRIVATE)
        drawn = [self._picture, self._face_note]
        self._face.change(self._show_faces, [self._still, self._face], drawn, **_PRIVATE)
        defaults = [self._options["inference_steps"], self._options["guidance_scale"]]
        self._model.change(self._model_defaults, self._model, defaults, **_PRIVATE)
        self._shown = [self._id, self._generate, self._cancel, self._status, self._preview]
        self._shown += [self._result, self._compared, self._report]
        given = [self._video, self._audio, *self._options.values()]
        self._generate.click(self._make, given, self._shown, **_PRIVATE)
        self._cancel.click(self._stop, self._id, None, **_PRIVATE)
        self._id.change(None, self._id, None, js=_TO_ADDRESS, **_PRIVATE)
        blocks.load(self._return, None, self._shown, **_PRIVATE)

    # Before

    def _look(self, video: str | None) -> Iterator[tuple]:
        """Show whose lips will move, or why this video cannot be used."""
        hidden, same = gr.update(visible=False), gr.skip()
        if video is None:
            yield None, hidden, hidden, hidden, same
            return
        yield None, hidden, hidden, _shown(view.note(self.texts.sending)), same
        try:
            still = self.service.look(Path(video))
        except Refusal as refusal:
            yield None, hidden, hidden, _shown(view.problem(self.texts, refusal.sentence)), same
            return
        yield still, *self._show_faces(still, "largest"), hidden, "largest"

    def _hear(self, audio: str | None) -> dict[str, Any]:
        """Say why this sound cannot be used."""
        try:
            if audio is not None:
                self.service.check_file("audio", Path(audio))
        except Refusal as refusal:
            return _shown(view.problem(self.texts, refusal.sentence))
        return gr.update(visible=False)

    def _choose(self, still: Still | None, event: gr.SelectData) -> Any:
        """The face that was clicked."""
        face = still and still.face_at(*event.index)
        return face or gr.skip()

    def _show_faces(self, still: Still | None, face: str) -> tuple:
        if still is None:
            return gr.skip(), gr.skip()
        return _shown(still.drawn(face)), _shown(view.face_note(self.texts, still, face))

    def _model_defaults(self, name: str) -> tuple[int, float]:
        model = self.service.models[name]
        return model.inference_steps, model.guidance_scale

    # While it is made, and after

    async def _make(self, video: str | None, audio: str | None, *options: Any) -> AsyncIterator[list]:
        """Queue a job and show it to its end."""
        if video is None or audio is None:
            missing = self.texts.no_video if video is None else self.texts.no_audio
            yield self._update(status=view.problem(self.texts, missing))
            return
        yield self._update(busy=True, status=view.note(self.texts.sending), fresh=True)
        given = dict(zip(self._options, options, strict=True))
        given = json.dumps({name: value for name, value in given.items() if value is not None})
        try:
            job = await run_sync(self.service.submit_files, Path(video), Path(audio), given)
        except Refusal as refusal:
            yield self._update(status=view.problem(self.texts, refusal.sentence))
            return
        async for update in self._watch(job.id):
            yield update

    def _stop(self, id: str) -> None:
        """Cancel a job; whoever watches it sees that."""
        self.service.cancel(id)

    async def _return(self, request: gr.Request) -> AsyncIterator[list]:
        """Show the job that the page's address names."""
        id = request.query_params.get("job")
        if not id:
            yield [gr.skip()] * len(self._shown)
            return
        async for update in self._watch(id):
            yield update

    async def _watch(self, id: str) -> AsyncIterator[list]:
        last, estimate = None, view.Estimate()
        while True:
            job = await run_sync(self.service.store.get, id)
            if job is None:
                gone = self.texts.gone.format(hours=self.service.settings.keep_hours)
                yield self._update(id=id, status=view.note(gone))
                return
            if job.status in ENDED:
                yield self._ended(job)
                return
            now = self._update(
                id=id,
                busy=True,
                status=view.status(self.texts, job, self.service.settings.keep_hours, estimate(job)),
                jpeg=self.service.preview(id),
            )
            if now != last:
                yield now
            last = now
            await anyio.sleep(UPDATE_EVERY_S)

    def _ended(self, job: Job) -> list:
        told = view.status(self.texts, job, self.service.settings.keep_hours)
        if job.status != COMPLETED:
            return self._update(id=job.id, status=told)
        pictures = self.service.storage.compared(job.id)
        return self._update(
            id=job.id,
            status=told,
            result=str(self.service.storage.result(job.id)),
            compared=tuple(map(str, pictures)) if all(path.is_file() for path in pictures) else None,
            report=view.report(self.texts, job),
        )

    def _update(
        self,
        *,
        id: str | None = None,
        busy: bool = False,
        status: str,
        jpeg: bytes | None = None,
        fresh: bool = False,
        result: str | None = None,
        compared: tuple[str, str] | None = None,
        report: str | None = None,
    ) -> list:
        """What `_shown` becomes; the results of an earlier job stay until another one begins, which is `fresh`."""

        def after(value: Any) -> dict[str, Any]:
            if value is not None:
                return _shown(value)
            return gr.update(value=None, visible=False) if fresh else gr.skip()

        return [
            gr.skip() if id is None else id,
            gr.update(interactive=not busy),
            gr.update(visible=busy),
            _shown(status),
            _shown(view.picture(jpeg)) if jpeg and busy else gr.update(visible=busy and jpeg is not None),
            after(result),
            after(compared),
            after(report),
        ]


def _shown(value: Any) -> dict[str, Any]:
    return gr.update(value=value, visible=True)


def _choices(texts: dict[str, str]) -> list[tuple[str, str]]:
    """Choices of a component: what is shown, and its value."""
    return [(text, value) for value, text in texts.items()]
