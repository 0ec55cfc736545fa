"""What is loaded when: importing the library and asking for help stay cheap, by list and not by the clock."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: Each costs a tenth of a second or more.
TABLES = ("numpy", "pandas", "pyarrow", "duckdb", "narwhals", "pydantic")
HEAVY = (
    *("scipy", "statsmodels", "lifelines", "matplotlib", "polars", "pyspark"),
    *("papermill", "nbconvert", "nbclient", "nbformat", "IPython", "jinja2"),
)


def loaded_after(code: str) -> set[str]:
    told = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print('\\n' + ' '.join(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(told.stdout.splitlines()[-1].split())


HELP = """
import sys
sys.argv = ["collectlab", "--help"]
from collectlab.report.cli import main
try:
    main()
except SystemExit:
    pass
"""


@pytest.mark.parametrize("code", ["import collectlab", HELP], ids=["import", "help"])
def test_nothing_heavy_is_loaded(code):
    loaded = loaded_after(code)
    assert "collectlab" in loaded
    assert loaded.isdisjoint((*HEAVY, *TABLES)), sorted(loaded & {*HEAVY, *TABLES})


def test_the_measures_load_no_model_and_no_chart_until_asked():
    names = "survival cure roll_rates portfolio recovery costs drivers actions effects policy"
    loaded = loaded_after("import collectlab as cl\n" + "\n".join(f"cl.{name}" for name in names.split()))
    assert "narwhals" in loaded
    assert loaded.isdisjoint(HEAVY), sorted(loaded & set(HEAVY))
