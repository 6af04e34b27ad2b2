"""Seeded price paths: opening gaps, U-shaped volatility, trending and swinging regimes, and Black-Scholes prices; all invented data.

Each (seed, day, name) has a generator of its own, so that nothing depends on what was drawn before. A day's shape (gap and regimes)
is cheap and fixes where the day ends; the seconds in between are a bridge to that end. Therefore the level of any day follows from
the shapes alone, without drawing the days before second by second.
"""

from dataclasses import dataclass
from datetime import date
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def number_of(*parts: object) -> int:
    """A 64-bit number from a name; the same on every machine and in every process."""
    return int.from_bytes(blake2b("|".join(map(str, parts)).encode(), digest_size=8).digest(), "big")


def generator(*parts: object) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(number_of(*parts)))


@dataclass(frozen=True, slots=True)
class Shape:
    """A day in outline, in logarithms of price: the opening gap, each regime (end as a share of the day, drift, swinging?), the rest."""

    gap: float
    ends: tuple[float, ...]
    drifts: tuple[float, ...]
    swings: tuple[bool, ...]
    residual: float

    @property
    def change(self) -> float:
        """From the open to the end of the day."""
        return sum(self.drifts) + self.residual


def draw_shape(seed: int, day: date, name: str, scale: float) -> Shape:
    """The outline of a day for one factor. `scale` is its usual daily move (0.01 = 1 %)."""
    random = generator(seed, day, name, "shape")
    gap = float(random.normal(0.0, 0.45 * scale))
    lengths = random.uniform(0.06, 0.20, size=16)
    ends = np.cumsum(lengths)
    count = int(np.searchsorted(ends, 1.0)) + 1
    trending = random.random(16) < 0.6
    trending[0] = random.random() < 0.8  # mornings mostly go somewhere
    turns = np.where(random.random(16) < 0.68, -1.0, 1.0)  # more often than not a trend is given back
    moves = random.choice((-1.0, 1.0)) * np.cumprod(turns) * random.normal(0.42, 0.14, size=16) * scale
    ends = np.minimum(ends[:count], 1.0)
    shares = np.diff(ends, prepend=0.0) / 0.13  # a regime that the close cuts short moves less
    drifts = np.where(trending, moves, 0.08 * moves)[:count] * shares
    residual = float(random.normal(0.0, 0.25 * scale))
    return Shape(gap, tuple(ends.tolist()), tuple(drifts.tolist()), tuple((~trending[:count]).tolist()), residual)


def intraday_volatility(length: int) -> Floats:
    """The U of a day: busy at the open, quiet at noon, livelier towards the close; mean 1."""
    at = np.arange(length)
    shape = 1.0 + 1.6 * np.exp(-at / 1500.0) + 0.7 * np.exp(-(length - at) / 2400.0)
    return np.asarray(shape / shape.mean())


def draw_path(seed: int, day: date, name: str, shape: Shape, scale: float, length: int) -> Floats:
    """Log price relative to the previous day's end, one value per second; [0] is the gap, [-1] is gap + shape.change."""
    random = generator(seed, day, name, "path")
    edges = np.round(np.array((0.0, *shape.ends)) * (length - 1)).astype(np.int64)
    levels = np.concatenate(([0.0], np.cumsum(shape.drifts)))
    at = np.arange(length)
    path = np.interp(at, edges, levels)
    swinging = np.repeat(np.asarray(shape.swings, dtype=np.float64), np.diff(edges, append=length)[: len(shape.swings)])
    swinging = np.resize(np.append(swinging, np.zeros(max(0, length - len(swinging)))), length)
    noise = random.standard_normal(length) * intraday_volatility(length) * (1.0 - 0.45 * swinging)
    noise[0] = 0.0
    walk = np.cumsum(noise) * (0.42 * scale / np.sqrt(length))
    path += walk + (shape.residual - walk[-1]) * at / (length - 1)
    taper = np.minimum(np.minimum(at, length - 1 - at) / 900.0, 1.0)
    amplitude = scale * taper * (0.035 + 0.075 * swinging)
    for period in (3100.0, 1450.0, 640.0):
        path += amplitude * (period / 3100.0) ** 0.5 * np.sin(2 * np.pi * (at / (period * random.uniform(0.8, 1.25)) + random.random()))
    return np.asarray(shape.gap + path)


def draw_ripple(seed: int, day: date, name: str, size: float, length: int) -> Floats:
    """A slow ripple around zero (the basis of a future, a closing auction's imbalance), one value per second."""
    random = generator(seed, day, name, "ripple")
    at = np.arange(length)
    ripple = np.zeros(length)
    for period in (5200.0, 900.0, 170.0):
        ripple += np.sin(2 * np.pi * (at / (period * random.uniform(0.7, 1.3)) + random.random()))
    return np.asarray(size * ripple / 3.0)


def normal_cdf(x: Floats) -> Floats:
    """Standard normal distribution function (Abramowitz-Stegun 26.2.17, error below 1e-7)."""
    magnitude = np.abs(x)
    t = 1.0 / (1.0 + 0.2316419 * magnitude)
    tail = t * (0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))))
    upper = np.exp(-0.5 * magnitude * magnitude) * 0.3989422804014327 * tail
    return np.asarray(np.where(x >= 0, 1.0 - upper, upper))


def black_scholes(
    spot: Floats, strike: Floats | float, years: Floats | float, volatility: Floats | float, rate: float, call: bool
) -> Floats:
    """Price of a European option on an index; `years` to expiry is kept above a second, where the price is the intrinsic value."""
    years = np.maximum(years, 3e-8)
    spread = np.maximum(volatility * np.sqrt(years), 1e-9)
    discounted = strike * np.exp(-rate * years)
    d1 = np.log(spot / discounted) / spread + 0.5 * spread
    d2 = d1 - spread
    if call:
        return np.asarray(spot * normal_cdf(d1) - discounted * normal_cdf(d2))
    return np.asarray(discounted * normal_cdf(-d2) - spot * normal_cdf(-d1))
