"""Draw what happens to a frame: the face that is found, the network's square, its input, and what may change.

python -m scripts.draw_stages VIDEO OUT.png --frame 30
"""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

from latentsync.errors import LatentSyncError, NoFaceError
from latentsync.face.align import FaceAligner, frame_to_square
from latentsync.face.detect import Face, MediaPipeDetector
from latentsync.face.mask import fixed_mask
from latentsync.face.paste import paste_weight
from latentsync.face.warp import inverse
from latentsync.media.ffmpeg import decode_frames
from scripts.inference import DEMO_VIDEO

HEIGHT, GAP = 384, 12  # pixels
GREEN, ORANGE = (60, 200, 90), (255, 140, 0)


def find_face(frame: np.ndarray, source: Path) -> tuple[Face, np.ndarray]:
    """The largest face of a frame and its three alignment points (3, 2). Raises NoFaceError."""
    with MediaPipeDetector() as detector:
        faces = detector(frame)
        if not faces:
            raise NoFaceError(f"{source}: no face found in this frame; choose another with --frame")
        return faces[0], detector.alignment_points(faces[0].landmarks)


def draw_stages(frame: np.ndarray, face: Face, points: np.ndarray, resolution: int = 256) -> np.ndarray:
    """Four pictures side by side, (HEIGHT, w, 3) uint8 RGB, of a frame (h, w, 3) uint8 RGB."""
    aligner = FaceAligner(resolution)
    matrix = aligner.matrix(points)
    square = aligner.crop(frame, matrix).permute(1, 2, 0).numpy()
    mask = fixed_mask(resolution)
    to_square = frame_to_square(matrix, resolution)
    corners = np.array([(0, 0, 1), (resolution, 0, 1), (resolution, resolution, 1), (0, resolution, 1)])
    outline = (corners @ inverse(to_square).T).round().astype(np.int32)
    thick = max(1, frame.shape[0] // 300)

    found = cv2.polylines(frame.copy(), [outline], True, GREEN, 2 * thick, cv2.LINE_AA)
    for x, y in face.landmarks:
        cv2.circle(found, (round(float(x)), round(float(y))), thick, GREEN, -1, cv2.LINE_AA)
    for x, y in points:
        cv2.circle(found, (round(float(x)), round(float(y))), 4 * thick, ORANGE, -1, cv2.LINE_AA)

    network_input = np.where(mask[0].numpy()[..., None] >= 0.5, square, 127).astype(np.uint8)
    size = frame.shape[1::-1]
    weight = cv2.warpAffine(paste_weight(mask), to_square, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    tint = 0.55 * weight[..., None]
    changed = (frame * (1 - tint) + np.array(ORANGE) * tint).round().astype(np.uint8)
    return side_by_side([found, square, network_input, changed])


def side_by_side(pictures: list[np.ndarray]) -> np.ndarray:
    """Pictures of one height on white, with gaps."""
    row = []
    for picture in pictures:
        width = round(picture.shape[1] * HEIGHT / picture.shape[0])
        row += [cv2.resize(picture, (width, HEIGHT), interpolation=cv2.INTER_AREA), np.full((HEIGHT, GAP, 3), 255)]
    return np.hstack(row[:-1]).astype(np.uint8)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("video", nargs="?", type=Path, default=DEMO_VIDEO)
    parser.add_argument("out", nargs="?", type=Path, default=Path("stages.png"))
    parser.add_argument("--frame", type=int, default=0, help="counted from 0 at 25 frames/s")
    args = parser.parse_args()
    try:
        *_, frame = decode_frames(args.video, n_frames=args.frame + 1)
        picture = draw_stages(frame, *find_face(frame, args.video))
    except LatentSyncError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    cv2.imwrite(str(args.out), picture[..., ::-1])
    return 0


if __name__ == "__main__":
    sys.exit(main())
