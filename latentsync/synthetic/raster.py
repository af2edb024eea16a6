"""A small software renderer: visibility, soft shadows, skin-like shading and hair, compiled by numba.

A picture is made in passes over shared buffers: `rasterise` finds the visible triangle of each pixel, `shade`
colours the pixels of one part, `draw_strands` adds hair in front. Colours are linear light; all arrays float32.
Screen coordinates count pixels with centres at integers, y down; depth grows towards the camera.
"""

import math

import numpy as np
from numba import njit

JIT = {"cache": True, "nogil": True, "fastmath": True}
FAR = np.float32(-1e9)
F = np.float32


@njit(**JIT)
def vertex_normals(points: np.ndarray, triangles: np.ndarray, normals: np.ndarray) -> None:
    """Fill `normals` (n, 3) with unit normals of `points` (n, 3), weighted by the triangles' areas."""
    normals[:] = 0
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ux, uy, uz = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
        vx, vy, vz = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1], points[c, 2] - points[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for k in (a, b, c):
            normals[k, 0] += nx
            normals[k, 1] += ny
            normals[k, 2] += nz
    for i in range(normals.shape[0]):
        x, y, z = normals[i, 0], normals[i, 1], normals[i, 2]
        inverse = F(1) / math.sqrt(x * x + y * y + z * z + F(1e-20))
        normals[i, 0] = x * inverse
        normals[i, 1] = y * inverse
        normals[i, 2] = z * inverse


@njit(**JIT)
def project(points: np.ndarray, camera: np.ndarray, screen: np.ndarray, box: np.ndarray) -> None:
    """Fill `screen` (n, 3) with x, y and depth of `points` (n, 3), and `box` (4,) with their bounds.

    camera (10,): distance of the lens, pixels per centimetre, x and y of the origin in the frame, and the map
    (2, 3) from the frame's pixels to the screen's.
    """
    distance, scale, x0, y0 = camera[0], camera[1], camera[2], camera[3]
    low_x, low_y, high_x, high_y = F(1e9), F(1e9), F(-1e9), F(-1e9)
    for i in range(points.shape[0]):
        k = scale * distance / (distance - points[i, 2])
        u, v = x0 + points[i, 0] * k, y0 - points[i, 1] * k
        x = camera[4] * u + camera[5] * v + camera[6]
        y = camera[7] * u + camera[8] * v + camera[9]
        screen[i, 0], screen[i, 1], screen[i, 2] = x, y, points[i, 2]
        low_x, low_y, high_x, high_y = min(low_x, x), min(low_y, y), max(high_x, x), max(high_y, y)
    box[0], box[1], box[2], box[3] = low_x, low_y, high_x, high_y


@njit(**JIT)
def transform(points: np.ndarray, matrix: np.ndarray, out: np.ndarray) -> None:
    """Fill `out` (n, 3) with the affine map `matrix` (3, 4) of `points` (n, 3)."""
    for i in range(points.shape[0]):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        for c in range(3):
            out[i, c] = matrix[c, 0] * x + matrix[c, 1] * y + matrix[c, 2] * z + matrix[c, 3]


@njit(**JIT)
def place_strands(
    points: np.ndarray,
    roots: np.ndarray,
    weights: np.ndarray,
    offsets: np.ndarray,
    rotation: np.ndarray,
    out: np.ndarray,
) -> None:
    """Fill `out` (s, k, 3): hairs at their roots among `points` (n, 3), turned by `rotation` (3, 3)."""
    for s in range(roots.shape[0]):
        x = y = z = F(0)
        for r in range(4):
            weight, root = weights[s, r], roots[s, r]
            x += weight * points[root, 0]
            y += weight * points[root, 1]
            z += weight * points[root, 2]
        for k in range(offsets.shape[1]):
            a, b, c = offsets[s, k, 0], offsets[s, k, 1], offsets[s, k, 2]
            out[s, k, 0] = x + rotation[0, 0] * a + rotation[0, 1] * b + rotation[0, 2] * c
            out[s, k, 1] = y + rotation[1, 0] * a + rotation[1, 1] * b + rotation[1, 2] * c
            out[s, k, 2] = z + rotation[2, 0] * a + rotation[2, 1] * b + rotation[2, 2] * c


@njit(**JIT)
def rasterise(
    screen: np.ndarray, triangles: np.ndarray, depth: np.ndarray, ids: np.ndarray, first: int, two_sided: bool
) -> None:
    """Keep the nearest triangle of each pixel: `depth` (h, w) and `ids` (h, w) int32, counted from `first`.

    `screen` is (n, 3): x, y, depth. Triangles are drawn where they turn counter-clockwise as seen (y up).
    """
    height, width = depth.shape
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        xa, ya, xb, yb, xc, yc = screen[a, 0], screen[a, 1], screen[b, 0], screen[b, 1], screen[c, 0], screen[c, 1]
        area = (xb - xa) * (yc - ya) - (xc - xa) * (yb - ya)
        if area > F(-1e-9) and (not two_sided or area < F(1e-9)):
            continue
        x0 = max(math.ceil(min(xa, xb, xc)), 0)
        x1 = min(math.floor(max(xa, xb, xc)), width - 1)
        y0 = max(math.ceil(min(ya, yb, yc)), 0)
        y1 = min(math.floor(max(ya, yb, yc)), height - 1)
        if x0 > x1 or y0 > y1:
            continue
        inverse = F(1) / area
        ax, ay = (yb - yc) * inverse, (xc - xb) * inverse  # weight of a along x and y
        bx, by = (yc - ya) * inverse, (xa - xc) * inverse
        za, zb, zc = screen[a, 2], screen[b, 2], screen[c, 2]
        for y in range(y0, y1 + 1):
            wa = ax * (F(x0) - xc) + ay * (F(y) - yc)
            wb = bx * (F(x0) - xc) + by * (F(y) - yc)
            for x in range(x0, x1 + 1):
                wc = F(1) - wa - wb
                if wa >= F(-1e-5) and wb >= F(-1e-5) and wc >= F(-1e-5):
                    z = wa * za + wb * zb + wc * zc
                    if z > depth[y, x]:
                        depth[y, x] = z
                        ids[y, x] = first + t
                wa += ax
                wb += bx


@njit(**JIT)
def _smooth(low: float, high: float, x: float) -> float:
    t = min(max((x - low) / (high - low), F(0)), F(1))
    return t * t * (F(3) - F(2) * t)


@njit(**JIT)
def _lobe(x: float, power: float) -> float:
    """About x ** power for x in 0 ... 1, without the power (Schlick 1994)."""
    return x / (power - power * x + x) if x > F(0) else F(0)


@njit(**JIT)
def lit(moments: np.ndarray, u: float, v: float, z: float) -> float:
    """Share of the key light at a point, 0 ... 1: variance shadow map (Donnelly and Lauritzen 2006).

    `moments` (s, s, 2) holds blurred depth and its square as the light sees it; u, v in its pixels.
    """
    side = moments.shape[0]
    if u < F(0) or v < F(0) or u >= F(side - 1) or v >= F(side - 1):
        return F(1)
    i, j = int(v), int(u)
    fv, fu = v - F(i), u - F(j)
    k00, k01, k10, k11 = (F(1) - fv) * (F(1) - fu), (F(1) - fv) * fu, fv * (F(1) - fu), fv * fu
    mean = (
        moments[i, j, 0] * k00
        + moments[i, j + 1, 0] * k01
        + moments[i + 1, j, 0] * k10
        + moments[i + 1, j + 1, 0] * k11
    )
    behind = mean - z
    if behind <= F(0):
        return F(1)
    square = (
        moments[i, j, 1] * k00
        + moments[i, j + 1, 1] * k01
        + moments[i + 1, j, 1] * k10
        + moments[i + 1, j + 1, 1] * k11
    )
    variance = max(square - mean * mean, F(0.05))
    return _smooth(F(0.25), F(1), variance / (variance + behind * behind))


@njit(**JIT)
def tone(x: float) -> float:
    """A camera's shoulder: linear in the shadows, compressed above 0.5, never beyond 1."""
    if x <= F(0.5):
        return max(x, F(0))
    y = x - F(0.5)
    return F(0.5) + F(0.5) * y / (y + F(0.5))


@njit(**JIT)
def shade(
    picture: np.ndarray,
    ids: np.ndarray,
    first: int,
    screen: np.ndarray,
    triangles: np.ndarray,
    attributes: np.ndarray,
    texture: np.ndarray,
    moments: np.ndarray,
    light: np.ndarray,
    material: np.ndarray,
    box: np.ndarray,
) -> None:
    """Colour the pixels of `picture` (h, w, 3) whose id lies in this part.

    attributes (n, 9): normal (3), texture coordinates in texels (2), occlusion 0 ... 1, place in the shadow map
    (u, v, depth). texture (th, tw, 6): linear red, green, blue, gloss, slopes of the relief along u and v.
    light (8, 3): key direction, key colour, fill direction, fill colour, ambient from above, from below, rim
    direction, rim colour. material (8,): wrap of red, green, blue; gloss, gloss exponent, relief; how far
    occlusion keeps out the key light, too; how far light scatters under
    the surface.
    """
    last = first + triangles.shape[0]
    rows, columns = texture.shape[0], texture.shape[1]
    kx, ky, kz = light[0]
    fx, fy, fz = light[2]
    rx, ry, rz = light[6]
    hx, hy, hz = kx, ky, kz + F(1)
    inverse = F(1) / math.sqrt(hx * hx + hy * hy + hz * hz)
    hx, hy, hz = hx * inverse, hy * inverse, hz * inverse
    gx, gy, gz = fx, fy, fz + F(1)
    inverse = F(1) / math.sqrt(gx * gx + gy * gy + gz * gz)
    gx, gy, gz = gx * inverse, gy * inverse, gz * inverse
    wr, wg, wb_ = material[0], material[1], material[2]
    gloss, power, relief, inside, scatter = material[3], material[4], material[5], material[6], material[7]
    for y in range(box[1], box[3]):
        for x in range(box[0], box[2]):
            t = ids[y, x]
            if t < first or t >= last:
                continue
            t -= first
            a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            xa, ya, xb, yb, xc, yc = screen[a, 0], screen[a, 1], screen[b, 0], screen[b, 1], screen[c, 0], screen[c, 1]
            inv = F(1) / ((xb - xa) * (yc - ya) - (xc - xa) * (yb - ya))
            px, py = F(x) - xc, F(y) - yc
            wa = ((yb - yc) * px + (xc - xb) * py) * inv
            wb = ((yc - ya) * px + (xa - xc) * py) * inv
            wc = F(1) - wa - wb
            nx = wa * attributes[a, 0] + wb * attributes[b, 0] + wc * attributes[c, 0]
            ny = wa * attributes[a, 1] + wb * attributes[b, 1] + wc * attributes[c, 1]
            nz = wa * attributes[a, 2] + wb * attributes[b, 2] + wc * attributes[c, 2]
            s = F(1) / math.sqrt(nx * nx + ny * ny + nz * nz + F(1e-12))
            nx, ny, nz = nx * s, ny * s, nz * s
            u = wa * attributes[a, 3] + wb * attributes[b, 3] + wc * attributes[c, 3]
            v = wa * attributes[a, 4] + wb * attributes[b, 4] + wc * attributes[c, 4]
            occlusion = wa * attributes[a, 5] + wb * attributes[b, 5] + wc * attributes[c, 5]
            su = wa * attributes[a, 6] + wb * attributes[b, 6] + wc * attributes[c, 6]
            sv = wa * attributes[a, 7] + wb * attributes[b, 7] + wc * attributes[c, 7]
            sz = wa * attributes[a, 8] + wb * attributes[b, 8] + wc * attributes[c, 8]
            u = min(max(u, F(0)), F(columns) - F(1.001))
            v = min(max(v, F(0)), F(rows) - F(1.001))
            j, i = int(u), int(v)
            fu, fv = u - F(j), v - F(i)
            k00, k01, k10, k11 = (F(1) - fv) * (F(1) - fu), (F(1) - fv) * fu, fv * (F(1) - fu), fv * fu
            t00, t01, t10, t11 = texture[i, j], texture[i, j + 1], texture[i + 1, j], texture[i + 1, j + 1]
            red = t00[0] * k00 + t01[0] * k01 + t10[0] * k10 + t11[0] * k11
            green = t00[1] * k00 + t01[1] * k01 + t10[1] * k10 + t11[1] * k11
            blue = t00[2] * k00 + t01[2] * k01 + t10[2] * k10 + t11[2] * k11
            shine = (t00[3] * k00 + t01[3] * k01 + t10[3] * k10 + t11[3] * k11) * gloss
            du = (t00[4] * k00 + t01[4] * k01 + t10[4] * k10 + t11[4] * k11) * relief
            dv = (t00[5] * k00 + t01[5] * k01 + t10[5] * k10 + t11[5] * k11) * relief
            # The relief tilts the normal for gloss and the sharper blue and green; red light scatters under it.
            s = F(1) / math.sqrt(nx * nx + nz * nz + F(1e-6))
            tx, tz = nz * s, -nx * s
            bx, by, bz = -ny * tz * F(-1), (nx * tz - nz * tx) * F(-1), ny * tx * F(-1)
            mx = nx - du * tx - dv * bx
            my = ny - dv * by
            mz = nz - du * tz - dv * bz
            s = F(1) / math.sqrt(mx * mx + my * my + mz * mz + F(1e-12))
            mx, my, mz = mx * s, my * s, mz * s
            share = lit(moments, su, sv, sz) * (F(1) - inside + inside * occlusion)
            soft = nx * kx + ny * ky + nz * kz
            hard = mx * kx + my * ky + mz * kz
            dr = max((hard + F(0.7) * scatter * (soft - hard) + wr) / (F(1) + wr), F(0))
            dg = max((hard + F(0.3) * scatter * (soft - hard) + wg) / (F(1) + wg), F(0))
            db = max((hard + wb_) / (F(1) + wb_), F(0))
            # Light bleeds into a shadow's edge, red furthest.
            sr = share + scatter * wr * F(0.9) * share * (F(1) - share)
            sg = share + scatter * wg * F(0.3) * share * (F(1) - share)
            up = F(0.5) + F(0.5) * my
            back = max((mx * fx + my * fy + mz * fz + F(0.35)) / F(1.35), F(0)) * occlusion
            edge = F(1) - max(mz, F(0))
            rim = max(mx * rx + my * ry + mz * rz, F(0)) * edge * occlusion
            # Light that was reflected once by skin makes crevices warm rather than black.
            ar = occlusion * (F(1.3) - F(0.3) * occlusion)
            er = dr * light[1, 0] * sr + back * light[3, 0] + ar * (up * light[4, 0] + (F(1) - up) * light[5, 0])
            eg = dg * light[1, 1] * sg + back * light[3, 1] + occlusion * (up * light[4, 1] + (F(1) - up) * light[5, 1])
            eb = (
                db * light[1, 2] * share
                + back * light[3, 2]
                + occlusion * (up * light[4, 2] + (F(1) - up) * light[5, 2])
            )
            er += rim * light[7, 0]
            eg += rim * light[7, 1]
            eb += rim * light[7, 2]
            nh = _lobe(mx * hx + my * hy + mz * hz, power)
            ng = _lobe(mx * gx + my * gy + mz * gz, power)
            facing = edge * edge * edge
            spec = shine * (F(0.35) + F(1.6) * facing) * (min(power, F(120)) + F(8)) * F(0.04)
            key_spec = spec * nh * share * max(hard + F(0.1), F(0))
            fill_spec = spec * ng * occlusion * F(0.7)
            sky = shine * facing * F(0.35) * occlusion * up
            picture[y, x, 0] = tone(red * er + key_spec * light[1, 0] + fill_spec * light[3, 0] + sky * light[4, 0])
            picture[y, x, 1] = tone(green * eg + key_spec * light[1, 1] + fill_spec * light[3, 1] + sky * light[4, 1])
            picture[y, x, 2] = tone(blue * eb + key_spec * light[1, 2] + fill_spec * light[3, 2] + sky * light[4, 2])


@njit(**JIT)
def shadow_points(depth: np.ndarray, places: np.ndarray) -> None:
    """Let points (n, 3) of the light's view stand in its way, 2 x 2 pixels each."""
    side = depth.shape[0]
    for i in range(places.shape[0]):
        x, y = int(places[i, 0]), int(places[i, 1])
        if x < 0 or y < 0 or x >= side - 1 or y >= side - 1:
            continue
        for v in range(y, y + 2):
            for u in range(x, x + 2):
                depth[v, u] = max(depth[v, u], places[i, 2])


@njit(**JIT)
def light_strands(
    strands: np.ndarray,
    places: np.ndarray,
    base: np.ndarray,
    occlusion: np.ndarray,
    moments: np.ndarray,
    light: np.ndarray,
    colours: np.ndarray,
) -> None:
    """Fill `colours` (s, k, 3): hair as thin cylinders (Kajiya and Kay 1989) with a primary and a tinted highlight.

    strands (s, k, 3) in centimetres, places (s, k, 3) in the shadow map, base (s, 3) linear colour, occlusion (s, k).
    """
    count, steps = strands.shape[0], strands.shape[1]
    for s in range(count):
        for k in range(steps):
            i, j = max(k - 1, 0), min(k + 1, steps - 1)
            tx, ty, tz = (
                strands[s, j, 0] - strands[s, i, 0],
                strands[s, j, 1] - strands[s, i, 1],
                strands[s, j, 2] - strands[s, i, 2],
            )
            n = F(1) / math.sqrt(tx * tx + ty * ty + tz * tz + F(1e-12))
            tx, ty, tz = tx * n, ty * n, tz * n
            along = tx * light[0, 0] + ty * light[0, 1] + tz * light[0, 2]
            across = math.sqrt(max(F(1) - along * along, F(0)))
            hx, hy, hz = light[0, 0], light[0, 1], light[0, 2] + F(1)
            n = F(1) / math.sqrt(hx * hx + hy * hy + hz * hz)
            dot = (tx * hx + ty * hy + tz * hz) * n
            bright = _lobe(F(1) - dot * dot, F(40))
            dot += F(0.12)
            tinted = _lobe(F(1) - dot * dot, F(12))
            rim = tx * light[6, 0] + ty * light[6, 1] + tz * light[6, 2]
            rim = _lobe(F(1) - rim * rim, F(8))
            share = lit(moments, places[s, k, 0], places[s, k, 1], places[s, k, 2])
            open_share = occlusion[s, k]
            up = F(0.6) + F(0.4) * ty
            for c in range(3):
                colour = base[s, c]
                diffuse = across * share * light[1, c] * F(0.75) + F(0.55) * light[3, c] * open_share
                ambient = open_share * (up * light[4, c] + (F(1) - up) * light[5, c])
                gloss = share * light[1, c] * (F(0.016) * bright + F(0.5) * colour * tinted)
                gloss += open_share * rim * light[7, c] * (F(0.006) + F(0.5) * colour)
                colours[s, k, c] = tone(colour * (diffuse + ambient) + gloss * open_share)


@njit(**JIT)
def _hidden(depth: np.ndarray, x: float, y: float, z: float) -> bool:
    """Whether something well in front of a point is drawn already."""
    i, j = int(y), int(x)
    return 0 <= i < depth.shape[0] and 0 <= j < depth.shape[1] and depth[i, j] > z + F(0.15)


@njit(**JIT)
def _covered(layer: np.ndarray, x: float, y: float) -> bool:
    """Whether hair already hides all behind it."""
    i, j = int(y), int(x)
    return 0 <= i < layer.shape[0] and 0 <= j < layer.shape[1] and layer[i, j, 3] > F(0.96)


@njit(**JIT)
def draw_strands(
    layer: np.ndarray,
    depth: np.ndarray,
    screen: np.ndarray,
    colours: np.ndarray,
    widths: np.ndarray,
    opacity: np.ndarray,
    lift: float,
) -> None:
    """Draw hairs (s, k, 3) of `screen`, the nearest first, on the empty `layer` (h, w, 4) of colour and coverage.

    What lies more than `lift` centimetres behind `depth` stays hidden. widths (s, k) in samples; a hair thinner
    than a sample is drawn one sample wide and fainter. Colours are multiplied by their coverage.
    """
    height, width = depth.shape
    for s in range(screen.shape[0]):
        for k in range(screen.shape[1] - 1):
            x0, y0, z0 = screen[s, k, 0], screen[s, k, 1], screen[s, k, 2]
            x1, y1, z1 = screen[s, k + 1, 0], screen[s, k + 1, 1], screen[s, k + 1, 2]
            if max(x0, x1) < F(-4) or max(y0, y1) < F(-4) or min(x0, x1) > F(width + 4) or min(y0, y1) > F(height + 4):
                continue
            if _hidden(depth, x0, y0, z0 + lift) and _hidden(depth, x1, y1, z1 + lift):
                continue
            if _covered(layer, x0, y0) and _covered(layer, x1, y1) and _covered(layer, (x0 + x1) / 2, (y0 + y1) / 2):
                continue
            dx, dy = x1 - x0, y1 - y0
            steep = abs(dy) > abs(dx)
            if steep:
                a0, b0, a1, b1, limit_a, limit_b = y0, x0, y1, x1, height, width
            else:
                a0, b0, a1, b1, limit_a, limit_b = x0, y0, x1, y1, width, height
            span = a1 - a0
            length = math.sqrt(dx * dx + dy * dy)
            if length < F(1e-3):
                continue
            inverse = F(1) / span if abs(span) > F(1e-3) else F(0)
            slant = abs(span) / length  # of the width across to the width along the minor axis
            first, last = math.ceil(min(a0, a1)), math.ceil(max(a0, a1)) - 1
            for a in range(max(first, 0), min(last, limit_a - 1) + 1):
                t = min(max((F(a) - a0) * inverse, F(0)), F(1))
                b = b0 + (b1 - b0) * t
                z = z0 + (z1 - z0) * t + lift
                w = widths[s, k] * (F(1) - t) + widths[s, k + 1] * t
                strength = opacity[s] * min(w, F(1))
                reach = F(0.5) * max(w, F(1)) / max(slant, F(0.5))
                u = F(1) - t
                red = colours[s, k, 0] * u + colours[s, k + 1, 0] * t
                green = colours[s, k, 1] * u + colours[s, k + 1, 1] * t
                blue = colours[s, k, 2] * u + colours[s, k + 1, 2] * t
                low, high = b - reach + F(0.5), b + reach + F(0.5)
                for c in range(max(math.floor(low), 0), min(math.floor(high), limit_b - 1) + 1):
                    y, x = (a, c) if steep else (c, a)
                    left = F(1) - layer[y, x, 3]
                    if left < F(0.03) or z < depth[y, x]:
                        continue
                    cover = (min(F(c) + F(1), high) - max(F(c), low)) * strength * left
                    if cover <= F(0.01):
                        continue
                    layer[y, x, 0] += cover * red
                    layer[y, x, 1] += cover * green
                    layer[y, x, 2] += cover * blue
                    layer[y, x, 3] += cover


@njit(**JIT)
def lay_over(picture: np.ndarray, layer: np.ndarray, box: np.ndarray) -> None:
    """Put `layer` (h, w, 4), as draw_strands leaves it, over `picture` inside `box`, and empty it."""
    for y in range(box[1], box[3]):
        for x in range(box[0], box[2]):
            cover = layer[y, x, 3]
            if cover > F(0):
                for c in range(3):
                    picture[y, x, c] = picture[y, x, c] * (F(1) - cover) + layer[y, x, c]
                    layer[y, x, c] = 0
                layer[y, x, 3] = 0
