"""A small executed report, made by hand, for the tests that look at the page."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from collectlab.core import plots, tables

NASTY = "<script>alert('x')</script>"


QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="module")
def browser():
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail("no chromium on this machine, and CI=true asks for it")
        pytest.skip("no chromium on this machine: the page was not opened in a browser")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser):
    """A page that keeps what it says and asks for, in ``page.told`` and ``page.asked``."""
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.told, page.asked = [], []
    page.on("console", lambda message: page.told.append(message.text))
    page.on("pageerror", lambda error: page.told.append(str(error)))
    page.on("request", lambda request: page.asked.append(request.url))
    yield page
    page.close()


def tagged(source: str) -> nbformat.NotebookNode:
    return new_code_cell(source, metadata={"tags": ["parameters"]})


def write_notebook(path: Path, *cells: nbformat.NotebookNode) -> Path:
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number:02d}"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=list(cells)), path)
    return path


def shown(source: str, *data: dict, metadata: dict | None = None) -> nbformat.NotebookNode:
    cell = new_code_cell(source, execution_count=1)
    cell.outputs = [new_output("display_data", data=d, metadata=metadata or {}) for d in data]
    return cell


def table_html(rows: int = 6, extra: int = 0) -> str:
    frame = pd.DataFrame(
        {
            "product": [f"product {i}" for i in range(rows)],
            "accounts": np.arange(rows) * 1111 + 7,
            "estimate": np.linspace(0.1, 0.6, rows),
            "conf_low": np.linspace(0.08, 0.5, rows),
            "conf_high": np.linspace(0.12, 0.7, rows),
            **{f"a_long_column_{i}": np.arange(rows) * 1.5 for i in range(extra)},
        }
    )
    return tables.to_html(
        tables.display_table(frame, "share"),
        "Cured within 90 days",
        "P(cured by day 90), charge-off competing",
        (f"One account is called {NASTY}.",),
    )


def write_figure(path: Path) -> bytes:
    import io

    days = np.arange(0, 91)
    ax = plots.new_axes()
    ax.step(days, 1 - np.exp(-days / 40), label="cured", color=plots.PALETTE[2])
    ax.fill_between(days, 0.9 * (1 - np.exp(-days / 40)), 1.1 * (1 - np.exp(-days / 40)), alpha=0.2)
    ax.set_title("Cured by day")
    ax.legend()
    plots.percent_axis(ax)
    path.parent.mkdir(parents=True, exist_ok=True)
    plots.save_svg(ax, path)
    png = io.BytesIO()
    ax.figure.savefig(png, format="png", metadata={"Software": None})
    return png.getvalue()


def manifest(**changes) -> dict:
    return {
        "title": "Collection strategy",
        "month": "2026-10",
        "definition": "current_once",
        "synthetic": True,
        "config": {
            "title": "Collection strategy: case analysis",
            "bank": "Example Bank & Sons",
            "author": "A. N. Analyst",
            "horizon": 90,
            "population": "region = 'North' and age < 60",
            "control": "",
        },
        "data_version": "0123456789ab",
        "code": "f" * 64,
        "versions": {"python": "3.11.7", "collectlab": "0.1.0"},
    } | changes


@pytest.fixture
def executed(tmp_path: Path) -> Path:
    """A folder with two executed notebooks, a figure and definitions, ready to be rendered."""
    import base64

    png = base64.b64encode(write_figure(tmp_path / "figures" / "1_overview_curve.svg")).decode()
    write_figure(tmp_path / "figures" / "1_overview_other.svg")
    (tmp_path / "params").mkdir()
    (tmp_path / "params" / "definitions.yml").write_text(
        "current_once:\n  meaning: {en: 'Cured when seen current once.', zh: 一次结清}\n", encoding="utf-8"
    )
    figure = {"image/png": png, "text/plain": "<figure>"}
    write_notebook(
        tmp_path / "notebooks" / "1_overview.ipynb",
        new_markdown_cell("# 1 · Overview\n\nWho is overdue, **how much**, how long."),
        tagged("month = '2026-10'"),
        new_code_cell("import collectlab as cl"),
        new_markdown_cell(
            "## The book\n\nA paragraph with `code`, an em—dash and [a link](https://example.org/)."
        ),
        shown("cl.cure.cure_rate(episodes)", {"text/html": table_html(), "text/plain": "<Result>"}),
        new_markdown_cell("## Curves & counts\n\n- first\n- second\n\n> quoted"),
        shown("curves.plot()", figure, metadata={"collectlab": {"figure": "1_overview_curve"}}),
        shown("curves.plot()", figure, metadata={"collectlab": {"figure": "1_overview_other"}}),
        shown("curves.plot()", figure, metadata={"collectlab": {"figure": "1_overview_absent"}}),
    )
    write_notebook(
        tmp_path / "notebooks" / "2_strategy.ipynb",
        new_markdown_cell("# 2 · Strategy\n\nWhat was done."),
        tagged("month = '2026-10'"),
        new_markdown_cell("## A wide table\n\n### Below it"),
        shown("wide", {"text/html": table_html(30, extra=12)}),
        shown(
            "say",
            {
                "text/markdown": f"## What stands out\n\n**Account {NASTY}** owes most.\n\n| a | b |\n|--|--|\n| 1 | 2 |"
            },
        ),
        shown("left", {"text/html": '<p class="cl-left-out">Left out: costs – the book has no actions.</p>'}),
        new_code_cell(
            "print('hello')",
            execution_count=2,
            outputs=[
                new_output("stream", name="stdout", text="hello <b>\n"),
                new_output("stream", name="stderr", text="UserWarning: noise\n"),
                new_output("execute_result", data={"text/plain": "<Axes: >"}, execution_count=2),
            ],
        ),
    )
    return tmp_path


@pytest.fixture
def report_manifest():
    return manifest
