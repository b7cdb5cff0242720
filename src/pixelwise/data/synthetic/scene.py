"""What stands where: a random street as a list of things with their places, speeds and shadows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import cv2
import numpy as np

from pixelwise.data.synthetic import facades, furniture, people, plants, vehicles
from pixelwise.data.synthetic.camera import Camera
from pixelwise.data.synthetic.classes import BUILDING, THINGS
from pixelwise.data.synthetic.ground import Road, random_road
from pixelwise.data.synthetic.light import Light, Look, random_light, random_look
from pixelwise.data.synthetic.surfaces import Panel, panel

DEPTH = 68.0
"""Metres of street ahead of the last place of the camera."""


@dataclass(frozen=True)
class Track:
    """A place on the street and how it changes; metres, seconds, radians.

    ``offset`` is the distance from the middle of the road (right is positive), ``heading`` 0 drives away.
    """

    offset: float
    distance: float
    sideways: float = 0.0
    speed: float = 0.0
    heading: float = 0.0

    def at(self, road: Road, time: float) -> tuple[float, float, float]:
        """(X, Z, yaw) at a time in seconds."""
        z = self.distance + self.speed * time
        x = float(road.centre(z)) + self.offset + self.sideways * time
        return x, z, road.heading(z) + self.heading

    def pose(self, road: Road, time: float) -> np.ndarray:
        """4×4 matrix from local to world coordinates at a time in seconds."""
        x, z, yaw = self.at(road, time)
        cosine, sine = np.cos(yaw), np.sin(yaw)
        return np.array([[cosine, 0, sine, x], [0, 1, 0, 0], [-sine, 0, cosine, z], [0, 0, 0, 1.0]])


@dataclass(frozen=True, eq=False)
class Thing:
    """Panels that belong together.

    Attributes
    ----------
    track
        Where it is; None when its panels are in world coordinates already.
    casters
        The panels whose shadows it throws on the ground.
    instance
        Its id from 1 up; 0 for what is not counted.
    """

    panels: tuple[Panel, ...]
    track: Track | None
    casters: tuple[Panel, ...]
    instance: int = 0

    def pose(self, road: Road, time: float) -> np.ndarray:
        """4×4 matrix from the panels' coordinates to the world's."""
        return np.eye(4) if self.track is None else self.track.pose(road, time)


@dataclass(frozen=True)
class Mount:
    """How the camera is carried: metres, radians; ``zoom`` is the focal length relative to the image."""

    track: Track
    height: float
    yaw: float
    pitch: float
    roll: float
    zoom: float
    sway: float
    phase: float

    def camera(self, road: Road, time: float, size: tuple[int, int]) -> Camera:
        """The camera at a time in seconds."""
        x, z, heading = self.track.at(road, time)
        swing = self.sway * np.sin(2 * np.pi * time / 2.6 + self.phase)
        nod = 0.3 * self.sway * np.sin(2 * np.pi * time / 0.9 + self.phase)
        return Camera.at(
            (x, self.height, z),
            heading + self.yaw + swing,
            self.pitch + nod,
            self.roll,
            self.focal(size),
            size,
        )

    def focal(self, size: tuple[int, int]) -> float:
        """Focal length in pixels: the same field of view for the area of the image whatever its shape."""
        return self.zoom * float(np.sqrt(size[0] * size[1] * 4 / 3))


@dataclass(frozen=True)
class Scene:
    """A street, its light, everything on it, and the camera that looks at it."""

    road: Road
    light: Light
    look: Look
    mount: Mount
    things: tuple[Thing, ...]


@dataclass
class _Builder:
    """Collects things, gives out instance ids, and keeps things from standing in each other."""

    rng: np.random.Generator
    road: Road
    light: Light
    mount: Mount
    size: tuple[int, int]
    travel: float
    things: list[Thing] = field(default_factory=list)
    taken: list[tuple[float, float, float]] = field(default_factory=list)
    pool: dict[tuple[object, ...], list[Panel]] = field(default_factory=dict)
    instances: int = 0

    @cached_property
    def start(self) -> Camera:
        """The camera at the beginning."""
        return self.mount.camera(self.road, 0.0, self.size)

    @property
    def focal(self) -> float:
        return self.start.focal

    @property
    def reach(self) -> float:
        return DEPTH + self.travel

    @property
    def sun_side(self) -> float:
        return float(np.sign(self.light.direction[0]))

    def detail(self, distance: float) -> float:
        """Texture pixels per metre that are worth drawing for something at this distance."""
        return float(np.clip(1.15 * self.focal / max(6.0, distance - self.travel), 5, 160))

    def free(self, offset: float, distance: float, room: float) -> bool:
        """Whether nothing stands within ``room`` metres (which then is taken), nor the camera too close."""
        start = self.mount.track
        if distance < 14 and abs(offset - start.offset) < 0.8 + room / 2 and distance < 5.5 + room:
            return False
        if any(abs(offset - o) < room + r and abs(distance - d) < room + r for o, d, r in self.taken):
            return False
        self.taken.append((offset, distance, room))
        return True

    def add(self, panels: list[Panel], track: Track | None, casters: tuple[Panel, ...] | None = None) -> None:
        instance = 0
        if panels[0].label in THINGS:
            self.instances += 1
            instance = self.instances
        shadows = tuple(_caster(each) for each in (panels if casters is None else casters))
        self.things.append(Thing(tuple(panels), track, shadows, instance))

    def in_view(self, track: Track, radius: float) -> bool:
        """Whether something of this size can come into the picture; the rest needs no textures."""
        if self.travel:
            return True
        x, z, _ = track.at(self.road, 0.0)
        return self.point_in_view(x, z, radius)

    def point_in_view(self, x: float, z: float, radius: float) -> bool:
        """The same for world coordinates."""
        if self.travel:
            return True
        camera = self.start
        right, _, ahead = camera.rotation @ (np.array([x, self.mount.height, z]) - camera.position)
        return (
            ahead > -radius
            and abs(right) < radius + (max(ahead, 0) + radius) * camera.size[1] / 2 / camera.focal
        )

    def add_tree(self, colour: plants.Colour, track: Track) -> None:
        """A tree, unless it hides everything or is out of view; far ones share a few textures."""
        if not self.in_view(track, 4.0):
            return
        ahead, aside = track.distance, abs(track.offset - self.mount.track.offset)
        if not self.travel and ahead < 11 and aside < 3.5:
            return
        scale = 0.5 * self.detail(track.distance)
        panels = self.shared(
            ("tree", colour), 2, track.distance, lambda: plants.tree(self.rng, scale, colour, self.sun_side)
        )
        self.add(panels, track)

    def shared(
        self, kind: tuple[object, ...], count: int, distance: float, make: Callable[[], list[Panel]]
    ) -> list[Panel]:
        """New panels for what comes near; far away, where nobody can tell, one of ``count`` shared ones."""
        if distance - self.travel < 25:
            return make()
        key = (*kind, int(self.rng.integers(count)))
        if key not in self.pool:
            self.pool[key] = make()
        return self.pool[key]

    def add_bush(self, colour: plants.Colour, track: Track, width: float, height: float) -> None:
        """A bush, unless it is out of view."""
        if self.in_view(track, width) and (self.travel or track.distance > 6):
            scale = 0.6 * self.detail(track.distance)
            panels = self.shared(
                ("bush", colour),
                2,
                track.distance,
                lambda: [plants.bush(self.rng, scale, colour, self.sun_side, width, height)],
            )
            self.add(panels, track)

    def spots(self, start: float, low: float, high: float, depth: float = DEPTH) -> Iterator[float]:
        """Distances up to ``depth`` ahead of the end of the ride, ``low`` to ``high`` metres apart."""
        distance = start + self.rng.uniform(0, high)
        while distance < depth + self.travel:
            yield float(distance)
            distance += self.rng.uniform(low, high)

    def in_junction(self, distance: float, margin: float = 0.0) -> bool:
        junction = self.road.junction
        return junction is not None and junction[0] - margin < distance < junction[1] + margin


def _caster(source: Panel) -> Panel:
    """The outline of a panel in a small single-channel texture: enough for a shadow."""
    alpha = cv2.extractChannel(source.texture, 3)
    width, height = min(alpha.shape[1], 48), min(alpha.shape[0], 64)
    return replace(source, texture=cv2.resize(alpha, (width, height), interpolation=cv2.INTER_AREA))


def build_scene(rng: np.random.Generator, size: tuple[int, int], seconds: float = 0.0) -> Scene:
    """A random street for a picture of ``size`` (height, width), or for a ride of so many seconds."""
    light, look = random_light(rng), random_look(rng)
    speed = rng.uniform(4, 11)
    travel = speed * seconds
    road = random_road(rng, DEPTH + travel)
    if light.rain:
        road = replace(road, wet=float(rng.uniform(0.3, 0.7)))
    mount = _random_mount(rng, road, speed, moving=seconds > 0)
    builder = _Builder(rng, road, light, mount, size, travel)
    for side in (-1, 1):
        _houses(builder, side)
    _backdrop(builder)
    _parked_and_moving_cars(builder)
    for side in (-1, 1):
        _trees(builder, side)
        _furniture(builder, side)
    _people(builder)
    _cyclists(builder)
    return Scene(road, light, look, mount, tuple(builder.things))


def _random_mount(rng: np.random.Generator, road: Road, speed: float, moving: bool) -> Mount:
    on_foot = not moving and rng.random() < 0.25
    if on_foot:
        offset = rng.choice([-1, 1]) * (road.half + rng.uniform(0.3, road.pavement - 1.0))
        yaw = -np.sign(offset) * rng.uniform(0.02, 0.22)
    else:
        offset = road.lane * (0.5 + rng.integers(road.lanes)) + rng.uniform(-0.4, 0.4)
        yaw = rng.normal(0, 0.05)
    return Mount(
        track=Track(float(offset), 0.0, 0.0, speed),
        height=float(rng.uniform(1.25, 1.75) if on_foot or rng.random() < 0.6 else rng.uniform(1.75, 2.9)),
        yaw=float(yaw),
        pitch=float(rng.normal(-0.01, 0.055)),
        roll=float(rng.normal(0, 0.022)),
        zoom=float(rng.uniform(0.85, 1.15)),
        sway=float(rng.uniform(0.004, 0.014)),
        phase=float(rng.uniform(0, 6)),
    )


def _houses(builder: _Builder, side: int) -> None:
    """A row of buildings on one side, with gaps; or a park."""
    rng, road = builder.rng, builder.road
    line = road.half + road.pavement
    if rng.random() < 0.12:
        _park(builder, side, line)
        return
    tall = rng.uniform(6.5, 15)
    spread = rng.uniform(1.0, 4.0)
    distance = rng.uniform(-12, -4)
    hidden = 0.0  # height of the house before, which hides the side wall of the next
    while distance < builder.reach:
        length = rng.uniform(6, 17)
        end = distance + length
        if (
            builder.in_junction(distance, 1.5)
            or builder.in_junction(end, 1.5)
            or _spans(builder, distance, end)
        ):
            assert road.junction is not None
            if distance < road.junction[0] - 6:
                end = road.junction[0] - 2.0
            else:
                distance, hidden = road.junction[1] + 2.0, 0.0
                continue
        if rng.random() < 0.13:
            _gap(builder, side, line, distance, end)
            hidden = 0.0
        else:
            back = line + (rng.uniform(0, 1.2) if rng.random() < 0.3 else 0.0)
            ends = [(float(road.centre(z)) + side * back, z) for z in (distance, end)]
            height = float(np.clip(tall + rng.normal(0, spread), 4.5, 24))
            style = facades.random_style(rng, builder.light.lamps)

            def detail(z: float) -> float:
                return 0.4 * builder.detail(max(10.0, z))

            middle = ((ends[0][0] + ends[1][0]) / 2, (distance + end) / 2)
            if any(builder.point_in_view(x, z, 3.0) for x, z in (*ends, middle)):
                panels = facades.building(
                    rng, style, ends[0], ends[1], height, side, detail, exposed=height > hidden
                )
                builder.add(panels, None, casters=tuple(panels[:1]))
            hidden = height if back == line else 0.0
        distance = end
        if rng.random() < 0.12:
            distance, hidden = end + rng.uniform(1, 3), 0.0


def _spans(builder: _Builder, start: float, end: float) -> bool:
    junction = builder.road.junction
    return junction is not None and start < junction[0] and end > junction[1]


def _gap(builder: _Builder, side: int, line: float, start: float, end: float) -> None:
    """Trees and bushes where no house stands."""
    rng = builder.rng
    colour = plants.foliage(rng)
    for _ in range(int(rng.integers(2, 5))):
        distance = rng.uniform(start, end)
        offset = side * (line + rng.uniform(1.5, 6))
        builder.add_tree(colour, Track(offset, distance))
    hedge = rng.random() < 0.6
    if hedge:
        for distance in np.arange(start + 1, end, 2.2):
            builder.add_bush(colour, Track(side * (line + 1.2), float(distance)), 3.2, rng.uniform(1.0, 1.6))


def _park(builder: _Builder, side: int, line: float) -> None:
    rng = builder.rng
    colours = [plants.foliage(rng) for _ in range(3)]
    for distance in builder.spots(2, 2.0, 4.5):
        colour = colours[int(rng.integers(3))]
        builder.add_tree(colour, Track(side * (line + rng.uniform(1, 9)), distance))
        builder.add_bush(
            colour, Track(side * (line + 0.6), distance), rng.uniform(3, 5), rng.uniform(0.9, 1.9)
        )


def _backdrop(builder: _Builder) -> None:
    """Woods on the horizon, and sometimes houses that close the street."""
    rng, light = builder.rng, builder.light
    colour = plants.foliage(rng)
    for distance, height in ((DEPTH * 2.2, rng.uniform(9, 26)), (DEPTH * 1.7, rng.uniform(4, 12))):
        line = plants.woods(rng, colour, 520, height, 1.2)
        builder.add([line], Track(0, builder.travel + distance), casters=())
    if rng.random() < 0.45:
        z = builder.reach + 12
        middle = float(builder.road.centre(z))
        left = middle - rng.uniform(25, 40)
        while left < middle + 35:
            width, height = rng.uniform(9, 18), rng.uniform(6, 16)
            style = facades.random_style(rng, light.lamps)
            texture = facades.front(rng, style, width, height, 0.6 * builder.focal / DEPTH)
            place = left, height, z
            builder.add([panel(texture, place, (width, 0, 0), (0, -height, 0), BUILDING)], None, casters=())
            left += width


def _parked_and_moving_cars(builder: _Builder) -> None:
    rng, road = builder.rng, builder.road
    lamps = builder.light.lamps
    for side in (-1, 1):
        if rng.random() < 0.75:
            density = rng.uniform(0.35, 0.95)
            for distance in builder.spots(3, 5.4, 6.8):
                offset = side * (road.half - 1.05)
                if (
                    rng.random() > density
                    or builder.in_junction(distance, 6)
                    or _on_crossing(builder, distance)
                ):
                    continue
                heading = 0.0 if (side > 0) == (rng.random() < 0.9) else np.pi
                if builder.free(offset, distance, 1.0):
                    _add_car(
                        builder, Track(offset, distance, heading=heading + rng.normal(0, 0.03)), lamps=False
                    )
    ego = builder.mount.track.speed if builder.travel else rng.uniform(4, 11)
    for lane in range(road.lanes):
        middle = road.lane * (lane + 0.5)
        for distance in builder.spots(rng.uniform(7, 14), 10, 40):
            if builder.free(middle, distance, 2.0):
                track = Track(middle + rng.normal(0, 0.2), distance, speed=ego * rng.uniform(0.95, 1.25))
                _add_car(builder, track, lamps)
        for distance in builder.spots(rng.uniform(6, 14), 9, 40):
            if builder.free(-middle, distance, 2.0):
                speed = -rng.uniform(4, 10)
                track = Track(-middle + rng.normal(0, 0.2), distance, speed=speed, heading=np.pi)
                _add_car(builder, track, lamps)
    if road.junction and rng.random() < 0.6:
        z = rng.uniform(road.junction[0] + 2, road.junction[1] - 2)
        way = rng.choice([-1, 1])
        track = Track(way * rng.uniform(1, 9), z, sideways=-way * 4.0, heading=-way * np.pi / 2)
        if builder.free(track.offset, z, 2.4):
            _add_car(builder, track, lamps)


def _add_car(builder: _Builder, track: Track, lamps: bool) -> None:
    if not builder.in_view(track, 2.6):
        return
    scale = builder.detail(track.distance - abs(min(0.0, track.speed)) * builder.travel / 8)
    panels = builder.shared(("car",), 5, track.distance, lambda: vehicles.car(builder.rng, scale, lamps))
    builder.add(panels, track, casters=vehicles.car_shadow(panels))


def _on_crossing(builder: _Builder, distance: float) -> bool:
    return any(bar.stripe and bar.z - 4 < distance < bar.z + bar.length + 3 for bar in builder.road.bars)


def _trees(builder: _Builder, side: int) -> None:
    """An avenue, or a few trees, or none."""
    rng, road = builder.rng, builder.road
    if rng.random() > 0.72:
        return
    colours = [plants.foliage(rng) for _ in range(2)]
    offset = side * (road.half + rng.uniform(0.6, 1.2))
    low = rng.uniform(6, 13)
    for distance in builder.spots(5, low, low * rng.uniform(1.1, 2.0)):
        if not builder.in_junction(distance, 3) and builder.free(offset, distance, 0.5):
            colour = colours[int(rng.random() < 0.25)]
            builder.add_tree(colour, Track(offset, distance))


def _furniture(builder: _Builder, side: int) -> None:
    """Lamp posts, signs, traffic lights, bollards."""
    rng, road = builder.rng, builder.road
    kerb = side * (road.half + rng.uniform(0.35, 0.6))
    state = rng.bit_generator.state["state"]["state"] % 2**32
    for distance in builder.spots(4, 11, 20, 50):
        if not builder.in_junction(distance) and builder.free(kerb, distance, 0.3):
            same = np.random.default_rng(state)  # one street, one kind of lamp
            builder.add(furniture.lamp_post(same, side, builder.light.lamps), Track(kerb, distance))
    for distance in builder.spots(4.5, 4, 9, 34):
        offset = side * (road.half + rng.uniform(0.3, 1.6))
        if not builder.in_junction(distance) and builder.free(offset, distance, 0.5):
            _add_sign(builder, Track(offset, distance))
    if road.junction and builder.free(kerb, road.junction[0] - 1.0, 0.4):
        height = rng.uniform(3.0, 3.8)
        track = Track(kerb, road.junction[0] - 1.0)
        builder.add(furniture.post(rng, height), track)
        builder.add(furniture.traffic_light(rng, height), track)
    if rng.random() < 0.4:
        start, step = rng.uniform(4, 18), rng.uniform(1.6, 2.6)
        for distance in np.arange(start, start + rng.uniform(6, 22), step):
            if not builder.in_junction(float(distance)) and builder.free(kerb, float(distance), 0.2):
                builder.add(furniture.bollard(rng), Track(kerb, float(distance)))


def _add_sign(builder: _Builder, track: Track) -> None:
    rng = builder.rng
    if not builder.in_view(track, 1.5):
        return
    kind = rng.choice(["plate", "light", "billboard"], p=[0.7, 0.16, 0.14])
    if kind == "billboard" and track.distance > 10:
        boards = furniture.billboard(rng)
        outer = replace(track, offset=track.offset + np.sign(track.offset) * 1.0)
        builder.add(furniture.billboard_legs(rng, boards), outer)
        builder.add(boards, outer)
        return
    height = rng.uniform(2.4, 3.4)
    builder.add(furniture.post(rng, height), track)
    builder.add((furniture.sign if kind != "light" else furniture.traffic_light)(rng, height), track)


def _people(builder: _Builder) -> None:
    rng, road = builder.rng, builder.road
    for _ in range(int(rng.integers(18, 32)) + int(builder.travel / 3)):
        side = rng.choice([-1, 1])
        distance = rng.uniform(4.5, 14) + rng.uniform(0, 1) ** 3 * (14 + builder.travel)
        offset = side * (road.half + rng.uniform(0.5, road.pavement - 0.4))
        if builder.in_view(Track(offset, distance), 0.0) and builder.free(offset, distance, 0.3):
            speed = rng.choice([-1, 1]) * rng.uniform(0.6, 1.6)
            _add_person(builder, Track(offset, distance, speed=speed))
    crossing = rng.random() < 0.6
    zebra = next((bar for bar in road.bars if bar.stripe), None)
    if crossing:
        for _ in range(int(rng.integers(1, 4))):
            distance = zebra.z + rng.uniform(0.3, zebra.length) if zebra else rng.uniform(7, 18)
            offset = rng.uniform(-road.half, road.half)
            if builder.free(offset, distance, 0.6):
                _add_person(
                    builder, Track(offset, distance, sideways=rng.choice([-1, 1]) * rng.uniform(0.8, 1.5))
                )


def _add_person(builder: _Builder, track: Track) -> None:
    scale = builder.detail(track.distance)
    builder.add(
        builder.shared(("person",), 6, track.distance, lambda: people.person(builder.rng, scale)), track
    )


def _cyclists(builder: _Builder) -> None:
    rng, road = builder.rng, builder.road
    wanted = int(rng.integers(2, 5)) + int(builder.travel / 12)
    for _ in range(wanted * 4):
        way = rng.choice([-1, 1])
        distance = rng.uniform(5.5, 12) + rng.uniform(0, 1) ** 2 * (8 + builder.travel)
        view = "side" if rng.random() < 0.5 else "end"
        if view == "side":
            track = Track(rng.uniform(-road.half, road.half), distance, sideways=way * 2.0)
        else:
            offset = way * (min(road.lanes * road.lane, road.half) - rng.uniform(0.3, 1.0))
            track = Track(offset, distance, speed=way * rng.uniform(2.5, 5))
        if wanted and builder.in_view(track, 0.0) and builder.free(track.offset, distance, 0.8):
            wanted -= 1
            builder.add(people.cyclist(rng, builder.detail(distance), view), track)
