from learnscope.report.page import ClaimTable, CriterionRow, Page, render


def page(**changes):
    row = CriterionRow(
        "share <b>", "1", "0.9 [0.8, 1]", "≥ 0.7", "ten seeds", "reproduced", "0.1, fails", "noise", ("one note",)
    )
    table = ClaimTable("a-claim", "It holds & lasts.", "Gauss 1809", "not reproduced", (row,), "Only on Sundays.")
    return render(Page("A title", claims=(table,), **changes))


def test_claims_stand_on_top_with_their_verdict_band_control_and_source():
    text = page()
    for part in (
        "not reproduced",
        "0.9 [0.8, 1]",
        "≥ 0.7",
        "Band: ten seeds.",
        "0.1, fails",
        "noise",
        "Gauss 1809",
        "Only on",
    ):
        assert part in text
    assert text.index("a-claim") < text.index("Definitions and caveats")


def test_names_in_claims_are_escaped():
    assert "share &lt;b&gt;" in page()
    assert "It holds &amp; lasts." in page()


def test_a_page_of_claims_without_notes_has_no_empty_section_of_findings():
    assert "Findings" not in page()
    assert "No rule found" not in page()
