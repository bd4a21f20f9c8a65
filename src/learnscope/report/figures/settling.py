"""When each layer reaches its final representation (Raghu et al. 2017)."""

from __future__ import annotations

import xarray as xr

from learnscope.findings.settling import SETTLED, settling_steps
from learnscope.report.chart import Caption, Chart, Choice, ColourScale, Figure
from learnscope.report.figures.common import columns, has, layer_cells, rows_height, sources

MEASURES = {"cka_to_final": "CKA", "svcca_to_final": "SVCCA", "pwcca_to_final": "PWCCA"}
DEFINITIONS = (
    (
        "CKA, SVCCA, PWCCA",
        "Three measures of how alike two sets of activations of the same examples are, 1 for equal up to a rotation "
        "and a common scale (CKA) or up to any linear map of the leading directions (SVCCA, PWCCA). They are computed "
        "from the leading principal components kept in the record. They need not agree, and none of them says that "
        "two layers compute the same thing.",
    ),
    (
        "Settled",
        f"A layer has settled at the first measured step from which CKA to its final state stays at {SETTLED} or "
        "above, provided that this happens in the first half of training: later, the final state is merely where "
        "training happened to stop.",
    ),
)


def settling(data: xr.Dataset) -> Figure | None:
    """Draw layers x steps heat maps of the similarity to the final state; None without bases on record."""
    measures = {name: title for name, title in MEASURES.items() if has(data, name)}
    if not measures or data.sizes["step"] < 2:
        return None
    index, axis, notes = columns(data, data.sizes["layer"])
    marked = "cka_to_final" in measures
    choices = tuple(_choice(data, name, title, index) for name, title in measures.items())
    circles = f" With CKA, circles mark the step from which a layer stays at {SETTLED} or above." if marked else ""
    return Figure(
        "settling",
        "When each layer reaches its final representation",
        Caption(
            shows="Similarity of each layer's activations on the probe to its own last measured state; input at the "
            f"bottom, output at the top.{circles}",
            look_for="If bright colours reach the lower rows first, layers settle from the input up; a layer without a "
            "circle was still moving in the second half of training. A row that is bright at step 0 had less far to "
            "go.",
            source=sources(data, *measures),
            notes=notes,
        ),
        charts=(Chart(axis, choices, choice_name="Similarity", height=rows_height(data.sizes["layer"])),),
        definitions=DEFINITIONS,
    )


def _choice(data: xr.Dataset, name: str, title: str, index: object) -> Choice:
    settled = settling_steps(data).values if name == "cka_to_final" else None
    colours = ColourScale("similarity", 0.0, 1.0)
    return layer_cells(data, name, title, index, colours, settled=settled, mark_name="settled")  # pyright: ignore[reportArgumentType]
