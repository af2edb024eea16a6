"""Who a person is: everything that a seed decides and that no frame changes."""

from dataclasses import dataclass

import numpy as np

from .cage import EYE_RADIUS, cage, eye_ring
from .srgb import decode

HAIR_STYLES = ("cropped", "short", "side", "curly", "bald", "bob", "long", "tied", "covered")
CLOTHES = ("crew", "vneck", "shirt", "blazer", "hoodie")
BEARDS = ("none", "stubble", "moustache", "goatee", "full")
# sRGB, from light to dark, each in a cooler and a warmer variety.
SKINS = np.array(
    [
        [(228, 194, 178), (226, 190, 168)],
        [(231, 188, 164), (228, 186, 156)],
        [(212, 166, 140), (210, 166, 132)],
        [(184, 136, 110), (182, 136, 102)],
        [(146, 100, 76), (142, 100, 70)],
        [(104, 70, 54), (100, 70, 50)],
        [(76, 51, 42), (72, 50, 38)],
    ]
)
HAIRS = {
    "black": (22, 19, 18),
    "dark brown": (46, 32, 25),
    "brown": (84, 57, 40),
    "light brown": (124, 92, 62),
    "blond": (176, 142, 98),
    "red": (122, 62, 34),
    "grey": (136, 133, 130),
    "white": (205, 203, 198),
}
IRISES = ((58, 36, 22), (84, 54, 30), (104, 84, 50), (88, 104, 78), (92, 120, 140), (116, 134, 146))
FABRICS = (
    *((28, 32, 44), (52, 58, 70), (92, 98, 106), (188, 188, 184), (226, 224, 218), (62, 78, 98), (110, 132, 152)),
    *((74, 90, 74), (122, 128, 104), (104, 52, 50), (150, 92, 76), (176, 150, 116), (58, 46, 62), (136, 116, 138)),
)


@dataclass(frozen=True)
class Identity:
    """A person. Colours are linear light, (3,) float64."""

    seed: int
    feminine: bool
    age: float  # 0 young adult ... 1 old
    vertices: np.ndarray  # (n, 3) the cage at rest, centimetres
    eyes: np.ndarray  # (2, 3) middles of the eyeballs
    skin: np.ndarray
    blush: float  # how red cheeks and nose are, 0 ... 1
    freckles: float  # 0 ... 1
    lips: np.ndarray
    iris: np.ndarray
    teeth: np.ndarray
    hair: np.ndarray
    hair_style: str
    hair_part: float  # x of the parting, centimetres
    hairline: float  # height of the hair's edge above the brows' usual place, centimetres
    brow_thickness: float
    beard: str
    beard_density: float
    glasses: str | None  # "round", "square", "half"
    glasses_colour: np.ndarray
    clothes: str
    fabric: np.ndarray
    fabric_2: np.ndarray
    light: np.ndarray  # (8, 3) float32, as raster.shade takes it
    headwear: str | None = None  # "scarf", "beanie"; a scarf only with hair_style "covered"


def linear(srgb: tuple[int, ...] | np.ndarray) -> np.ndarray:
    """Linear light 0 ... 1 of 8-bit sRGB."""
    return decode(np.asarray(srgb, np.float64) / 255)


def person(seed: int) -> Identity:
    """The person of a seed."""
    rng = np.random.default_rng([seed, 0x1DE])
    feminine = bool(rng.random() < 0.5)
    age = float(rng.beta(1.3, 1.8))
    tone = float(rng.uniform(0, len(SKINS) - 1))
    low = min(int(tone), len(SKINS) - 2)
    warm = rng.uniform(0, 1)
    ladder = linear(SKINS[low : low + 2])
    both = ladder[0] ** (1 - (tone - low)) * ladder[1] ** (tone - low)
    skin = both[0] * (1 - warm) + both[1] * warm
    vertices, eyes = _shape(rng, feminine, age)
    hair = _hair_colour(rng, age, tone)
    style = _hair_style(rng, feminine, age, tone)
    beard = "none" if feminine else str(rng.choice(BEARDS, p=(0.46, 0.26, 0.06, 0.07, 0.15)))
    rouge = rng.uniform(0.15, 0.75) if feminine else rng.uniform(0.0, 0.15)
    # Lips have less melanin than the skin around them: redder on light skin, also lighter on dark skin.
    natural = skin * np.array([0.86, 0.45, 0.47]) * (1 - tone / 6) + skin * np.array([1.25, 0.85, 0.95]) * (tone / 6)
    natural = natural + np.array([0.06, 0.018, 0.022]) * (tone / 6)
    paint = linear(((168, 62, 66), (176, 84, 80), (140, 44, 58))[rng.integers(3)]) * (0.45 + 0.9 * skin.mean())
    lips = natural * (1 - rouge) + paint * rouge
    iris = IRISES[rng.integers(0, 2) if tone > 2.6 else rng.integers(len(IRISES))]
    glasses = str(rng.choice(("round", "square", "half"))) if rng.random() < 0.16 + 0.2 * age else None
    frame = ((18, 18, 20), (60, 36, 24), (120, 116, 110), (34, 40, 60))[rng.integers(4)]
    fabric = rng.integers(len(FABRICS), size=2)
    known = dict(
        seed=seed,
        feminine=feminine,
        age=age,
        vertices=vertices,
        eyes=eyes,
        skin=skin,
        blush=float(rng.uniform(0.2, 1.0)),
        freckles=float(rng.uniform(0, 1) ** 3 * (tone < 2.2)),
        lips=lips,
        iris=linear(iris),
        teeth=linear((226, 218, 202)) * rng.uniform(0.85, 1.05),
        hair=hair,
        hair_style=style,
        hair_part=float(rng.choice((-1, 1)) * rng.uniform(1.0, 3.4)),
        hairline=float(rng.normal(0, 0.35) + (0 if feminine else 0.7 * age * rng.random())),
        brow_thickness=float(rng.uniform(0.75, 1.15) * (0.85 if feminine else 1.15)),
        beard=beard,
        beard_density=float(rng.uniform(0.5, 1.0)),
        glasses=glasses,
        glasses_colour=linear(frame),
        clothes=str(rng.choice(CLOTHES, p=(0.3, 0.2, 0.2, 0.18, 0.12))),
        fabric=linear(FABRICS[fabric[0]]),
        fabric_2=linear(FABRICS[fabric[1]]),
        light=_light(rng),
    )
    # Drawn last: what only a few people have must not change the others.
    headwear = ("scarf" if rng.random() < 0.75 else "beanie") if style == "covered" else None
    if headwear == "beanie":
        known["hair_style"] = "long" if rng.random() < 0.7 else "bob"
    return Identity(**known, headwear=headwear)


def _hair_colour(rng: np.random.Generator, age: float, tone: float) -> np.ndarray:
    dark = tone > 2.6
    share = (0.55, 0.35, 0.08, 0, 0, 0.02, 0, 0) if dark else (0.16, 0.26, 0.24, 0.14, 0.12, 0.08, 0, 0)
    colour = linear(HAIRS[str(rng.choice(list(HAIRS), p=share))]) * rng.uniform(0.85, 1.2)
    grey = np.clip((age - 0.55) / 0.35 + rng.normal(0, 0.25), 0, 1)
    silver = linear(HAIRS["white" if rng.random() < 0.3 else "grey"])
    return colour * (1 - grey) + silver * grey


def _hair_style(rng: np.random.Generator, feminine: bool, age: float, tone: float) -> str:
    curls = 0.22 if tone > 3.4 else 0.08
    if feminine:
        names, weights = ("short", "curly", "bob", "long", "tied", "covered"), (0.1, curls, 0.24, 0.34, 0.2, 0.07)
    else:
        names = ("cropped", "short", "side", "curly", "bald", "long")
        weights = (0.27, 0.26, 0.22, curls, 0.05 + 0.2 * age, 0.03)
    return str(rng.choice(names, p=np.array(weights) / sum(weights)))


def _light(rng: np.random.Generator) -> np.ndarray:
    """A soft key light from one side, a weaker fill from the other, the room's light, and a rim from behind."""
    side = float(rng.choice((-1, 1)))
    azimuth, height = side * rng.uniform(0.2, 0.85), rng.uniform(0.2, 0.6)
    key = np.array([np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height)])
    fill = np.array([-side * 0.8, rng.uniform(-0.1, 0.3), 0.6])
    rim = np.array([-side * rng.uniform(0.4, 0.9), rng.uniform(0.2, 0.6), -0.6])
    warmth = rng.uniform(-0.05, 0.07)
    white = np.array([1 + warmth, 1.0, 1 - warmth])
    strength, fill_strength = rng.uniform(0.62, 0.88), rng.uniform(0.12, 0.28)
    room = rng.uniform(0.27, 0.42)
    cool = 1 + np.array([-0.4, 0, 0.5]) * (warmth + rng.uniform(0, 0.06))
    rows = [
        *(key / np.linalg.norm(key), white * strength),
        *(fill / np.linalg.norm(fill), cool * fill_strength),
        *(cool * room * 1.25, white * room * 0.62),
        *(rim / np.linalg.norm(rim), cool * rng.uniform(0.0, 0.5)),
    ]
    return np.array(rows, np.float32)


def _bump(points: np.ndarray, centre: tuple[float, float, float], radius: float | tuple[float, ...]) -> np.ndarray:
    """A smooth hill (n,) around `centre` and its mirror image, 1 at the top; z is ignored where centre has none."""
    d = np.abs(points[:, 0:1]) - centre[0]
    d = np.concatenate([d, points[:, 1:] - centre[1:]], axis=1) / radius
    return np.exp(-0.5 * (d**2).sum(axis=1))


def _shape(rng: np.random.Generator, feminine: bool, age: float) -> tuple[np.ndarray, np.ndarray]:
    """The cage of one person (n, 3) and the eyeballs' middles (2, 3): the average, bent at the places that differ."""
    p = cage().vertices.copy()
    n = 0.92 * rng.standard_normal(64).clip(-1.7, 1.7)
    f = 1.0 if feminine else -1.0
    side = np.sign(p[:, 0])
    front = 1 / (1 + np.exp(-(p[:, 2] + 7) / 1.5))  # the face, not the back of the head

    def move(where: np.ndarray, x: float = 0, y: float = 0, z: float = 0) -> None:
        p[:, 0] += where * x * side
        p[:, 1] += where * y
        p[:, 2] += where * z

    def ramp(low: float, high: float) -> np.ndarray:
        return np.clip((p[:, 1] - low) / (high - low), 0, 1)

    nose = _bump(p, (0, -1.4, 3.0), (1.5, 1.6, 2.2))  # the template's is large
    p[:, 0] *= 1 - 0.10 * nose
    p[:, 2] -= 0.30 * nose
    jaw = (1 - ramp(-8.0, -1.5)) * front
    p[:, 0] *= 1 + (0.035 * n[0] - 0.035 * f - 0.01) * jaw
    move(_bump(p, (0, -8.3, -0.5), (1.9, 1.5, 3)), z=0.28 * n[1] - 0.08 * f + 0.1, y=0.22 * n[2] + 0.1 * f)
    move(_bump(p, (1.3, -8.6, -1.0), (1.1, 1.2, 3)), x=0.14 * n[3] - 0.16 * f)
    move(_bump(p, (5.6, -4.2, -5.0), (1.6, 1.8, 2.5)), x=0.22 * n[4] - 0.20 * f)  # the jaw's angle
    move(_bump(p, (5.0, 0.2, -1.5), (1.5, 1.3, 2.5)), x=0.22 * n[5], z=0.22 * n[6] + 0.08 * f)  # cheekbones
    move(
        _bump(p, (4.0, -3.4, -2.0), (1.5, 1.7, 2.5)), x=0.22 * n[7] - 0.15 * age, z=0.25 * n[8] + 0.06 * f - 0.25 * age
    )
    move(_bump(p, (2.4, 4.9, 1.6), (2.4, 0.7, 2.5)), z=0.14 * n[9] - 0.14 * f)  # brow ridge
    move(_bump(p, (0, 7.8, 0), (4.5, 2.6, 5)), z=0.25 * n[10] + 0.1 * f, y=0.2 * n[11])  # forehead
    move(_bump(p, (6.6, 6.0, -3.5), (2.0, 2.2, 3)), x=0.20 * n[12])  # temples
    # nose
    move(_bump(p, (0, -1.5, 3.2), (1.0, 1.0, 1.8)), z=0.26 * n[13] - 0.12 * f - 0.12, y=0.14 * n[14] + 0.12 * f)
    move(_bump(p, (1.5, -1.9, 1.5), (0.75, 0.75, 1.4)), x=0.16 * n[15] - 0.08 * f)  # wings
    move(_bump(p, (0.7, -1.3, 3.2), (0.6, 0.7, 1.2)), x=0.10 * n[16] - 0.05 * f + 0.04)  # tip
    move(_bump(p, (0, 1.4, 2.4), (0.8, 1.4, 1.5)), z=0.18 * n[17] - 0.08 * f)  # bridge
    move(_bump(p, (0.9, 1.6, 1.6), (0.5, 1.6, 1.2)), x=0.09 * n[18])
    move(_bump(p, (0, 3.3, 1.4), (0.9, 0.9, 1.2)), z=0.12 * n[19])  # root
    # mouth
    width = 1 + 0.055 * n[20] - 0.012 * f
    p[:, 0] *= 1 + (width - 1) * _bump(p, (0, -4.8, 0), (3.2, 1.6, 3))
    lips = _bump(p, (0, -4.75, 0.6), (2.6, 1.0, 2.0))
    move(lips, z=0.16 * n[21])
    upper = p[:, 1] > p[13, 1]
    thick = np.where(upper, 0.20 * n[22] + 0.14, 0.17 * n[23]) + 0.08 * f - 0.10 * age + 0.14
    p[:, 1] += (p[:, 1] - (p[13, 1] + p[14, 1]) / 2) * thick * _bump(p, (0, -4.8, 0.6), (2.2, 1.15, 2.0))
    move(_bump(p, (0, -4.8, 0), (3.4, 1.7, 3)), y=0.18 * n[24])
    move(_bump(p, (3.0, -4.5, -1.1), (0.8, 0.6, 1.2)), y=0.09 * n[25] - 0.10 * age)  # corners
    # eyes
    size = 1 + 0.05 * n[26] + 0.03 * f
    for sign in (-1, 1):
        centre = p[eye_ring(0 if sign < 0 else 1, cage().mirror)].mean(axis=0)
        near = np.exp(-0.5 * (((p - centre) / (1.75, 1.1, 2.0)) ** 2).sum(axis=1))
        d = p - centre
        tilt = (0.05 * n[27] + 0.015 * f) * sign
        p[:, 0] += near * (d[:, 0] * (size - 1) + sign * 0.13 * n[28])
        p[:, 1] += near * (d[:, 1] * ((size - 1) + 0.09 * n[29] + 0.04 * f - 0.10 * age - 0.13) + d[:, 0] * tilt)
        p[:, 2] += near * 0.10 * n[30]
    move(_bump(p, (3.6, 5.2, 1.0), (2.2, 0.8, 2.5)), y=0.16 * n[31] + 0.08 * f)  # brows
    # the whole
    neck = (1 - ramp(-16, -8)) * (1 - front * (p[:, 1] > -9.5))
    middle = np.array([0, 0, -8.6])
    p = np.where(
        neck[:, None] > 0,
        (p - middle) * (1 + neck[:, None] * (-0.06 * f - 0.02 + 0.03 * n[32]) * (1, 0, 1)) + middle,
        p,
    )
    p *= (1 + 0.025 * n[33] + 0.028, 1 + 0.02 * n[34], 1)
    _skew(p, rng)
    eyes = np.array([_eyeball(p, side) for side in (0, 1)])
    return p, eyes


def _skew(p: np.ndarray, rng: np.random.Generator) -> None:
    """Broad one-sided bends, up to a millimetre or two: nobody is symmetric."""
    for centre in ((-3.4, 3.2, 0), (3.4, 4.8, 1), (0, -1.5, 3), (-2.5, -4.6, 0), (1.0, -8, -1)):
        near = np.exp(-0.5 * (((p - centre) / 2.4) ** 2).sum(axis=1, keepdims=True))
        p += near * rng.normal(0, 0.06, 3)


def _eyeball(p: np.ndarray, side: int) -> np.ndarray:
    ring = p[eye_ring(side, cage().mirror)]
    middle = (ring[0] + ring[8]) / 2
    front = ring[[3, 4, 5, 11, 12, 13], 2].mean()
    half = (ring[4, 1] - ring[12, 1]) / 2
    return np.array([middle[0], ring[[4, 12], 1].mean(), front - np.sqrt(EYE_RADIUS**2 - half**2)])
