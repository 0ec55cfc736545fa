"""The page in a real browser: it opens quietly, asks nobody for anything, and fits a phone and paper."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectlab.report.render import render

pytestmark = pytest.mark.browser


def reports() -> list[Path]:
    """The reports already made in this checkout by `make report`, if any."""
    return sorted((Path(__file__).parents[2] / "outputs").glob("*/report.html"))


def assert_quiet(page, path: Path) -> None:
    page.goto(path.as_uri())
    page.wait_for_load_state("networkidle")
    assert page.told == []
    assert [url for url in page.asked if not url.startswith("data:")] == [path.as_uri()]


def test_a_small_report_opens_quietly(page, executed, report_manifest):
    path = render(executed, ["1_overview.ipynb", "2_strategy.ipynb"], report_manifest())
    assert_quiet(page, path)
    for text in ("Who is overdue", "What was done.", "<script>alert('x')</script>", "Left out: costs"):
        assert page.get_by_text(text).first.is_visible()
    assert page.get_by_text("import collectlab as cl").first.is_hidden()
    page.get_by_text("Show the code").first.click()
    assert page.get_by_text("import collectlab as cl").first.is_visible()
    for figure in page.locator("figure.plot > *").all():
        assert figure.bounding_box()["width"] > 300 and figure.bounding_box()["height"] > 150
    page.get_by_role("link", name="What stands out").click()
    assert page.evaluate("location.hash") == "#chapter-2-2"


@pytest.mark.parametrize("width", [1200, 375])
def test_the_page_never_scrolls_sideways_but_a_wide_table_does(page, executed, report_manifest, width):
    path = render(executed, ["1_overview.ipynb", "2_strategy.ipynb"], report_manifest())
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(path.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(
        "[...document.querySelectorAll('.scroll')].some(box => box.scrollWidth > box.clientWidth)"
    )


def test_it_prints_on_a4_with_nothing_beyond_the_edge(page, executed, report_manifest):
    path = render(executed, ["1_overview.ipynb", "2_strategy.ipynb"], report_manifest())
    page.goto(path.as_uri())
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 672, "height": 1000})  # 210 mm less the margins, at 96 px an inch
    assert page.evaluate("document.documentElement.scrollWidth") <= 672
    assert page.get_by_text("Show the code").first.is_hidden()
    paper = page.pdf(prefer_css_page_size=True)
    assert paper.startswith(b"%PDF") and paper.count(b"/Type /Page\n") + paper.count(b"/Type /Page ") >= 4
    assert b"/MediaBox [0 0 595" in paper or b"/MediaBox [0 0 594.95" in paper


@pytest.mark.parametrize("path", reports() or [None], ids=lambda p: p.parent.name if p else "none")
def test_the_reports_made_here_open_quietly(page, path):
    if path is None:
        pytest.skip("no report in outputs/: run `make report` first to have it opened here")
    assert_quiet(page, path)
    chapters = page.locator("article.chapter")
    assert chapters.count() >= 1
    for chapter in chapters.all():
        assert chapter.locator("h1").is_visible()
        assert len(chapter.inner_text()) > 200
    page.set_viewport_size({"width": 375, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == 375
