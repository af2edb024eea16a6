"""A person that can be drawn: mesh, textures and light of an identity, posed and rendered without GPU."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import cv2
import numpy as np
from scipy import sparse

from . import rig
from .body import Piece, dress, ears
from .cage import EYE_RADIUS, FACE_HEIGHT, LOWER_LIP, UPPER_LIP, cage, eye_ring, mouth_ring
from .canvas import Canvas
from .features import cavity, cavity_triangles, eyeball_mesh, eyeball_texture, mouth_parts, plain
from .hair import Strands, beard, brows, lashes, scalp_hair
from .identity import Identity, person
from .light import occlusion, view_along
from .pose import FaceTruth, Pose
from .raster import (
    draw_strands,
    lay_over,
    light_strands,
    place_strands,
    project,
    rasterise,
    shade,
    shadow_points,
    transform,
    vertex_normals,
)
from .skin import beard_mask, paint, texture_coordinates
from .subdivide import subdivide
from .wear import under_cap, wear

CAMERA = 85.0  # centimetres from the face
PIVOT = np.array([0.0, -7.0, -8.0])  # about which a head turns
SHADOW_SIDE = 288  # pixels of the shadow map
SHADOW_CM = 46.0  # its width
LEVELS = 2
SKIN = np.array([0.50, 0.28, 0.20, 0.55, 30.0, 1.0, 0, 1.0], np.float32)
EYE = np.array([0.25, 0.18, 0.15, 1.2, 1500.0, 0.0, 0, 0], np.float32)
CLOTH = np.array([0.15, 0.12, 0.12, 0.3, 6.0, 1.0, 0, 0], np.float32)
FRAME = np.array([0.15, 0.15, 0.15, 1.0, 60.0, 0.0, 0, 0], np.float32)
MATERIALS = {"skin": SKIN, "cloth": CLOTH, "frame": FRAME}
INSIDE = np.array([0.30, 0.25, 0.22, 0.12, 40.0, 0.0, 1.0, 0], np.float32)


@dataclass
class Part:
    """One mesh of a head; attributes as raster.shade takes them."""

    triangles: np.ndarray
    texture: np.ndarray
    material: np.ndarray
    coordinates: np.ndarray  # (n, 2) float32 texels
    occlusion: np.ndarray  # (n,) float32
    two_sided: bool = False
    casts_shadow: bool = True
    points: np.ndarray | None = field(default=None)  # (n, 3) at rest, for parts that only turn with the head
    turns: np.ndarray | None = None  # (n, 1) how far they do
    follows: np.ndarray | None = None  # (n,) vertices of the face whose movement `share` (n, 1) of them takes on
    share: np.ndarray | None = None
    still: np.ndarray | None = None  # what _attributes answers for a part that never moves


@lru_cache
def surface() -> tuple[sparse.csr_matrix, np.ndarray]:
    """The subdivision matrix of the cage and the fine triangles."""
    control = cage()
    return subdivide(control.triangles, len(control.vertices), control.creases, LEVELS)


@lru_cache
def _coarse_triangles() -> np.ndarray:
    """The surface one level coarser, with the same vertices: good enough for shadows."""
    control = cage()
    return subdivide(control.triangles, len(control.vertices), control.creases, LEVELS - 1)[1]


@lru_cache
def _neck() -> np.ndarray:
    """How far each fine vertex (m,) turns with the head, 1 ... 0 at the neck's base."""
    control = cage()
    weight = np.ones(len(control.vertices))
    y, z = control.vertices[control.skull][..., 1:].transpose(2, 0, 1)
    top = np.interp(z, (-13, -3.5), (-5.5, -10.0))  # the nape bends higher than the throat
    share = np.clip((y + 15.0) / (top + 15.0), 0, 1)
    weight[control.skull] = share * share * (3 - 2 * share)
    return np.asarray(surface()[0] @ weight, np.float32)


@lru_cache
def _masks() -> np.ndarray:
    """Shares (m, 3) of lips, of the mouth's inside and of the lids' rims at each fine vertex."""
    control = cage()
    masks = np.zeros((len(control.vertices), 3))
    lips, inner, rims = masks.T
    lips[np.unique([*UPPER_LIP[0], *LOWER_LIP[0]])] = 0.6
    lips[np.unique([*UPPER_LIP[1:], *LOWER_LIP[1:]])] = 1
    lips[control.mouth_inside] = 1
    inner[control.mouth_inside] = 1
    inner[mouth_ring()] = 0.2
    for side in (0, 1):
        rims[eye_ring(side, control.mirror)] = 1
        rims[control.lids_inside[side]] = 1
    rims[control.sockets] = 1
    return surface()[0] @ masks


@lru_cache
def _scalp() -> np.ndarray:
    """Which fine vertices (m,) a scarf hides whoever wears it: skull and nape, from the ears backwards."""
    control = cage()
    hidden = np.zeros(len(control.vertices))
    hidden[control.skull[2:]] = control.vertices[control.skull[2:], 1] > -7
    return np.asarray(surface()[0] @ hidden) > 0.99


class TalkingHead:
    """A person of a seed. Not for several threads at once: buffers are reused between frames."""

    def __init__(self, seed: int) -> None:
        self.identity: Identity = person(seed)
        self.rig = rig.Rig(self.identity)
        matrix, triangles = surface()
        rest = np.asarray(matrix @ self.rig.cage_points(np.zeros(7), Pose(0, 0, 1)))
        texture = paint(self.identity, rest, triangles, _masks())
        ones = np.ones(len(rest), np.float32)
        seen = triangles[~_scalp()[triangles].all(axis=1)] if self.identity.headwear == "scarf" else triangles
        self.skin = Part(seen, texture, SKIN, texture_coordinates(rest), ones)
        self._make_features(rest)
        self.worn = self._wear([*dress(self.identity, rest), *wear(self.identity, rest, triangles)], rest)
        self.strands = self._grow_hair(rest)
        self._to_light = view_along(self.identity.light[0], SHADOW_SIDE, SHADOW_CM)
        self._still_shadow = self._prepare_still_parts()

    def truth(self, mouth: np.ndarray, pose: Pose) -> FaceTruth:
        """What a drawing would show: `mouth` (7,) in the order of mouth.PARAMETERS."""
        return self._truth(self._posed(mouth, pose)[0], pose)

    def draw(self, canvas: Canvas, mouth: np.ndarray, pose: Pose) -> FaceTruth:
        """Draw the person over what `canvas` shows."""
        points, rest, rotation = self._posed(mouth, pose)
        canvas.ids.fill(-1)
        jobs = [(self.skin, points), *self._worn(rest, rotation)]
        jobs += [(part, self._turned(part.points, rotation)) for part in self.ears]
        jobs += [(part, self._turned(p, rotation)) for part, p in self._mouth_parts(mouth, rest)]
        jobs += [(part, self._turned(self._eye_points(i, pose), rotation)) for i, part in enumerate(self.eyes)]
        self._shade_lids(rest)
        hairs = [self._strands(strands, points, rest, rotation, pose) for strands in self.strands]
        moments = self._shadow([(part, p) for part, p in jobs if part.casts_shadow and part.still is None], hairs)
        first = 0
        spans = []
        for part, p in jobs:
            screen, box = _project(p, pose, canvas.to_samples, canvas.ids.shape)
            rasterise(screen, part.triangles, canvas.depth, canvas.ids, first, part.two_sided)
            spans.append((first, screen, box))
            first += len(part.triangles)
        for (part, p), (start, screen, box) in zip(jobs, spans, strict=True):
            if box[0] < box[2] and box[1] < box[3]:
                shade(
                    *(canvas.colour, canvas.ids, start, screen, part.triangles, self._attributes(part, p)),
                    *(part.texture, moments, self.identity.light, part.material, box),
                )
        for strands, hair in zip(self.strands, hairs, strict=True):
            self._draw_hair(canvas, strands, hair, pose, moments)
        return self._truth(points, pose)

    def _make_features(self, rest: np.ndarray) -> None:
        """Eyes, mouth and ears."""
        sphere, sphere_triangles, coordinates = eyeball_mesh()
        eye_texture = eyeball_texture(self.identity)
        self._sphere = sphere
        self.eyes = [
            Part(sphere_triangles, eye_texture, EYE, coordinates, np.ones(len(sphere), np.float32), casts_shadow=False)
            for _ in (0, 1)
        ]
        self.mouth = mouth_parts(self.identity, rest[[13, 14]].mean(axis=0))
        self.mouth_meshes = [
            Part(m.triangles, m.texture, INSIDE, m.coordinates, m.occlusion.copy(), two_sided=True, casts_shadow=False)
            for m in self.mouth
        ]
        dark = plain(np.array([0.10, 0.022, 0.02]), 0.0)
        self.cavity = Part(
            cavity_triangles(), dark, INSIDE, np.zeros((41, 2), np.float32), np.ones(41, np.float32), True, False
        )
        self.ears = [
            Part(
                t,
                plain(self.identity.skin * (1.0, 0.88, 0.86), 0.3),
                SKIN,
                np.zeros((len(p), 2), np.float32),
                shade_,
                True,
                points=p,
            )
            for p, t, shade_ in ears(self.identity, rest)
            if self.identity.headwear != "scarf"
        ]

    def _grow_hair(self, rest: np.ndarray) -> list[Strands]:
        normals = np.empty((len(rest), 3), np.float32)
        triangles = self.skin.triangles
        vertex_normals(rest.astype(np.float32), triangles, normals)
        mask = beard_mask(self.identity, rest, rest) * (1 - _masks()[:, 0])
        return [
            *beard(self.identity, rest, normals, triangles, mask),
            brows(self.identity, rest),
            *under_cap(self.identity, rest, scalp_hair(self.identity, rest, normals, triangles)),
            lashes(self.identity, rest),
        ]

    def _prepare_still_parts(self) -> np.ndarray:
        """What never moves is lit once; its depth (s, s) as the key light sees it."""
        depth = np.full((SHADOW_SIDE, SHADOW_SIDE), np.float32(-30))
        ids = np.empty((SHADOW_SIDE, SHADOW_SIDE), np.int32)
        for part in self.worn:
            if part.turns is None and part.follows is None:
                part.still = self._attributes(part, part.points)
                rasterise(self._light_space(part.points), part.triangles, depth, ids, 0, True)
        return depth

    def _wear(self, pieces: list[Piece], rest: np.ndarray) -> list[Part]:
        """Parts that shade each other and lie in the head's shade."""
        self._neutral = rest
        meshes = [(p.points.astype(np.float32), p.triangles) for p in pieces]
        meshes.append((rest.astype(np.float32), self.skin.triangles))
        parts = []
        *shares, self.skin.occlusion = occlusion(meshes)
        for i, piece in enumerate(pieces):
            dark = 1 - shares[i]
            near = np.clip((piece.points[:, 1] + 22) / 5, 0, 1) * np.clip((18 - np.abs(piece.points[:, 0])) / 6, 0, 1)
            open_share = (1 - dark * near).astype(np.float32)
            part = Part(piece.triangles, piece.texture, MATERIALS[piece.material], piece.texels, open_share, True)
            part.points = meshes[i][0]
            part.casts_shadow = piece.material != "frame"  # a blurred one would darken the eyes
            if piece.turns is not None:
                part.turns = piece.turns[:, None].astype(np.float32)
            if piece.follows is not None:
                part.follows, part.share = piece.follows, piece.share[:, None].astype(np.float32)
            parts.append(part)
        return parts

    def _worn(self, rest: np.ndarray, rotation: np.ndarray) -> Iterator[tuple[Part, np.ndarray]]:
        for part in self.worn:
            points = part.points
            if part.follows is not None:
                points = points + part.share * (rest - self._neutral)[part.follows].astype(np.float32)
            if part.turns is not None:
                points = points + part.turns * (self._turned(points, rotation) - points)
            yield part, points

    def _strands(
        self, strands: Strands, points: np.ndarray, rest: np.ndarray, rotation: np.ndarray, pose: Pose
    ) -> np.ndarray:
        """The hairs (s, k, 3) float32 where they are now."""
        offsets = strands.offsets
        if strands.blinks is not None and pose.blink > 0:
            offsets = offsets + np.float32(pose.blink) * (strands.blinks - offsets)
        hair = np.empty_like(offsets)
        place_strands(points, strands.roots, strands.weights, offsets, rotation.astype(np.float32), hair)
        if strands.hangs:
            still = np.empty_like(offsets)
            place_strands(
                rest.astype(np.float32), strands.roots, strands.weights, offsets, np.eye(3, dtype=np.float32), still
            )
            share = np.clip((strands.hangs - still[..., 1:2]) / 10, 0, 0.9).astype(np.float32)
            hair = hair * (1 - share) + still * share
        return hair

    def _draw_hair(self, canvas: Canvas, strands: Strands, hair: np.ndarray, pose: Pose, moments: np.ndarray) -> None:
        flat = hair.reshape(-1, 3)
        places = self._light_space(flat).reshape(hair.shape)
        colours = np.empty_like(hair)
        light_strands(hair, places, strands.colours, strands.occlusion, moments, self.identity.light, colours)
        samples = np.sqrt(abs(np.linalg.det(canvas.to_samples[:, :2]))) * pose.size / FACE_HEIGHT
        margin = 2 + int(np.ceil(float(strands.thickness.max(initial=0)) * samples))
        screen, box = _project(flat, pose, canvas.to_samples, canvas.ids.shape, margin=margin)
        screen = screen.reshape(hair.shape)
        order = np.argsort(-screen[:, screen.shape[1] // 2, 2])  # what is in front hides the rest early
        draw_strands(
            *(canvas.layer, canvas.depth, screen[order], colours[order]),
            *((strands.thickness * np.float32(samples))[order], strands.opacity[order], np.float32(0.12)),
        )
        lay_over(canvas.colour, canvas.layer, box)

    def _posed(self, mouth: np.ndarray, pose: Pose) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rest = np.asarray(surface()[0] @ self.rig.cage_points(np.asarray(mouth, np.float64), pose))
        rotation = _rotation(pose)
        turned = self._turned(rest, rotation)
        weight = _neck()[:, None]
        return (turned * weight + rest * (1 - weight)).astype(np.float32), rest, rotation

    @staticmethod
    def _turned(points: np.ndarray, rotation: np.ndarray) -> np.ndarray:
        return ((points - PIVOT) @ rotation.T + PIVOT).astype(np.float32)

    def _eye_points(self, side: int, pose: Pose) -> np.ndarray:
        converge = (-0.03, 0.03)[side]
        gaze = _rotation(Pose(0, 0, 1, yaw=pose.gaze_x - converge, pitch=pose.gaze_y))
        return self._sphere @ gaze.T * (EYE_RADIUS * (1 - 0.06 * pose.blink)) + self.identity.eyes[side]

    def _mouth_parts(self, mouth: np.ndarray, rest: np.ndarray) -> Iterator[tuple[Part, np.ndarray]]:
        """What lies behind the lips, lit by what the opening lets in; nothing while they are closed."""
        ring = rest[mouth_ring()]
        gap = float(np.linalg.norm(ring[5] - ring[15]))
        if gap < 0.01:
            return
        light = np.clip(0.25 + 0.35 * gap, 0, 0.7)
        closing = np.clip((mouth[5] - 0.2) / 0.8, 0, 1)
        for mesh, part in zip(self.mouth, self.mouth_meshes, strict=True):
            part.occlusion[:] = light * mesh.occlusion
            points = self.rig.with_jaw(mesh.points, float(mouth[0] * (1 - 0.72 * closing)) * mesh.jaw)
            if mesh.tongue:
                points = points + np.array([0, 0.75, 0.55]) * float(mouth[6]) * mesh.tongue
            yield part, points
        self.cavity.occlusion[:] = 0.3 * light
        yield self.cavity, cavity(rest[cage().mouth_inside])

    def _shade_lids(self, rest: np.ndarray) -> None:
        for side, part in enumerate(self.eyes):
            ring = rest[eye_ring(side, cage().mirror)]
            top, bottom = ring[4, 1], ring[12, 1]
            y = self._sphere[:, 1] * EYE_RADIUS + self.identity.eyes[side][1]
            x = np.abs(self._sphere[:, 0])
            shade_of_lid = np.clip((top - y) / 0.42, 0, 1)
            part.occlusion[:] = (
                (0.35 + 0.65 * shade_of_lid) * np.clip(0.75 + (y - bottom) / 0.8, 0.75, 1) * (1 - 0.35 * x**2)
            )

    def _truth(self, points: np.ndarray, pose: Pose) -> FaceTruth:
        frame = _project(points, pose, np.eye(2, 3))[0][:, :2]

        def distance(a: int, b: int) -> float:
            return float(np.linalg.norm(frame[a] - frame[b]))

        return FaceTruth(
            frame[:468].copy(), distance(13, 14), distance(61, 291), (distance(159, 145) + distance(386, 374)) / 2
        )

    def _attributes(self, part: Part, points: np.ndarray) -> np.ndarray:
        if part.still is not None:
            return part.still
        out = np.empty((len(points), 9), np.float32)
        normals = np.empty_like(points)
        vertex_normals(points, part.triangles, normals)
        out[:, :3] = normals
        out[:, 3:5] = part.coordinates
        out[:, 5] = part.occlusion
        out[:, 6:] = self._light_space(points)
        return out

    def _light_space(self, points: np.ndarray) -> np.ndarray:
        out = np.empty_like(points)
        transform(points, self._to_light, out)
        return out

    def _shadow(self, jobs: list[tuple[Part, np.ndarray]], hairs: list[np.ndarray]) -> np.ndarray:
        depth = self._still_shadow.copy()
        ids = np.empty((SHADOW_SIDE, SHADOW_SIDE), np.int32)
        for part, points in jobs:
            triangles = _coarse_triangles() if part is self.skin else part.triangles
            rasterise(self._light_space(points), triangles, depth, ids, 0, part.two_sided)
        for hair in hairs:
            shadow_points(depth, self._light_space(hair[:, 1:].reshape(-1, 3)))
        depth -= np.float32(0.35)  # off the surface itself
        moments = np.dstack([depth, depth * depth])
        return cv2.blur(cv2.blur(moments, (7, 7)), (7, 7))


def _rotation(pose: Pose) -> np.ndarray:
    cy, sy, cp, sp, cr, sr = (f(a) for a in (pose.yaw, pose.pitch, pose.roll) for f in (np.cos, np.sin))
    yaw = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    pitch = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    roll = np.array([[cr, sr, 0], [-sr, cr, 0], [0, 0, 1]])
    return roll @ pitch @ yaw


def _project(
    points: np.ndarray, pose: Pose, view: np.ndarray, shape: tuple[int, int] = (0, 0), margin: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and depth (n, 3) float32 of points (n, 3) in centimetres, and the box that they fill of a picture.

    `view` (2, 3) maps the frame's pixels to the picture's; the box (4,) is x0, y0, x1, y1, the last two exclusive.
    """
    points = np.ascontiguousarray(points, np.float32)
    camera = np.array([CAMERA, pose.size / FACE_HEIGHT, pose.x, pose.y, *np.asarray(view).ravel()], np.float32)
    screen, bounds = np.empty_like(points), np.empty(4, np.float32)
    project(points, camera, screen, bounds)
    x0, y0 = np.maximum(np.floor(bounds[:2]) - margin, 0)
    x1, y1 = np.minimum(np.ceil(bounds[2:]) + 1 + margin, (shape[1], shape[0]))
    return screen, np.array([x0, y0, x1, y1]).astype(np.int32)
