"""Draw the pictures of docs/synthetic.md: many drawn people, and some moments of one who speaks.

python -m scripts.draw_people docs/people.jpg docs/speaking.jpg
"""

import argparse
import sys
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from latentsync.errors import LatentSyncError
from latentsync.files import atomic_path
from latentsync.synthetic.background import background
from latentsync.synthetic.canvas import Canvas
from latentsync.synthetic.clip import Clip, ClipFrame
from latentsync.synthetic.head import TalkingHead
from latentsync.synthetic.pose import Pose
from latentsync.synthetic.seeds import stream
from latentsync.synthetic.spec import ClipSpec

SIDE, COLUMNS = 256, 6  # of a person in the sheet
MOMENTS, SHOWN = 9, (150, 178)  # of the speaker: how many, and width and height of each
CURVE = 90  # height of the plot under them, pixels


def people(count: int, first: int) -> np.ndarray:
    """A sheet (h, w, 3) uint8 RGB of the people with the seeds from `first` on."""
    sheet = []
    for seed in range(first, first + count):
        rng = stream(seed, "sheet")
        canvas = Canvas(SIDE, SIDE)
        canvas.clear(background(rng, SIDE, SIDE))
        mouth = np.array([max(rng.uniform(-0.3, 0.4), 0), rng.uniform(0, 0.3), 0, 0.1, 0, 0.2, 0])
        yaw, pitch, roll = rng.uniform(-1, 1, 3) * (0.4, 0.08, 0.08)
        pose = Pose(SIDE / 2, SIDE * 0.47, SIDE * 0.44, yaw, pitch, roll, smile=rng.uniform(0, 0.6))
        TalkingHead(seed).draw(canvas, mouth, pose)
        sheet.append(canvas.picture())
    blank = [np.full_like(sheet[0], 255)] * (-count % COLUMNS)
    rows = [np.hstack((sheet + blank)[i : i + COLUMNS]) for i in range(0, count, COLUMNS)]
    return np.vstack(rows)


def speaking(spec: ClipSpec, start: int, step: int) -> np.ndarray:
    """Moments of a clip, and below them the lips' distance over time with what is spoken."""
    clip = Clip(spec)
    frames = list(islice(clip.frames(), start, start + MOMENTS * step))
    moments = np.hstack([_face(frame) for frame in frames[::step]])
    plot = np.full((CURVE, moments.shape[1], 3), 255, np.uint8)
    gaps = np.array([frame.faces[0].truth.lip_gap for frame in frames])
    x = (np.arange(len(gaps)) + 0.5) / len(gaps) * plot.shape[1]
    y = CURVE - 24 - gaps / gaps.max() * (CURVE - 34)
    curve = np.round(np.stack([x, y], axis=1) * 16).astype(np.int32)
    cv2.polylines(plot, [curve], False, (200, 60, 50), 2, cv2.LINE_AA, 4)
    for i in range(0, len(gaps), step):
        cv2.circle(plot, (int(curve[i, 0]) >> 4, int(curve[i, 1]) >> 4), 4, (40, 40, 40), -1, cv2.LINE_AA)
    for begin, end in closed_spans(clip, start, len(gaps)):
        a, b = (int(v / len(gaps) * plot.shape[1]) for v in (begin, end))
        cv2.rectangle(plot, (a, CURVE - 16), (b, CURVE - 8), (60, 90, 190), -1)
    return np.vstack([moments, plot])


def closed_spans(clip: Clip, start: int, count: int) -> list[tuple[float, float]]:
    """When p, b and m hold the lips closed, in frames from `start`."""
    from latentsync.synthetic.mouth import closed_intervals

    fps = float(clip.spec.fps)
    spans = [(a * fps - start, b * fps - start) for a, b in closed_intervals(clip.words(0).phonemes)]
    return [(max(a, 0.0), min(b, float(count))) for a, b in spans if b > 0 and a < count]


def _face(frame: ClipFrame) -> np.ndarray:
    truth, size = frame.faces[0].truth, frame.faces[0].pose.size
    width, height = SHOWN
    scale = height / (size * 1.15)
    x, y = truth.landmarks[4] + (0, size * 0.05)
    matrix = np.array([[scale, 0, width / 2 - scale * x], [0, scale, height / 2 - scale * y]])
    return cv2.warpAffine(frame.picture, matrix, SHOWN, flags=cv2.INTER_AREA)


def save(picture: np.ndarray, path: Path) -> None:
    with atomic_path(path) as temporary:
        cv2.imwrite(str(temporary), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])


def main() -> int:
    parser = argparse.ArgumentParser(description="Draw the pictures of docs/synthetic.md.")
    parser.add_argument("people", type=Path, help="the sheet of people, .jpg or .png")
    parser.add_argument("speaking", type=Path, nargs="?", help="the moments of a speaker")
    parser.add_argument("--count", type=int, default=24, help="people (%(default)s)")
    parser.add_argument("--first", type=int, default=0, help="seed of the first (%(default)s)")
    args = parser.parse_args()
    try:
        save(people(args.count, args.first), args.people)
        if args.speaking:
            text = "Maybe Peter Piper bought a beautiful moon for my mother."
            spec = ClipSpec(seed=4, identities=(12,), text=text, voice="gmw/en-US+f2", lead_s=0.2, trail_s=0.4)
            save(speaking(spec, start=6, step=4), args.speaking)
    except LatentSyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
