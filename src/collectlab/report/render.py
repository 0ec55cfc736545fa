"""One self-contained page from the executed notebooks: no script, no request to any network.

Prose and results are shown in order, code is folded away. A figure's PNG (for JupyterLab) gives way to the
SVG of the same part. All HTML that comes from a notebook passes through nbconvert's sanitiser: what is not
on the short list of allowed tags shows as text.
"""

from __future__ import annotations

import base64
import html
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

#: What HTML from a notebook may hold. No script, style, form, frame; images only from the page itself.
TAGS = [
    "a",
    "abbr",
    "b",
    "blockquote",
    "br",
    "caption",
    "code",
    "col",
    "colgroup",
    "dd",
    "del",
    "details",
    "div",
    "dl",
    "dt",
    "em",
    "figcaption",
    "figure",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "i",
    "img",
    "kbd",
    "li",
    "ol",
    "p",
    "pre",
    "s",
    "small",
    "span",
    "strong",
    "sub",
    "summary",
    "sup",
    "table",
    "tbody",
    "td",
    "tfoot",
    "th",
    "thead",
    "tr",
    "u",
    "ul",
]

HIDDEN_TAGS = {"parameters", "injected-parameters", "hide"}

_SVG = "{http://www.w3.org/2000/svg}"
_XLINK = "{http://www.w3.org/1999/xlink}href"


@dataclass
class Chapter:
    """One notebook as it stands in the page."""

    id: str
    title: str = ""
    sections: list[tuple[str, str]] = field(default_factory=list)
    body: list[str] = field(default_factory=list)


def render(folder: Path, notebooks: Sequence[str], manifest: Mapping[str, Any]) -> Path:
    """Write ``report.html`` into ``folder``.

    Parameters
    ----------
    folder : Path
        A report's folder, with ``notebooks/`` executed and ``figures/`` written.
    notebooks : sequence of str
        File names, in reading order.
    manifest : mapping
        What the report was made of; the cover and the last page show it.
    """
    import jinja2
    import nbformat

    chapters = [
        chapter(nbformat.read(folder / "notebooks" / name, as_version=4), number, folder)
        for number, name in enumerate(notebooks, 1)
    ]
    here = files("collectlab.report")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.from_string((here / "template.html.j2").read_text(encoding="utf-8")).render(
        css=(here / "report.css").read_text(encoding="utf-8"),
        chapters=chapters,
        config=manifest["config"],
        manifest=manifest,
        month=_spoken(manifest["month"]),
        definition=_definition(folder / "params", manifest["definition"]),
    )
    target = folder / "report.html"
    target.write_text(page, encoding="utf-8", newline="\n")
    return target


def _spoken(month: str) -> str:
    names = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ]
    return f"{names[int(month[5:]) - 1]} {month[:4]}"


def _definition(params: Path, name: str) -> str:
    """The cure definition in words, if ``definitions.yml`` has some."""
    import yaml

    try:
        entry = yaml.safe_load((params / "definitions.yml").read_text(encoding="utf-8"))[name]
        return str(entry["meaning"]["en"]).strip()
    except (OSError, AttributeError, KeyError, TypeError, yaml.YAMLError):
        return ""


def chapter(notebook: Any, number: int, folder: Path) -> Chapter:
    """Turn one executed notebook into a chapter."""
    made = Chapter(id=f"chapter-{number}")
    code: list[str] = []
    for cell in notebook.cells:
        if HIDDEN_TAGS & set(cell.metadata.get("tags", ())):
            continue
        if cell.cell_type == "markdown":
            made.body.append(_number_headings(markdown(cell.source), made))
        elif cell.cell_type == "code":
            if cell.source.strip():
                code.append(cell.source.strip())
            shown = [text for output in cell.outputs if (text := _output(output, folder, made))]
            if shown:
                made.body += [f'<div class="output">{text}</div>' for text in shown]
                if all("cl-left-out" in text for text in shown):
                    code.clear()  # a line on what is not there needs no code
                made.body += _fold(code)
    made.body += _fold(code)
    made.title = made.title or f"Chapter {number}"
    return made


def _fold(code: list[str]) -> list[str]:
    """The code gathered since the last fold, behind a line to click on."""
    if not code:
        return []
    text = html.escape("\n\n".join(code), quote=False)
    code.clear()
    return [f'<details class="code"><summary>Show the code</summary><pre><code>{text}</code></pre></details>']


def _output(output: Any, folder: Path, made: Chapter) -> str:
    """One output of a cell as HTML; what has no place in a report (warnings, reprs of objects) gives nothing."""
    if output.output_type == "stream":
        text = output.text.rstrip() if output.name == "stdout" else ""
        return f"<pre>{html.escape(text, quote=False)}</pre>" if text else ""
    data = output.get("data", {})
    name = output.get("metadata", {}).get("collectlab", {}).get("figure", "")
    alt = re.sub(r"^\d+_", "", name).replace("_", " ").strip() or "figure"
    if name and re.fullmatch(r"[\w.\- ]+", name) and (folder / "figures" / f"{name}.svg").is_file():
        text = (folder / "figures" / f"{name}.svg").read_text(encoding="utf-8")
        made_before = sum('<figure class="plot"' in part for part in made.body)
        return _figure(inline_svg(text, f"{made.id}-f{made_before + 1}-", alt))
    if "image/svg+xml" in data:
        made_before = sum('<figure class="plot"' in part for part in made.body)
        return _figure(inline_svg(data["image/svg+xml"], f"{made.id}-f{made_before + 1}-", alt))
    if "image/png" in data:
        png = "".join(data["image/png"].split())
        base64.b64decode(png, validate=True)
        return _figure(f'<img src="data:image/png;base64,{png}" alt="{html.escape(alt)}">')
    if "text/html" in data:
        return _scroll_tables(sanitise(data["text/html"]))
    if "text/markdown" in data:
        return _scroll_tables(_number_headings(markdown(data["text/markdown"]), made))
    text = data.get("text/plain", "").strip()
    if not text or re.fullmatch(r"<[^\n]*>|[A-Za-z_]\w*\(.*\)", text, flags=re.DOTALL):
        return ""
    return f"<pre>{html.escape(text, quote=False)}</pre>"


def _figure(inside: str) -> str:
    return f'<figure class="plot">{inside}</figure>'


def markdown(source: str) -> str:
    """Markdown as safe HTML (nbconvert's dialect, without anchors and without MathJax)."""
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    renderer = IPythonRenderer(escape=False, exclude_anchor_links=True)
    return _scroll_tables(sanitise(MarkdownWithMath(renderer=renderer).render(source)))


def sanitise(text: str) -> str:
    """HTML with everything but :data:`TAGS` turned into text, and nothing that reaches outside the page.

    A number keeps its unit and its sign of comparison on the same line.
    """
    safe = _sanitiser().sanitize_html_tags(text).strip()
    return re.sub(r"(?<=\d) (?=%|pp\b)|(?<=[≥≤]) (?=[−\d])", "\N{NO-BREAK SPACE}", safe)


@cache
def _sanitiser() -> Any:
    from nbconvert.preprocessors.sanitize import SanitizeHTML

    def allowed(tag: str, name: str, value: str) -> bool:
        if name == "src":
            return value.startswith("data:image/")
        if name == "href":
            return tag == "a" and value.startswith(("#", "https://", "http://", "mailto:"))
        return name in ("class", "style", "title", "alt", "colspan", "rowspan", "scope", "lang", "id", "open")

    styles = ["text-align", "white-space", "width", "font-weight", "font-style", "color", "background-color"]
    return SanitizeHTML(tags=TAGS, attributes=allowed, styles=styles)


def _number_headings(text: str, made: Chapter) -> str:
    """Give headings ids that the contents can link to; the first h1 is the chapter's title."""

    def heading(match: re.Match[str]) -> str:
        level, inside = int(match[1]), match[2]
        plain = html.unescape(re.sub(r"<[^>]+>", "", inside)).strip()
        if level == 1 and not made.title:
            made.title = plain
            return ""  # The template writes it.
        level = max(level, 2)
        if level > 2:
            return f"<h{level}>{inside}</h{level}>"
        place = f"{made.id}-{len(made.sections) + 1}"
        made.sections.append((place, plain))
        return f'<h2 id="{place}">{inside}</h2>'

    return re.sub(r"<h([1-6])(?: [^>]*)?>(.*?)</h\1>", heading, text, flags=re.DOTALL)


def _scroll_tables(text: str) -> str:
    """A wide table scrolls in its own box (and is printed small); the page itself does not scroll sideways."""

    def boxed(match: re.Match[str]) -> str:
        columns = len(re.findall(r"<t[hd][ >]", match[0].split("</tr>")[0]))
        size = " wide" * (columns > 9) + " broad" * (columns > 5) + " short" * (match[0].count("<tr") <= 16)
        return f'<div class="scroll{size}" tabindex="0">{match[0]}</div>'

    return re.sub(r"<table[ >].*?</table>", boxed, text, flags=re.DOTALL)


def inline_svg(text: str, prefix: str, alt: str) -> str:
    """An SVG file as part of the page: ids of its own, no style that leaks, no reference outside.

    >>> inline_svg('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 2 1"><path id="a"/></svg>', "f1-", "x")
    '<svg viewBox="0 0 2 1" role="img" aria-label="x"><title>x</title><path id="f1-a" /></svg>'
    """
    root = ET.fromstring(re.sub(r"<!DOCTYPE[^>]*>", "", text))
    kept = {"viewBox": root.get("viewBox", ""), "role": "img", "aria-label": alt}
    if "matplotlib" in text or root.find(f".//{_SVG}style") is not None:
        kept["style"] = "stroke-linejoin:round;stroke-linecap:butt"
    if size := re.fullmatch(r"([\d.]+)(pt|px|)", root.get("width", "")):
        kept["width"] = f"{float(size[1]) * (4 / 3 if size[2] == 'pt' else 1):.0f}"
    drop = {f"{_SVG}{tag}" for tag in ("metadata", "style", "script", "foreignObject", "title")}
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in drop or not str(child.tag).startswith(_SVG):
                parent.remove(child)
    for element in root.iter():
        element.tag = str(element.tag).removeprefix(_SVG)
        for name, value in list(element.attrib.items()):
            del element.attrib[name]
            if name in (_XLINK, "href"):
                if value.startswith("#"):
                    element.attrib["href"] = f"#{prefix}{value[1:]}"
                elif value.startswith("data:image/"):
                    element.attrib["href"] = value
            elif name == "id":
                element.attrib["id"] = prefix + value
            elif not name.startswith(("{", "on")):
                element.attrib[name] = re.sub(r"url\(#", f"url(#{prefix}", value)
    root.attrib.clear()
    root.attrib.update(kept)
    title = ET.Element("title")
    title.text = alt
    root.insert(0, title)
    return ET.tostring(root, encoding="unicode")
