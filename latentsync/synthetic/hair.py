"""Hair, brows, lashes and beards as strands that are rooted in the skin; headscarves and caps as shells."""

from dataclasses import dataclass

import numpy as np

from .cage import cage, skull_distance
from .identity import Identity
from .rig import lid_vertices

AXIS_Z = -8.6  # of the head, as seen from above


@dataclass(frozen=True)
class Strands:
    """Hairs of one kind."""

    roots: np.ndarray  # (s, 4) int32 vertices of the fine mesh
    weights: np.ndarray  # (s, 4) float32: the root is their mean
    offsets: np.ndarray  # (s, k, 3) float32 from the root at rest, centimetres
    colours: np.ndarray  # (s, 3) float32 linear
    occlusion: np.ndarray  # (s, k) float32: how much of the room's light arrives
    thickness: np.ndarray  # (s, k) float32 centimetres
    opacity: np.ndarray  # (s,) float32
    hangs: float = 0.0  # y in centimetres below which hair rests on the shoulders; 0: never
    blinks: np.ndarray | None = None  # (s, k, 3) offsets with closed eyes


def hairline(points: np.ndarray, identity: Identity) -> np.ndarray:
    """How far above the hairline points (n, 3) at rest lie, centimetres; negative: skin."""
    turn = np.arctan2(np.abs(points[:, 0]), points[:, 2] - AXIS_Z)
    style, age = identity.hair_style, identity.age
    recess = 0.0 if identity.feminine else 0.5 + 1.6 * age * (identity.seed % 3 == 0)
    front = 8.9 + identity.hairline
    angles = (0.0, 0.35, 0.58, 0.80, 0.98, 1.10, 1.24, 1.36, 1.80, 2.00, 2.30, np.pi)
    low = 1.0 if identity.feminine else 2.0
    heights = (front, front - 0.05, front + recess, front - 1.2, 5.6, 4.2, low, 3.8, 3.6, 0.0, -5.0, -6.2)
    line = np.interp(turn, angles, heights)
    if style == "bald":
        line = np.interp(turn, (0, 1.1, 1.25, 1.4, 1.8, 2.0, 2.3, np.pi), (30, 30, low, 4.0, 3.8, 0.0, -5.0, -6.2))
        return np.minimum(points[:, 1] - line, 6.0 - points[:, 1])
    return points[:, 1] - line


def scalp_hair(identity: Identity, points: np.ndarray, normals: np.ndarray, triangles: np.ndarray) -> list[Strands]:
    """The hair of the head; points (m, 3) and normals (m, 3) of the fine mesh at rest."""
    style = identity.hair_style
    if style == "covered":
        return []
    rng = np.random.default_rng([identity.seed, 0x4A1])
    above = hairline(points, identity)
    count = {
        "cropped": 12000,
        "short": 9000,
        "side": 8000,
        "curly": 5200,
        "bald": 3500,
        "bob": 4400,
        "long": 4400,
        "tied": 5000,
    }[style]
    if style == "bald" and identity.seed % 2:
        return []
    rag = rng.normal(0, 0.25, len(points))  # the hairline is no line
    roots, weights = sample(rng, points, triangles, np.clip((above + rag) / 0.5, 0, 1), count)
    p = np.einsum("sk,skc->sc", weights, points[roots])
    n = np.einsum("sk,skc->sc", weights, normals[roots])
    steps, offsets = _grow(identity, rng, style, p, n)
    depth_share = np.linspace(0, 1, steps)[None, :]
    lightness = np.exp(rng.normal(0, 0.13, (count, 1)))
    streak = np.exp(0.10 * np.sin(p[:, :1] * 2.7 + 3 * np.sin(p[:, 2:] * 1.3)))
    colours = (
        identity.hair * lightness * streak * (1 + 0.06 * rng.standard_normal((count, 1)) * np.array([[0.6, 0.1, -0.6]]))
    )
    occlusion = np.clip(0.45 + 0.55 * depth_share**0.6 + rng.uniform(-0.08, 0.08, (count, 1)), 0.15, 1)
    if style in ("bob", "long"):
        occlusion = occlusion * np.clip(rng.uniform(0.7, 1.05, (count, 1)), 0, 1)
    fine = {"cropped": 0.030, "curly": 0.055, "short": 0.045, "side": 0.05, "bob": 0.082, "long": 0.088}.get(
        style, 0.055
    )
    taper = 1 - 0.65 * depth_share**3
    thickness = fine * taper * rng.uniform(0.7, 1.3, (count, 1))
    hangs = -8.0 if style == "long" else 0.0
    return [Strands(roots, weights, offsets, *_f32(colours, occlusion, thickness, np.full(count, 0.92)), hangs)]


def _grow(
    identity: Identity, rng: np.random.Generator, style: str, p: np.ndarray, n: np.ndarray
) -> tuple[int, np.ndarray]:
    """Offsets (s, k, 3) of strands that leave the scalp at p with normals n."""
    count = len(p)
    part, side = identity.hair_part, np.sign(identity.hair_part)
    x, y, z = p.T
    top = np.clip((y - 6.5) / 4.5, 0, 1)
    front = np.clip((z + 6) / 6, 0, 1)
    left_right = np.tanh((x - part) / 1.2)
    down = np.tile((0.0, -1.0, 0.0), (count, 1))
    back = np.stack([0 * x, -0.25 + 0 * x, -1 + 0 * x], 1)
    wild = rng.standard_normal((count, 3))
    jitter = rng.uniform(0.8, 1.2, count)
    if style in ("cropped", "bald"):
        length = 0.75 * jitter * (0.5 + 0.6 * top) * (0.7 if style == "bald" else 1)
        steps, lift, curl, comb = 4, 0.55, 0.0, 0.5 * down + np.stack([0 * x, 0 * x, 0.8 * top], 1)
    elif style == "short":
        length = jitter * (1.6 + 3.2 * top)
        steps, lift, curl = 6, 0.85, 0.05
        comb = np.stack([0.45 * left_right * (1 - top) - 0.35 * side * top, -0.9 + 1.0 * top, 0.55 * front - 0.1], 1)
    elif style == "side":
        length = jitter * (1.8 + 6.0 * top)
        steps, lift, curl = 8, 1.3, 0.03
        sweep = -side * (0.33 - 0.67 * np.tanh((x - part) * -side / 0.9))
        comb = np.stack([sweep * (0.25 + 0.75 * top), -0.9 + 0.95 * top, -0.55 * top - 0.15], 1)
    elif style == "curly":
        length = jitter * rng.uniform(2.2, 5.0) * (0.75 + 0.4 * top)
        steps, lift, curl, comb = 12, 1.3, 0.42, 0.25 * down
    elif style == "tied":
        length = np.clip((z + 17) * 1.1 + 3, 3, 22) * jitter
        steps, lift, curl, comb = 10, 0.30, 0.0, back + 0.25 * (y < 4)[:, None] * np.array([0, 0.8, 0])
    else:
        total = rng.uniform(17, 21) if style == "bob" else rng.uniform(32, 42)
        length = np.clip(total * (0.95 + 0.05 * jitter) - 0.55 * (11 - y), 6, None)
        steps, lift, curl = 14, 0.55, rng.uniform(0.0, 0.05)
        comb = np.stack([0.9 * left_right, 0 * x, -0.65 + 0 * x], 1)
    height = rng.uniform(0.15, 1.0, count) ** 0.7 * lift * (0.45 + 0.55 * np.clip(top + 0.3, 0, 1))
    gravity = {"long": 0.55, "bob": 0.5, "tied": 0.05}.get(style, 0.12)
    hug = {"tied": 0.8, "cropped": 0.0, "bald": 0.0, "curly": 0.0, "short": 0.35, "side": 0.30}.get(style, 0.20)
    stiffness = {"curly": 0.75, "cropped": 0.5, "bob": 0.35, "long": 0.35}.get(style, 0.6)
    phase = rng.uniform(0, 2 * np.pi, count)
    direction = n * {"curly": 1.0, "cropped": 0.6, "tied": 0.1}.get(style, 0.4) + comb * 0.8 + 0.06 * wild
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    position, step = p - 0.05 * n, (length / (steps - 1))[:, None]
    path = [position]
    clump = rng.standard_normal((40, 3))[(np.floor(x * 1.3) * 7 + np.floor(z * 1.3) * 13).astype(int) % 40]
    for k in range(1, steps):
        wanted = comb * (1 - k / steps * 0.4) + gravity * k / steps * down * 2 + 0.05 * wild + 0.14 * clump
        if style in ("bob", "long"):
            # Over the head to its side and back; only there hair falls.
            beside = np.clip((np.abs(position[:, 0]) - 4.6) / 2.4, 0, 1)
            falls = np.maximum(beside, np.clip((-7.0 - position[:, 2]) / 3.0, 0, 1))[:, None]
            over = np.stack([0.9 * left_right, 0 * x, -0.65 + 0 * x], 1)
            wanted = falls * down + (1 - falls) * over + 0.02 * wild + 0.07 * clump
        direction = stiffness * direction + (1 - stiffness) * wanted
        if curl:
            turn = phase + k * (2.1 if style == "curly" else 0.75)
            direction = direction + curl * np.stack([np.cos(turn), np.sin(turn) * 0.6, np.sin(turn + 1)], 1)
        direction /= np.linalg.norm(direction, axis=1, keepdims=True) + 1e-6
        position = position + direction * step
        # Hair lies on the head: outside, and lower ones under higher ones.
        for _ in range(2):
            distance, outward = skull_distance(position)
            floor = height * min(1.0, k / 2)
            short = floor - distance
            pull = hug * (position[:, 1] > 1.0) if style in ("bob", "long") else hug
            position = position + outward * np.where(short > 0, short, pull * np.maximum(short, -2.0))[:, None]
        if style in ("long", "bob"):
            # In front of the shoulders or behind them, but not through the neck or over the face.
            near_face = np.clip((position[:, 2] + 3.0) / 2.0, 0, 1) * np.clip((9.3 - position[:, 1]) / 1.5, 0, 1)
            position[:, 2] -= 0.9 * near_face
            position[:, 0] += 0.7 * near_face * np.sign(position[:, 0])
            narrow = np.clip(7.3 - np.abs(position[:, 0]), 0, 3) * (position[:, 1] < 6.0) * (position[:, 2] > -5)
            position[:, 0] += 0.5 * narrow * np.sign(position[:, 0])
        moved = position - path[-1]
        direction = moved / (np.linalg.norm(moved, axis=1, keepdims=True) + 1e-6)
        path.append(position)
    strands = np.stack(path, axis=1)
    return steps, (strands - p[:, None]).astype(np.float32)


def brows(identity: Identity, points: np.ndarray) -> Strands:
    """Both eyebrows: hairs between the mesh's two rows of brow points, rising inside, lying flat outside."""
    rng = np.random.default_rng([identity.seed, 0xB20])
    upper, lower = (70, 63, 105, 66, 107), (46, 53, 52, 65, 55)
    count, steps = 420, 4
    u = rng.uniform(0, 1, count) ** 0.92
    v = np.clip(rng.normal(0.5, 0.20, count), 0.05, 0.95)
    thick = 0.42 * identity.brow_thickness * np.interp(u, (0, 0.25, 0.75, 1), (0.25, 0.7, 1, 0.9))
    v = 0.52 + (v - 0.5) * thick * 1.5
    segment = np.minimum((u * 4).astype(int), 3)
    w = u * 4 - segment
    roots, weights, offsets = [], [], []
    for side in (0, 1):
        mirror = cage().mirror
        pick = (lambda row: np.array(row)) if side == 0 else (lambda row, mirror=mirror: mirror[list(row)])
        top, bottom = pick(upper), pick(lower)
        roots.append(np.stack([top[segment], top[segment + 1], bottom[segment], bottom[segment + 1]], axis=1))
        weights.append(np.stack([(1 - w) * v, w * v, (1 - w) * (1 - v), w * (1 - v)], axis=1))
        along = points[top[segment]] - points[top[segment + 1]]  # towards the temple
        along /= np.linalg.norm(along, axis=1, keepdims=True)
        lean = np.interp(u, (0, 0.5, 1), (-0.30, 0.15, 1.25))[:, None] - 0.8 * (v[:, None] - 0.5)
        direction = along + lean * np.array([0, 1, 0]) + 0.13 * rng.standard_normal((count, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        length = rng.uniform(0.5, 1.0, count)[:, None] * np.interp(u, (0, 0.3, 1), (0.5, 0.95, 0.75))[:, None]
        t = np.linspace(0, 1, steps)
        out = np.array([0, 0, 0.10])
        bend = along * 0.35 + np.array([0, -0.12, 0])
        offsets.append(
            direction[:, None] * (length * t)[..., None]
            + out * np.sin(t * 2.6)[:, None]
            + (bend[:, None] * (length * t**2)[..., None])
        )
    n = 2 * count
    colour = identity.hair * 0.8 + 0.2 * np.array([0.03, 0.02, 0.015])
    # Brows grey later than hair; and what is as light as the skin is no brow to anybody who looks.
    colour = colour * min(1.0, 0.45 * float(identity.skin.mean()) / float(colour.mean()))
    colours = colour * np.exp(rng.normal(0, 0.2, (n, 1)))
    thickness = np.tile(np.linspace(0.042, 0.015, steps), (n, 1)) * identity.brow_thickness
    return Strands(
        np.concatenate(roots).astype(np.int32),
        np.concatenate(weights).astype(np.float32),
        np.concatenate(offsets).astype(np.float32),
        *_f32(colours, np.full((n, steps), 0.75), thickness, rng.uniform(0.45, 0.8, n)),
    )


def lashes(identity: Identity, points: np.ndarray) -> Strands:
    """Upper and lower lashes on the lids' margins; they sink with the upper lid."""
    rng = np.random.default_rng([identity.seed, 0x1A5])
    roots, weights, open_offsets, closed_offsets = [], [], [], []
    steps = 4
    t = np.linspace(0, 1, steps)
    full = 1.15 if identity.feminine else 0.75
    for side in (0, 1):
        outward = -1.0 if side == 0 else 1.0
        margin, below, *_ = lid_vertices(side)
        for row, up, count, size in ((margin, 1.0, 70, 0.62), (below, -1.0, 36, 0.30)):
            u = np.sort(rng.uniform(0.3, 7.9, count))
            first = u.astype(int)
            w = u - first
            roots.append(np.stack([row[first], row[first + 1]] * 2, axis=1))
            weights.append(np.stack([1 - w, w, 0 * w, 0 * w], axis=1))
            fan = outward * (0.75 - 0.20 * u) + 0.08 * rng.standard_normal(count)
            length = size * full * np.interp(u, (0, 2.5, 8), (0.9, 1.1, 0.5)) * rng.uniform(0.8, 1.1, count)
            start = np.stack([0.35 * fan, 0.10 * up + 0 * u, 0.95 + 0 * u], axis=1)
            end = np.stack([fan, up * (0.95 + 0 * u), 0.45 + 0 * u], axis=1)
            path = start[:, None] * (t - t**2 / 2)[:, None] + end[:, None] * (t**2 / 2)[:, None]
            open_offsets.append(path * length[:, None, None])
            if up > 0:
                end = np.stack([fan, -0.35 + 0 * u, 0.85 + 0 * u], axis=1)
                start = start * (1, -3.5, 1)
                path = start[:, None] * (t - t**2 / 2)[:, None] + end[:, None] * (t**2 / 2)[:, None]
            closed_offsets.append(path * length[:, None, None])
    n = sum(len(r) for r in roots)
    colours = np.tile(np.array([0.012, 0.009, 0.008]) + 0.15 * identity.hair, (n, 1))
    thickness = np.tile(np.linspace(0.05, 0.015, steps), (n, 1)) * (1.1 if identity.feminine else 0.9)
    return Strands(
        np.concatenate(roots).astype(np.int32),
        np.concatenate(weights).astype(np.float32),
        np.concatenate(open_offsets).astype(np.float32),
        *_f32(colours, np.full((n, steps), 0.5), thickness, np.full(n, 0.85)),
        0.0,
        np.concatenate(closed_offsets).astype(np.float32),
    )


def beard(
    identity: Identity, points: np.ndarray, normals: np.ndarray, triangles: np.ndarray, mask: np.ndarray
) -> list[Strands]:
    """Facial hair where `mask` (m,) says so."""
    if identity.beard == "none":
        return []
    rng = np.random.default_rng([identity.seed, 0xBEA])
    stubble = identity.beard == "stubble"
    count, steps = (5000, 2) if stubble else (8000, 4)
    count = int(
        count * (0.5 + 0.5 * identity.beard_density) * {"moustache": 0.16, "goatee": 0.4}.get(identity.beard, 1.0)
    )
    roots, weights = sample(rng, points, triangles, np.clip(mask * 1.2, 0, 1) ** 2, count)
    n = np.einsum("sk,skc->sc", weights, normals[roots])
    p = np.einsum("sk,skc->sc", weights, points[roots])
    near_lip = np.exp(-(((p[:, 1] - points[164, 1]) / 0.8) ** 2))
    length = (0.14 if stubble else rng.uniform(0.22, 0.55)) * rng.uniform(0.6, 1.2, count) * (1 - 0.35 * near_lip)
    flow = np.stack([np.tanh(p[:, 0] / 0.8) * 1.0 * near_lip, -1.0 + 0.55 * near_lip, 0.15 + 0 * p[:, 0]], 1)
    flow += 0.22 * rng.standard_normal((count, 3))
    t = np.linspace(0, 1, steps)
    path = n[:, None] * (0.9 * t - 0.55 * t**2)[:, None] + flow[:, None] * (0.35 * t + 0.45 * t**2)[:, None]
    offsets = path * length[:, None, None]
    hair = identity.hair * (0.8 + 0.35 * identity.age)
    colours = hair * np.exp(rng.normal(0, 0.22, (count, 1)))
    occlusion = np.clip(0.55 + 0.45 * t[None, :] + rng.uniform(-0.1, 0.1, (count, 1)), 0.2, 1)
    thickness = np.tile(np.linspace(0.036, 0.016, steps), (count, 1)) * (0.8 if stubble else 1.0)
    opacity = np.full(count, 0.5 if stubble else 0.7) * (1 - 0.45 * near_lip)
    return [Strands(roots, weights, offsets.astype(np.float32), *_f32(colours, occlusion, thickness, opacity))]


def sample(
    rng: np.random.Generator, points: np.ndarray, triangles: np.ndarray, density: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Roots (count, 4) and weights (count, 4), spread over the surface by `density` (m,) per area."""
    a, b, c = (points[triangles[:, k]] for k in range(3))
    area = (
        np.linalg.norm(np.cross(b - a, c - a), axis=1)
        * density[triangles].mean(axis=1)
        * (density[triangles].min(axis=1) > 0)
    )
    chosen = rng.choice(len(triangles), size=count, p=area / area.sum())
    r = np.sqrt(rng.uniform(0, 1, count))
    s = rng.uniform(0, 1, count)
    weights = np.stack([1 - r, r * (1 - s), r * s, 0 * r], axis=1).astype(np.float32)
    roots = np.concatenate([triangles[chosen], triangles[chosen, :1]], axis=1).astype(np.int32)
    return roots, weights


def _f32(*arrays: np.ndarray) -> list[np.ndarray]:
    return [np.ascontiguousarray(a, dtype=np.float32) for a in arrays]
