"""How long the next step of a gradient flow may be: plain functions of numbers.

A step of length τ goes from θ with velocity v to θ + τ v with velocity v'. It is judged by two changes:

- that of the predictions, c = α max_μ |f(x_μ; θ + τ v) − f(x_μ; θ)|, proportional to τ,
- that of the velocity, g = |v' − v|² / (|v'| |v|), proportional to τ² where the velocity is smooth in between.

A step with c < C and g < G is taken. Where the velocity jumps, because a neuron's kink passes an example or an example
leaves the hinge, g stays finite for every τ, and this rule alone would shrink the step without end. Worse,
trajectories come to slide along such places, where every step crosses one. Therefore the step has a floor, made of what
an Euler step can be wrong by: at most τ |v' − v| in θ, where v varies monotonically over the step, and about r c in the
predictions, with r = |v' − v| / max(|v|, |v'|). A step with c < C is also taken, and said to cross, whatever g is, if

    τ |v' − v| ≤ 10 G |θ|    and    r c ≤ C / 2.

Guarantees. (1) No step changes a prediction by C or more. (2) The errors in θ of the steps with g < G add up to at most
about √G times the length of the path; those of the others relative to |θ|, Σ τ |v' − v| / |θ|, are the accumulated
error, which is reported. Where the flow slides this overstates, because successive errors cancel. (3) No stall: r ≤ 2
and |v' − v| is bounded near any θ, so both conditions of the floor hold from some positive τ on down.

Which limits. With C = 0.1 and G = 1e-4, the defaults for one hidden layer, the path itself is followed. Where only its
end counts, C = 0.5 and G = 1 get there in five to ten times fewer steps. On ten seeds each of small samples of the
sphere and the stripe, test errors agree within their noise; in the plane the neurons end in about a sixth more sets of
active points; and rarely a network comes to rest on the way that shorter steps bring to all margins
(``benchmarks/step_limits.py``).

Source: c and g and their limits as in Geiger, Spigler, Jacot, Wyart 2020 (appendix); the floor is ours.
"""

from __future__ import annotations

import math
from typing import NamedTuple

FLOOR_OUTPUT, FLOOR_ERROR = 0.5, 10.0  # in units of C and of G |θ|
SAFETY, LARGEST_GROWTH, STRONGEST_CUT, NOTCHES = 0.8, 1.2, 0.1, 8
TAKEN, CROSSED, REFUSED = 0, 1, 2


class Limits(NamedTuple):
    """C, what a step may change predictions by, in units of F; and G, for the velocity."""

    output: float
    gradient: float


class Change(NamedTuple):
    """What a step changes: predictions (c), velocity (g), share of the velocity (r), and its error τ |v' − v| / |θ|."""

    output: float
    gradient: float
    share: float
    error: float


def change(output: float, step: float, difference: float, before: float, after: float, size: float) -> Change:
    """Return what a step changes, from the squared norms of v' − v, v, v' and θ.

    Examples:
        >>> change(0.1, 0.5, 4.0, 4.0, 16.0, 100.0)
        Change(output=0.1, gradient=0.5, share=0.5, error=0.1)
    """
    product, largest = math.sqrt(before) * math.sqrt(after), max(before, after)
    gradient = difference / product if product > 0 else (math.inf if difference > 0 else 0.0)
    share = math.sqrt(difference / largest) if largest > 0 else 0.0
    error = step * math.sqrt(difference / size) if size > 0 else 0.0
    return Change(output, gradient, share, error)


def judge(made: Change, limits: Limits) -> int:
    """Return TAKEN, CROSSED (by the rule of the floor) or REFUSED.

    Examples:
        >>> limits = Limits(0.1, 1e-4)
        >>> judge(Change(0.05, 1e-5, 3e-3, 0.0), limits) == TAKEN
        True
        >>> [judge(Change(moved, 1.0, 0.9, 1e-5), limits) for moved in (0.09, 0.001)] == [REFUSED, CROSSED]
        True
    """
    if not made.output < limits.output:
        return REFUSED
    if made.gradient < limits.gradient:
        return TAKEN
    return CROSSED if of_floor(made, limits) <= 1 else REFUSED


def next_factor(made: Change, limits: Limits) -> float:
    """Return the length of the next step relative to this one.

    From how the changes go with the length: c in proportion, g as the square, the errors of the floor in proportion.
    Rounded down to an eighth power of two, so that what rounding does to small differences does not reach the times.

    Examples:
        >>> next_factor(Change(0.4, 0.0, 0.0, 0.0), Limits(0.1, 1e-4)) == 2 ** (-19 / 8)  # just below 0.2
        True
    """
    if not math.isfinite(made.output):
        return STRONGEST_CUT
    smooth = math.sqrt(limits.gradient / made.gradient) if made.gradient > 0 else math.inf
    floor = of_floor(made, limits)
    wanted = max(smooth, 1 / floor) if floor > 0 else math.inf
    if made.output > 0:
        wanted = min(wanted, limits.output / made.output)
    wanted = min(max(SAFETY * wanted, STRONGEST_CUT), LARGEST_GROWTH)
    return 2.0 ** (math.floor(NOTCHES * math.log2(wanted)) / NOTCHES)


def too_short(step: float, time: float) -> bool:
    """Whether a step no longer changes the time, which happens where the outputs are not finite.

    Examples:
        >>> too_short(1e-9, 1e9), too_short(1e-3, 1e9)
        (True, False)
    """
    return step < 1e-300 or time + step == time


def of_floor(made: Change, limits: Limits) -> float:
    """Return the larger of the two errors relative to what the floor lets pass."""
    return max(made.share * made.output / (FLOOR_OUTPUT * limits.output), made.error / (FLOOR_ERROR * limits.gradient))
