"""The activations and their slopes on vectors, in few instructions and exact to rounding.

Polynomials are Taylor's, or series of Chebyshev's cut off where the coefficients fall below rounding.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numba import types
from numpy.polynomial import Chebyshev, Polynomial
from scipy.special import erfcx

from learnscope.dynamics.shallow.compiled.lanes import Lanes

LN2 = math.log(2)
LARGEST = {32: 87.0, 64: 708.0}  # exp of it, and of minus it, is a normal number


def exponential(u: Lanes) -> Lanes:
    """Return exp(u) = 2ⁿ exp(u − n log 2), clamped where it would overflow or vanish."""
    limit = LARGEST[u.dtype.bitwidth]
    u = u.between(-limit, limit)
    whole = (u * (1 / LN2)).rounded()
    high = _upper_half(LN2)
    rest = whole.times_plus(-high, u)
    rest = whole.times_plus(high - LN2, rest)
    return rest.polynomial(_coefficients("exp", u.dtype)) * whole.power_of_two()


def softplus(u: Lanes) -> tuple[Lanes, Lanes]:
    """Return log(1 + eᵘ) and its slope 1 / (1 + e⁻ᵘ).

    With t = e^−|u| the value is max(u, 0) + log(1 + t), and log(1 + t) = 2 artanh(q) at q = t / (2 + t) ≤ 1/3.
    """
    t = exponential(u.like(0.0) - u.magnitude())
    q = t / (t + 2.0)
    value = u.above(0.0, u, u.like(0.0)) + q * (q * q).polynomial(_coefficients("artanh", u.dtype))
    inverse = 1.0 / (t + 1.0)
    return value, u.above(0.0, inverse, t * inverse)


def erf(u: Lanes) -> tuple[Lanes, Lanes]:
    """Return the error function, sign(u) (1 − exp(−u²) erfcx(|u|)), and its slope 2/√π exp(−u²).

    The scaled complement erfcx is a polynomial in s = 3/2 (|u| − 3) / (|u| + 3) + 1/2, which is −1 at zero and 1 at 6,
    where the result is 1 to rounding.
    """
    bell = exponential(u.like(0.0) - u * u)
    size = u.magnitude().between(0.0, 6.0)
    s = ((size - 3.0) / (size + 3.0)).times_plus(1.5, 0.5)
    value = 1.0 - bell * s.polynomial(_coefficients("erfcx", u.dtype))
    return value.with_sign_of(u), bell * (2 / math.sqrt(math.pi))


def tanh(u: Lanes) -> tuple[Lanes, Lanes]:
    """Return the hyperbolic tangent, sign(u) (1 − t) / (1 + t) with t = exp(−2 |u|), and its slope 1 − tanh²."""
    t = exponential(u.magnitude() * -2.0)
    value = ((1.0 - t) / (t + 1.0)).with_sign_of(u)
    return value, 1.0 - value * value


@cache
def _coefficients(name: str, dtype: types.Float) -> tuple[float, ...]:
    """Return those of a polynomial that is exact to a few units of rounding."""
    single = dtype.bitwidth == 32
    if name == "exp":
        return tuple(1 / math.factorial(k) for k in range(8 if single else 14))
    function, domain = (_artanh_over_root, (0.0, 1 / 9)) if name == "artanh" else (_shifted_erfcx, (-1.0, 1.0))
    series = Chebyshev.interpolate(function, 26, domain)
    small = np.abs(series.coef) < 2.0 ** -(24 if single else 51) * np.abs(series.coef).max()
    short = series.truncate(int(np.flatnonzero(small)[0]))
    return tuple(float(c) for c in short.convert(kind=Polynomial, domain=[-1, 1], window=[-1, 1]).coef)


def _artanh_over_root(square: np.ndarray) -> np.ndarray:
    """Return 2 artanh(q) / q for q²."""
    q = np.sqrt(np.maximum(square, 1e-300))
    return np.where(square < 1e-6, 2 + 2 / 3 * square + 2 / 5 * square**2, 2 * np.arctanh(q) / q)


def _shifted_erfcx(s: np.ndarray) -> np.ndarray:
    """Return erfcx(u) for s = 3/2 (u − 3) / (u + 3) + 1/2."""
    return erfcx(3 * (2 + 2 * s) / (4 - 2 * s))


def _upper_half(number: float) -> float:
    """Return the leading bits of a number, few enough that whole multiples of it are exact in float32 as well."""
    return math.floor(number * 2**12) / 2**12
