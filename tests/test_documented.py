"""What can be reached from ``import collectlab as cl`` is documented, and what the README shows runs.

The rule for a public function: its docstring names every parameter (under Parameters, or in its text; or it
points to the function that explains the rest: ``As in :func:``), says what comes back (Returns, or the
class of the result does), and shows an example that doctest runs. Only ``cl.report.run``, which takes a
minute, is shown without being run; its own tests run it.
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable
from pathlib import Path

import pytest

import collectlab as cl

ROOT = Path(__file__).parents[1]
NOT_RUN = {"report.run"}


def public_functions() -> dict[str, Callable]:
    found = {}
    for name in cl.__all__:
        thing = getattr(cl, name)
        if not isinstance(thing, types.ModuleType):
            found[name] = thing
            continue
        own = [n for n, f in vars(thing).items() if getattr(f, "__module__", "") == thing.__name__]
        for inner in getattr(thing, "__all__", own):
            found[f"{name}.{inner}"] = getattr(thing, inner)
    return {
        name: f
        for name, f in sorted(found.items())
        if inspect.isfunction(f) and not f.__name__.startswith("_")
    }


FUNCTIONS = public_functions()


def faults(function: Callable, run: bool = True) -> list[str]:
    text = inspect.getdoc(function) or ""
    told = []
    if not re.fullmatch(r".+[.:!?]", text.split("\n\n")[0], flags=re.DOTALL):
        told.append("no first sentence")
    points = re.search(r"([Aa]s in|those of) :func:`", text)
    for parameter in inspect.signature(function).parameters:
        if not points and not re.search(rf"\b{parameter}\b", text.split(">>>")[0]):
            told.append(f"parameter {parameter!r} is not told")
    returns = str(function.__annotations__.get("return", ""))
    result = getattr(inspect.getmodule(function), returns.split("[")[0], None)
    if "Returns\n" not in text and not (inspect.isclass(result) and result.__doc__):
        told.append("what it returns is not told")
    examples = [line for line in text.splitlines() if line.lstrip().startswith(">>>")]
    if not examples or (run and all("+SKIP" in line for line in examples)):
        told.append("no example that runs")
    return told


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_public_function_says_what_it_takes_and_gives_and_shows_it(name):
    assert faults(FUNCTIONS[name], run=name not in NOT_RUN) == []


def test_the_rule_sees_what_is_missing():
    def silent(a, b):
        """Only a is told of."""

    assert faults(silent) == [
        "parameter 'b' is not told",
        "what it returns is not told",
        "no example that runs",
    ]


def test_every_measure_is_reached():
    assert {"survival.kaplan_meier", "cure.cure_rate", "costs.cost_benefit", "open_book"} <= set(FUNCTIONS)


def readme_blocks() -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def test_the_code_in_the_readme_runs(monkeypatch):
    blocks = readme_blocks()
    if not blocks:
        pytest.skip("README.md shows no Python yet.")
    monkeypatch.chdir(ROOT)
    names: dict = {}
    for number, block in enumerate(blocks, 1):
        # One namespace for all: a reader pastes them one after another.
        exec(compile(block, f"README.md, block {number}", "exec"), names)
