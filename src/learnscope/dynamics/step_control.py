"""How long the next step of a gradient flow may be, and what it may cross: plain functions of numbers.

A step of length τ goes from θ with velocity v to θ + τ v with velocity v'. It is judged by two changes:

- that of the predictions, α max_μ |f(x_μ; θ + τ v) − f(x_μ; θ)|, proportional to τ;
- that of the velocity, |v' − v|² / (|v'| |v|), proportional to τ² where the velocity is smooth in between.

Both have to stay below a limit. Where the velocity jumps, because a neuron's kink passes an example or an example
leaves the hinge, its change stays finite for every τ, and the rule so far would shrink the step without end. Therefore
the step has a floor: it is taken whatever its velocity does if it changes no prediction by more than
``KINK_OUTPUT_SHARE`` of that limit and if τ |v' − v|, which bounds what such a step can be wrong by, is at most
``KINK_ERROR`` of |θ|. What is taken that way is added up and reported.

Guarantees. (1) No step changes a prediction by the limit or more. (2) The errors of all steps, each at most τ |v' − v|
where v varies monotonically over the step, add up to at most √(limit of the velocity's change) times the length of the
path, plus the accumulated error that is reported. (3) No stall: as τ falls, both conditions of the floor are met at a
positive τ, however often the velocity jumps, so the step is never shorter than a tenth of that.

Source: the two changes and their limits are those of Geiger, Spigler, Jacot, Wyart 2020 (appendix); the floor is ours.
"""

from __future__ import annotations

import math
from typing import NamedTuple

KINK_OUTPUT_SHARE = 0.1
KINK_ERROR = 1e-4
SAFETY, LARGEST_GROWTH, STRONGEST_CUT = 0.8, 2.0, 0.1
TAKEN, CROSSED, REFUSED = 0, 1, 2


class Limits(NamedTuple):
    """What a step may change: predictions in units of F, and the velocity as |v' − v|² / (|v'| |v|)."""

    output: float
    gradient: float


def gradient_change(squared_difference: float, squared_before: float, squared_after: float) -> float:
    """Return |v' − v|² / (|v'| |v|), infinite where only one of them is zero.

    Examples:
        >>> gradient_change(0.0, 4.0, 4.0), gradient_change(4.0, 4.0, 0.0)
        (0.0, inf)
    """
    if squared_difference == 0.0:
        return 0.0
    product = math.sqrt(squared_before) * math.sqrt(squared_after)
    return squared_difference / product if product > 0 else math.inf


def judge(output: float, gradient: float, error: float, limits: Limits) -> int:
    """Return TAKEN, CROSSED (taken by the rule of the floor) or REFUSED.

    Args:
        output: change of the predictions, in units of F.
        gradient: change of the velocity, relative.
        error: τ |v' − v| / |θ|.
        limits: of the first two.

    Examples:
        >>> limits = Limits(0.1, 1e-4)
        >>> judge(0.05, 1e-5, 0.0, limits) == TAKEN, judge(0.05, 1.0, 1e-9, limits) == REFUSED
        (True, True)
        >>> judge(0.005, 1.0, 1e-9, limits) == CROSSED
        True
    """
    if output < limits.output and gradient < limits.gradient:
        return TAKEN
    if output <= KINK_OUTPUT_SHARE * limits.output and error <= KINK_ERROR:
        return CROSSED
    return REFUSED


def next_factor(verdict: int, output: float, gradient: float, limits: Limits) -> float:
    """Return the length of the next step relative to this one, from both changes and how they go with the length.

    A step that crossed a jump says nothing about how smooth the flow is beyond, so the next has its length.

    Examples:
        >>> next_factor(REFUSED, 0.4, 0.0, Limits(0.1, 1e-4))
        0.2
    """
    if verdict == CROSSED:
        return 1.0
    if not (math.isfinite(output) and math.isfinite(gradient)):
        return STRONGEST_CUT
    wanted = LARGEST_GROWTH
    if output > 0:
        wanted = min(wanted, SAFETY * limits.output / output)
    if gradient > 0:
        wanted = min(wanted, SAFETY * math.sqrt(limits.gradient / gradient))
    return max(wanted, STRONGEST_CUT) if verdict == REFUSED else max(wanted, 0.5)


def too_short(step: float, time: float) -> bool:
    """Whether a step no longer changes the time, which happens where the outputs are not finite.

    Examples:
        >>> too_short(1e-9, 1e9), too_short(1e-3, 1e9)
        (True, False)
    """
    return step < 1e-300 or time + step == time
