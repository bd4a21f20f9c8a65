"""What a record shows, in sentences: explicit rules, each silent where the evidence is weak."""

from __future__ import annotations

import xarray as xr

from learnscope.findings.dimension import dimension_by_depth, dimension_through_training
from learnscope.findings.finding import Finding
from learnscope.findings.health import dead_layers, exploding_or_vanishing, never_moved, not_finite, not_measured
from learnscope.findings.kernel import kernel_turned_to_labels, label_in_components, regime
from learnscope.findings.linear import linear_explains, linear_part_is_kept
from learnscope.findings.progress import accuracy_reached, classes_learned_last, could_have_stopped
from learnscope.findings.settling import layers_settle, order_of_settling

RULES = (
    not_finite,
    not_measured,
    dead_layers,
    exploding_or_vanishing,
    never_moved,
    accuracy_reached,
    linear_explains,
    linear_part_is_kept,
    layers_settle,
    order_of_settling,
    dimension_by_depth,
    dimension_through_training,
    regime,
    kernel_turned_to_labels,
    label_in_components,
    classes_learned_last,
    could_have_stopped,
)

__all__ = ["RULES", "Finding", "find"]


def find(data: xr.Dataset) -> list[Finding]:
    """Apply every rule to a record's data and return what they find, warnings first."""
    return [finding for rule in RULES for finding in rule(data)]
