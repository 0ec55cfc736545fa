"""The page: what it shows, what it hides, and that nothing in it runs or reaches out."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from collectlab.report import render

VOID = {"meta", "link", "br", "hr", "img", "col", "input"}


class Page(HTMLParser):
    """Tags with attributes, ids, and whether each tag is closed by its own end tag."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.open, self.faults = [], [], []
        self.feed(text)
        self.faults += [f"<{tag}> left open" for tag in self.open]

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> closes nothing")

    def ids(self):
        return [a["id"] for _, a in self.tags if "id" in a]


@pytest.fixture
def page(executed, report_manifest) -> str:
    return render.render(executed, ["1_overview.ipynb", "2_strategy.ipynb"], report_manifest()).read_text(
        "utf-8"
    )


def test_the_page_is_well_formed_and_its_ids_are_unique(page):
    parsed = Page(page)
    assert parsed.faults == []
    assert page.startswith("<!DOCTYPE html>") and '<html lang="en">' in page
    assert len(parsed.ids()) == len(set(parsed.ids()))
    links = [a["href"] for tag, a in parsed.tags if tag in ("a", "use") and a.get("href", "").startswith("#")]
    assert links and {link[1:] for link in links} <= set(parsed.ids())
    clips = re.findall(r"url\(#([^)]+)\)", page)
    assert clips and set(clips) <= set(parsed.ids())


def test_nothing_runs_and_nothing_is_fetched(page):
    parsed = Page(page)
    assert not {tag for tag, _ in parsed.tags} & {"script", "iframe", "object", "embed", "form", "base"}
    assert not [name for _, attrs in parsed.tags for name in attrs if name.startswith("on")]
    for tag, attrs in parsed.tags:
        assert attrs.get("src", "data:").startswith("data:"), (tag, attrs)
        if tag != "a":
            assert attrs.get("href", "#").startswith(("#", "data:")), (tag, attrs)
    assert "@import" not in page and "url(http" not in page


def test_the_cover_says_what_is_reported(page):
    cover = page[page.index('class="cover"') : page.index("</header>")]
    for text in (
        "Example Bank &amp; Sons",
        "Collection strategy: case analysis",
        "October 2026",
        "A. N. Analyst",
        "Cured when seen current once.",
        "0123456789ab",
        "region = &#39;North&#39; and age &lt; 60",
    ):
        assert text in cover
    assert "SYNTHETIC DATA" in page


def test_a_real_book_has_no_banner(executed, report_manifest):
    text = render.render(executed, ["1_overview.ipynb"], report_manifest(synthetic=False)).read_text("utf-8")
    assert "SYNTHETIC" not in text


def test_contents_link_to_chapters_and_sections(page):
    contents = page[page.index("<nav") : page.index("</nav>")]
    assert re.findall(r">([^<>\n]+)</a>", contents) == [
        "1 · Overview",
        "The book",
        "Curves &amp; counts",
        "2 · Strategy",
        "A wide table",
        "What stands out",
    ]


def test_markup_in_data_shows_as_text(page):
    assert (
        page.count("&lt;script&gt;alert('x')&lt;/script&gt;")
        + page.count("&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;")
        == 3
    )
    assert "<script" not in page


def test_code_is_folded_and_parameters_are_hidden(page):
    assert "month = &#x27;2026-10&#x27;" not in page and "month = '2026-10'" not in page
    folds = re.findall(
        r"<details class=\"code\">.*?<pre><code>(.*?)</code></pre></details>", page, flags=re.DOTALL
    )
    assert folds[0] == "import collectlab as cl\n\ncl.cure.cure_rate(episodes)"
    assert "<details open" not in page


def test_warnings_and_reprs_are_left_out_but_print_is_shown(page):
    assert "UserWarning" not in page and "Axes" not in page
    assert "<pre>hello &lt;b&gt;</pre>" in page


def test_the_svg_of_a_part_takes_the_place_of_its_png(page):
    assert page.count("<svg ") == 2
    assert page.count('<img src="data:image/png;base64,') == 1
    assert 'aria-label="overview curve"' in page and 'alt="overview absent"' in page


def test_every_table_has_a_box_to_scroll_in(page):
    assert page.count("<table") == 3
    assert page.count('<div class="scroll short" tabindex="0"><table') == 2
    assert page.count('<div class="scroll wide broad" tabindex="0"><table') == 1


def test_the_same_input_gives_the_same_bytes(executed, report_manifest, page):
    again = render.render(executed, ["1_overview.ipynb", "2_strategy.ipynb"], report_manifest())
    assert again.read_text("utf-8") == page


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        '<img src="https://example.org/x.png">',
        "<a href='javascript:alert(1)'>x</a>",
        "<svg onload=alert(1)><circle/></svg>",
        "<style>@import url(https://example.org/x.css)</style>",
        "<div style='background: url(https://example.org/x.png)'>x</div>",
        "<iframe src='https://example.org'></iframe>",
    ],
)
@pytest.mark.parametrize("how", [render.sanitise, render.markdown])
def test_hostile_html_is_disarmed(hostile, how):
    parsed = Page(how(hostile))
    assert not {tag for tag, _ in parsed.tags} & {"script", "svg", "style", "iframe"}
    for _, attrs in parsed.tags:
        assert not set(attrs) & {"onerror", "onload", "src"}
        assert "javascript" not in (attrs.get("href") or "") and "url" not in (attrs.get("style") or "")


def test_entities_are_not_escaped_twice():
    assert render.markdown("a &lt;b&gt; & c") == "<p>a &lt;b&gt; &amp; c</p>"


def test_a_number_and_its_unit_stay_together():
    assert render.sanitise("<p>≥ 80.0 %</p>") == "<p>≥\xa080.0\xa0%</p>"
    assert render.markdown("2 of 3 (66.7 %, +1.0 pp)") == "<p>2 of 3 (66.7\xa0%, +1.0\xa0pp)</p>"


@pytest.mark.parametrize(
    ("text", "shown"), [("<Axes: x>", ""), ("Month(book=<Book>,\n  label='x')", ""), ("42", "<pre>42</pre>")]
)
def test_reprs_of_objects_have_no_place_in_a_report(tmp_path, text, shown):
    from nbformat.v4 import new_code_cell, new_notebook, new_output

    cell = new_code_cell("this", outputs=[new_output("execute_result", data={"text/plain": text})])
    made = render.chapter(new_notebook(cells=[cell]), 1, tmp_path)
    assert [part for part in made.body if "output" in part] == (
        [f'<div class="output">{shown}</div>'] if shown else []
    )


def test_inline_svg_keeps_to_itself():
    text = (
        '<?xml version="1.0"?><!DOCTYPE svg PUBLIC "x" "http://x"><svg xmlns="http://www.w3.org/2000/svg" '
        'xmlns:xlink="http://www.w3.org/1999/xlink" width="72pt" viewBox="0 0 1 1"><style>*{color:red}</style>'
        '<defs><path id="p"/><clipPath id="c"><rect/></clipPath></defs><script>x</script><a href="https://x"/>'
        '<use xlink:href="#p" clip-path="url(#c)" onclick="x"/></svg>'
    )
    made = render.inline_svg(text, "k-", "A <title>")
    assert 'id="k-p"' in made and 'href="#k-p"' in made and "url(#k-c)" in made and 'width="96"' in made
    for gone in ("style>", "script", "https", "onclick", "DOCTYPE", "xlink"):
        assert gone not in made
    assert "<title>A &lt;title&gt;</title>" in made


def test_a_notebook_without_a_heading_still_has_a_title(tmp_path: Path):
    from nbformat.v4 import new_markdown_cell, new_notebook

    made = render.chapter(new_notebook(cells=[new_markdown_cell("Only prose.")]), 3, tmp_path)
    assert made.title == "Chapter 3" and made.body == ["<p>Only prose.</p>"]
