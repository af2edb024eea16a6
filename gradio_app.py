"""A page in the browser, and an HTTP API, that make lips follow a sound.

    python gradio_app.py [flags]
"""

import argparse
import logging
import os
import socket
import sys
import webbrowser
from argparse import Namespace
from pathlib import Path
from secrets import token_urlsafe
from typing import Any

from scripts import environment

if __name__ == "__main__":
    environment.enter("gradio")

import uvicorn

from latentsync import REPO_ROOT
from latentsync.build import DEMO_UNET, OFFICIAL_UNET, choose_device
from latentsync.errors import ConfigError, LatentSyncError
from latentsync.memory import share_one_heap
from latentsync.schema import UNetConfig
from latentsync.service.api import build_app
from latentsync.service.page import mount_page
from latentsync.service.runner import Model
from latentsync.service.settings import Settings
from scripts import inference
from scripts.parser import Parser

PORTS = range(7860, 7880)  # the first free one is taken where none is asked for
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def parser() -> argparse.ArgumentParser:
    p = Parser(prog="gradio_app", description="A page in the browser, and an HTTP API, that make lips follow a sound.")
    add = p.add_argument_group("the server").add_argument
    add("--host", default="127.0.0.1", help="0.0.0.0 lets other machines in (%(default)s: only this one)")
    add("--port", type=int, help=f"default: the first free one from {PORTS[0]} on")
    add("--share", action="store_true", help="a public link for some days, through Gradio's servers")
    add("--auth", metavar="USER:PASSWORD", help="what the page, and the API without a key, ask for")
    add("--api_key", default=os.environ.get("LATENTSYNC_API_KEY"), help="for the API (default: $LATENTSYNC_API_KEY)")
    add("--base_url", default="", help="the address behind a proxy, such as https://lips.example.org")
    add("--allow_private_webhooks", action="store_true", help="also call addresses that are not public")
    add("--no_browser", action="store_true", help="do not open the page")
    add = p.add_argument_group("the work").add_argument
    add("--devices", "--device", default="auto", help="cuda:0,cuda:1 work side by side (%(default)s)")
    add("--data", default=str(REPO_ROOT / "data/service"), help="folder of the queue and the videos (data/service)")
    add("--keep_hours", type=float, default=24, help="that a video stays after its end (%(default)s)")
    add("--max_upload_mb", type=float, default=500, help="of a video and its sound together (%(default)s)")
    add("--max_seconds", type=float, default=600, help="of a video and of a sound (%(default)s)")
    add("--max_queue", type=int, default=100, help="videos that wait (%(default)s)")
    add("--debug", action="store_true", help="tracebacks and more messages")
    inference.add_speed_flags(p)
    inference.add_weight_flags(p)
    p.set_defaults(enable_deepcache=True)
    return p


def parse(argv: list[str] | None = None) -> Namespace:
    p = parser()
    args = Namespace(**(vars(inference.parser().parse_args([])) | vars(p.parse_args(argv))))
    args.auth = args.auth and tuple(args.auth.split(":", 1))
    if args.auth and not (len(args.auth) == 2 and all(args.auth)):
        p.error("--auth: expected USER:PASSWORD")
    inference.check_model_flags(p, args)
    for name in ("keep_hours", "max_upload_mb", "max_seconds", "max_queue"):
        if not getattr(args, name) > 0:
            p.error(f"--{name} {getattr(args, name)}: expected more than 0")
    return args


def choose_models(args: Namespace) -> dict[str, tuple[UNetConfig, Namespace]]:
    """Configuration and flags of each model that is served, by its name; the first is the default.

    Raises LatentSyncError.
    """
    if args.inference_ckpt_path:
        names = [Path(args.inference_ckpt_path).stem]
    else:
        there = [
            name for name, file in zip(inference.MODELS, (OFFICIAL_UNET, DEMO_UNET), strict=True) if file.is_file()
        ]
        names = [args.model] if args.model else there or [None]
    chosen = {}
    for name in names:
        flags = Namespace(**vars(args))
        if not args.inference_ckpt_path:
            flags.model = name
        chosen[name] = inference.choose_weights(flags), flags
    return chosen


def choose_devices(text: str) -> tuple[str, ...]:
    """The devices that are named, "auto" resolved. Raises ConfigError."""
    devices = tuple(str(choose_device(name.strip())) for name in text.split(","))
    if len(set(devices)) < len(devices):
        raise ConfigError(f"--devices {text}: expected each device once")
    return devices


def load_model(cfg: UNetConfig, flags: Namespace, device: str) -> Model:
    """The networks on a device. Raises LatentSyncError."""

    def settings(options: dict[str, Any]) -> dict[str, Any]:
        given = {name: value for name, value in options.items() if value is not None}
        return inference.call_settings(cfg, Namespace(**(vars(flags) | given)))

    defaults = settings({})
    pipeline = inference.load_pipeline(cfg, flags, device)
    print(f"Loaded on {pipeline.device}, {pipeline.unet.dtype}", file=sys.stderr)
    return Model(pipeline, settings, defaults["num_inference_steps"], defaults["guidance_scale"])


def listen(host: str, port: int | None) -> socket.socket:
    """A socket on the port, or on the first free one. Raises ConfigError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in PORTS if port is None else [port]:
        found = socket.socket(family)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind((host, candidate))
        except (OSError, OverflowError) as error:
            found.close()
            why = error
        else:
            return found
    asked = f"port {port}" if port is not None else f"any port from {PORTS[0]} to {PORTS[-1]}"
    raise ConfigError(f"{host}: the server cannot use {asked} ({why}); choose another --port or --host") from why


def share(host: str, port: int) -> str:
    """A public address of this server. Raises ConfigError."""
    from gradio.networking import setup_tunnel

    try:
        return setup_tunnel(host, port, token_urlsafe(32), None, None)
    except Exception as error:  # of the network, a download, a missing binary
        raise ConfigError(f"--share: no public link could be made ({error}); leave it out or use a proxy") from error


def can_show_a_page() -> bool:
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def serve(args: Namespace) -> None:
    """Serve until a signal. Raises LatentSyncError."""
    models, devices = choose_models(args), choose_devices(args.devices)
    with listen(args.host, args.port) as found:
        port = found.getsockname()[1]
        local = args.host in LOOPBACK and not args.share
        settings = Settings(
            Path(args.data),
            devices=devices,
            models=tuple(models),
            max_upload_bytes=round(args.max_upload_mb * 1e6),
            max_seconds=args.max_seconds,
            max_queue=args.max_queue,
            keep_hours=args.keep_hours,
            api_key=args.api_key,
            auth=args.auth,
            hosts=LOOPBACK if local else (),
            allow_private_webhooks=args.allow_private_webhooks,
            base_url=args.base_url,
        )
        app = build_app(settings, lambda device, name: load_model(*models[name], device))
        mount_page(app, app.state.service)
        name = f"[{args.host}]" if ":" in args.host else args.host
        url = f"http://{'127.0.0.1' if name in ('0.0.0.0', '[::]') else name}:{port}"
        if args.share:
            print(f"Public link: {share('127.0.0.1', port)}", file=sys.stderr)
            if not args.auth:
                print("Whoever has this link can use the server; --auth USER:PASSWORD closes it.", file=sys.stderr)
        found.listen()  # whoever comes before the server runs waits for it
        print(f"Open {url} in a browser; Ctrl-C ends the server.", file=sys.stderr)
        if local and not args.no_browser and can_show_a_page():
            webbrowser.open(url)
        level = "info" if args.debug else "warning"
        # Pages hold connections open for as long as they are shown.
        config = uvicorn.Config(app, log_level=level, timeout_graceful_shutdown=2)
        uvicorn.Server(config).run(sockets=[found])


def cli(argv: list[str] | None = None) -> int:
    args = parse(argv)
    share_one_heap()
    logging.basicConfig(level=logging.INFO if args.debug else logging.WARNING, format="%(message)s")
    try:
        serve(args)
    except LatentSyncError as error:
        if args.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("ended; the queue goes on at the next start", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":  # uploads are looked at in processes that import this file
    sys.exit(cli())
