"""Light and weather: the sun, the sky, haze, and what lens, sensor and file format do to the picture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from pixelwise.data.synthetic.camera import Camera
from pixelwise.data.synthetic.surfaces import grain, noise_tile


@dataclass(frozen=True)
class Light:
    """The light of a scene; colours are RGB factors or 0..255, directions point towards the sun.

    Attributes
    ----------
    sun, ambient
        What a surface receives from the sun when it faces it, and from everywhere: 3 factors each.
    direction
        Unit vector towards the sun.
    zenith, horizon, cloud
        Colours of the sky, 0..255.
    cover
        Share of clouds, 0..1.
    drift
        Place in the noise that makes the clouds.
    haze
        Extinction per metre.
    rain
        Strength of streaks, 0 for none.
    lamps
        Whether lamps and windows are lit.
    """

    sun: np.ndarray
    ambient: np.ndarray
    direction: np.ndarray
    zenith: np.ndarray
    horizon: np.ndarray
    cloud: np.ndarray
    cover: float
    drift: np.ndarray
    haze: float
    rain: float
    lamps: bool

    def on(self, normals: np.ndarray) -> np.ndarray:
        """Factors (..., 3) for flat surfaces with these unit normals (..., 3)."""
        facing = np.maximum(normals @ self.direction, 0)[..., None]
        return self.ambient * (0.9 + 0.1 * normals[..., 1:2]) + self.sun * facing

    @property
    def all_round(self) -> np.ndarray:
        """3 factors for round things, which always show the sun some of their surface."""
        return self.ambient * 0.95 + self.sun * 0.55

    @property
    def shadow(self) -> np.ndarray:
        """What is left of the ground's light where the sun does not reach."""
        return self.ambient / (self.ambient + self.sun * max(0.05, float(self.direction[1])))


@dataclass(frozen=True)
class Look:
    """What lens, sensor and file format add: gains, blur (pixels), noise (grey values), JPEG quality."""

    gain: np.ndarray
    contrast: float
    saturation: float
    vignette: float
    blur: float
    noise: float
    quality: int


def random_light(rng: np.random.Generator) -> Light:
    """Clear, broken, overcast, dusk or fog."""
    kind = rng.choice(["clear", "broken", "overcast", "dusk", "fog"], p=[0.32, 0.26, 0.2, 0.12, 0.1])
    azimuth = rng.uniform(-np.pi, np.pi)
    elevation = np.radians(rng.uniform(9, 20) if kind == "dusk" else rng.uniform(25, 65))
    direction = np.array(
        [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)]
    )
    white = np.ones(3)
    if kind == "clear" or kind == "broken":
        sun, ambient = np.array([0.62, 0.56, 0.46]), np.array([0.62, 0.65, 0.71])
        zenith = np.array([62.0, 118.0, 196.0]) * rng.uniform(0.85, 1.15)
        horizon = np.array([196.0, 216.0, 234.0])
        cloud, cover = np.array([248.0, 248.0, 250.0]), rng.uniform(0.05, 0.35)
        if kind == "broken":
            cover = rng.uniform(0.4, 0.75)
            sun = sun * 0.8
    elif kind == "dusk":
        sun, ambient = np.array([0.62, 0.42, 0.24]), np.array([0.58, 0.53, 0.58])
        zenith = np.array([86.0, 98.0, 152.0]) * rng.uniform(0.7, 1.1)
        horizon = np.array([250.0, 186.0, 128.0]) * rng.uniform(0.85, 1.0)
        cloud, cover = np.array([226.0, 158.0, 140.0]), rng.uniform(0.2, 0.6)
    else:
        grey = rng.uniform(165, 232)
        sun, ambient = 0.12 * white, np.array([0.92, 0.94, 0.97]) * rng.uniform(0.82, 1.08)
        zenith, horizon = grey * np.array([0.90, 0.94, 0.99]), grey * np.array([1.0, 1.01, 1.02])
        cloud, cover = np.full(3, grey * rng.uniform(0.84, 0.95)), rng.uniform(0.4, 0.8)
    return Light(
        sun=sun * rng.uniform(0.85, 1.1),
        ambient=ambient * rng.uniform(0.92, 1.08),
        direction=direction,
        zenith=zenith,
        horizon=horizon,
        cloud=cloud,
        cover=float(cover),
        drift=rng.uniform(0, 512, 2),
        haze=float(rng.uniform(0.008, 0.022) if kind == "fog" else rng.uniform(0.0006, 0.003)),
        rain=float(rng.uniform(0.4, 1.0) if kind == "overcast" and rng.random() < 0.45 else 0.0),
        lamps=bool(kind == "dusk" or (kind == "fog" and rng.random() < 0.5)),
    )


def random_look(rng: np.random.Generator) -> Look:
    """A camera's mood: exposure, white balance, sharpness, noise."""
    warmth = rng.normal(0, 0.06)
    return Look(
        gain=rng.uniform(0.9, 1.24) * np.array([1 + warmth, 1 + rng.normal(0, 0.015), 1 - warmth]),
        contrast=float(rng.uniform(0.88, 1.18)),
        saturation=float(rng.uniform(0.7, 1.25)),
        vignette=float(rng.uniform(0, 0.25)),
        blur=float(max(0.0, rng.normal(0.35, 0.25))),
        noise=float(rng.uniform(1.0, 5.0) if rng.random() < 0.8 else rng.uniform(5.0, 9.0)),
        quality=int(rng.integers(45, 96)),
    )


def paint_sky(light: Light, camera: Camera) -> np.ndarray:
    """3×H×W float32: a gradient with a layer of clouds, both fixed to directions in the world."""
    height, width = camera.size
    sky = np.empty((3, height, width), np.float32)
    x, y = np.arange(width, dtype=np.float32) + 0.5, np.arange(height, dtype=np.float32)[:, None] + 0.5
    towards = np.linalg.inv(camera.infinity).astype(np.float32)
    up = towards[1, 0] * x + towards[1, 1] * y + towards[1, 2]
    last = int(np.flatnonzero((up > -0.01).any(axis=1))[-1]) + 1 if (up > -0.01).any() else 0
    sky[:, last:] = light.horizon[:, None, None]
    up = up[:last]
    right, forward = (row[0] * x + row[1] * y[:last] + row[2] for row in towards[[0, 2]])
    rise = np.clip(up / np.sqrt(right * right + up * up + forward * forward), 0, 1)
    blue = np.sqrt(np.clip(rise * 1.9, 0, 1))
    # A flat layer of clouds: seen at a low angle it is far away and compressed.
    spread = 60 / (rise + 0.16)
    u, v = light.drift.astype(np.float32)
    puffs = cv2.remap(
        noise_tile(),
        right * spread + u,
        forward * spread * 0.6 + v,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    )
    threshold = 1.3 - 2.6 * light.cover
    amount = np.clip((puffs - threshold) * 0.8, 0, 1) * np.clip(rise * 9, 0.15, 0.92)
    shade = 1 - 0.07 * np.clip(puffs, -1, 2)
    for plane, horizon, zenith, cloud in zip(sky, light.horizon, light.zenith, light.cloud, strict=True):
        clear = float(horizon) + blue * float(zenith - horizon)
        plane[:last] = clear + amount * (float(cloud) * shade - clear)
    return sky


def add_haze(image: np.ndarray, nearness: np.ndarray, light: Light) -> None:
    """Fade 3×H×W float colours towards the horizon's colour with distance, in place; nearness is 1/metres."""
    veil = 1 - np.exp(np.float32(-light.haze) / np.maximum(nearness, np.float32(1 / 260)))
    for plane, tone in zip(image, 0.92 * light.horizon + 0.08 * light.zenith, strict=True):
        plane += veil * (float(tone) - plane)


def finish(image: np.ndarray, light: Light, look: Look, noise: float, rng: np.random.Generator) -> np.ndarray:
    """Turn 3×H×W float light into an H×W×3 uint8 photograph.

    ``noise`` scales rain, sensor noise and compression, which no optical flow explains; 0 leaves them out.
    """
    height, width = image.shape[1:]
    red, green, blue = image
    grey = (1 - look.saturation) * (0.3 * red + 0.59 * green + 0.11 * blue)
    y, x = np.linspace(-1, 1, height, dtype=np.float32), np.linspace(-1, 1, width, dtype=np.float32)
    vignette = 1 - look.vignette * 0.5 * (y[:, None] ** 2 + x**2)
    offset = np.float32(118 * (1 - look.contrast)) * vignette
    if light.rain and noise:
        offset = offset + noise * _rain(light.rain, height, width, rng)
    if noise:
        luminance = np.float32(0.75 * noise * look.noise) * grain(rng, height, width)
    planes = []
    blur = look.blur * height / 360
    for plane, gain in zip(image, look.gain, strict=True):
        tone = (look.saturation * plane + grey) * vignette * float(gain * look.contrast) + offset
        if blur > 0.2:
            tone = cv2.GaussianBlur(tone, (0, 0), blur)
        if noise:
            tone += luminance
            tone += np.float32(0.55 * noise * look.noise) * grain(rng, height, width)
        planes.append(_soft_clip(tone))
    photograph = cv2.merge(planes)
    return _compress(photograph, look.quality) if noise else photograph


def _soft_clip(tone: np.ndarray) -> np.ndarray:
    """Float grey values to uint8; highlights fade out instead of being cut."""
    over = np.maximum(tone - 215, 0)
    return np.maximum(tone - over + 40 * over / (40 + over), 0).astype(np.uint8)


def _rain(strength: float, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """H×W float32 grey values to add: short bright streaks, all at the same slant."""
    drops = (grain(rng, height, width) > 2.75).astype(np.float32)
    length = max(5, round(height / 26))
    kernel = np.zeros((length, length), np.float32)
    slant = int(rng.integers(-2, 3))
    cv2.line(kernel, (length // 2 - slant, 0), (length // 2 + slant, length - 1), 1.0, 1)
    return cv2.filter2D(drops, -1, kernel) * np.float32(34 * strength)


def _compress(photograph: np.ndarray, quality: int) -> np.ndarray:
    """The photograph after a round through JPEG."""
    bgr = cv2.cvtColor(photograph, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.cvtColor(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR)), cv2.COLOR_BGR2RGB)
