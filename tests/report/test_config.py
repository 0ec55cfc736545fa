"""report.yml and its overrides: what is accepted, and that every fault is told at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell

from collectlab.core.errors import ParamsError
from collectlab.report import config


@pytest.fixture
def project(tmp_path: Path, monkeypatch):
    """A project with two notebooks; the command is run from the project."""
    import nbformat

    (tmp_path / "params").mkdir()
    (tmp_path / "book").mkdir()
    (tmp_path / "notebooks").mkdir()
    for name, source in {
        "1_overview": "book = '../x'\nmonth = '2020-01'\nhorizon = 30\noutput = None",
        "2_strategy": "month = '2020-01'\ntop: int = 10\nstyle = 'plain'\nfast = False\nratio = 0.5",
    }.items():
        cells = [new_code_cell(source, metadata={"tags": ["parameters"]}), new_code_cell("1 + 1")]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "notebooks" / f"{name}.ipynb")
    write(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(project: Path, **fields) -> Path:
    import yaml

    path = project / "params" / "report.yml"
    path.write_text(yaml.safe_dump({"book": "book", "sections": ["1_overview", "2_strategy"]} | fields))
    return path


def faults(*args, **kwargs) -> list[str]:
    with pytest.raises(ParamsError) as caught:
        config.load(*args, **kwargs)
    return list(caught.value.faults)


def test_defaults_and_places(project):
    plan = config.load("params/report.yml")
    assert plan.config.definition == "current_once"
    assert plan.book == project / "book"
    assert plan.params == project / "params"
    assert plan.out == project / "outputs"
    assert [p.name for p in plan.notebooks] == ["1_overview.ipynb", "2_strategy.ipynb"]


def test_each_notebook_is_given_every_name_it_takes_and_no_other(project):
    plan = config.load("params/report.yml", {"horizon": "60", "top": "3"})
    assert plan.parameters("1_overview", "2026-10") == {
        "book": "../book",
        "month": "2026-10",
        "horizon": 60,
        "output": "..",
    }
    assert plan.parameters("2_strategy", "2026-10") == {
        "month": "2026-10",
        "top": 3,
        "style": "plain",
        "fast": False,
        "ratio": 0.5,
    }


def test_places_in_the_file_are_the_projects_and_in_an_override_the_callers(
    project, tmp_path_factory, monkeypatch
):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "book").mkdir()
    monkeypatch.chdir(elsewhere)
    path = project / "params" / "report.yml"
    assert config.load(path).book == project / "book"
    assert config.load(path, {"book": "book"}).book == elsewhere / "book"
    assert config.load(path).out == project / "outputs"
    assert config.load(path, out="mine").out == elsewhere / "mine"


def test_all_faults_of_the_file_are_told_at_once(project):
    told = faults(write(project, titel="x", horizon="ninety", month="2026-13", book=3))
    assert len(told) == 4
    assert any("titel" in f and "Nearest: title" in f for f in told)
    assert any("horizon" in f and "'ninety'" in f and "integer" in f for f in told)
    assert any("'2026-13' is no month" in f for f in told)
    assert any("book" in f and "3" in f for f in told)


def test_all_faults_of_the_overrides_are_told_at_once(project):
    told = faults(
        "params/report.yml", {"horizn": "3", "top": "many", "fast": "1", "ratio": "2", "output": "x"}
    )
    assert len(told) == 4
    assert "-p horizn: no such parameter. Nearest: horizon" in told[0]
    assert "-p top: found 'many'" in told[1] and "such as 10" in told[1]
    assert "-p fast: found 1" in told[2]
    assert "-p output: no such parameter" in told[3] and "out" in told[3]


def test_an_unknown_cure_definition_names_the_nearest(project):
    told = faults("params/report.yml", {"definition": "curent_once", "horizn": "3"})
    assert len(told) == 2 and "'curent_once'" in told[0] and "current_once" in told[0]


def test_an_override_of_a_field_with_a_wrong_type(project):
    (told,) = faults("params/report.yml", {"horizon": "soon"})
    assert told.startswith("-p horizon: found 'soon'")


def test_text_is_taken_as_it_stands(project):
    text = "\"region\" = 'North' and name <> 'a: b'"
    plan = config.load("params/report.yml", {"population": text, "style": "yes: no"})
    assert plan.config.population == text
    assert plan.parameters("2_strategy", "2026-10")["style"] == "yes: no"


def test_values_from_python_are_checked_too(project):
    assert config.load("params/report.yml", {"top": 4}).overrides == {"top": 4}
    (told,) = faults("params/report.yml", {"top": True})
    assert "found True" in told


def test_a_notebook_that_is_not_there(project):
    told = faults(write(project, sections=["1_overview", "2_stratgy", "1_overview", "../x"]))
    assert any("no notebook 2_stratgy.ipynb. Nearest: 2_strategy" in f for f in told)
    assert any("listed twice" in f for f in told)
    assert any("no notebook ../x.ipynb" in f for f in told)


@pytest.mark.parametrize(
    ("source", "word"),
    [("x = 1 + y", "literal"), ("import os", "literal"), ("x = ", "literal"), ("print(1)", "literal")],
)
def test_parameters_cells_hold_literals_only(project, source, word):
    import nbformat

    path = project / "notebooks" / "2_strategy.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[0].source = source
    nbformat.write(notebook, path)
    (told,) = faults("params/report.yml")
    assert "2_strategy.ipynb" in told and word in told


def test_a_notebook_without_a_parameters_cell_or_that_is_none(project):
    (project / "notebooks" / "2_strategy.ipynb").write_text("{not json")
    (told,) = faults("params/report.yml")
    assert "2_strategy.ipynb cannot be read as a notebook" in told
    import nbformat

    nbformat.write(nbformat.v4.new_notebook(), project / "notebooks" / "2_strategy.ipynb")
    (told,) = faults("params/report.yml")
    assert "0 cells are tagged `parameters`" in told


@pytest.mark.parametrize(
    ("text", "word"),
    [("a: [", "not valid YAML"), ("", "holds no fields"), ("- 1", "holds no fields"), ("title: x", "book")],
)
def test_a_file_that_is_no_parameter_file(project, text, word):
    path = project / "params" / "report.yml"
    path.write_text(text)
    assert word in faults(path)[0]


def test_a_file_that_is_not_there_names_those_that_are(project):
    (told,) = faults("params/raport.yml")
    assert "no such file" in told and "report.yml" in told


def test_split_overrides_tells_all_faults():
    with pytest.raises(ParamsError) as caught:
        config.split_overrides(["a=1", "b", "=2", "a=3"])
    assert len(caught.value.faults) == 3


def test_contact_rules_that_are_not_there_are_told_before_the_run(project):
    (project / "params" / "contact_rules").mkdir()
    (project / "params" / "contact_rules" / "us.yml").write_text("jurisdiction: us\n")
    assert config.load(write(project, contact_rules="us")).config.contact_rules == "us"
    assert faults(write(project, contact_rules="uz")) == [
        "contact_rules: 'uz' has no rules in contact_rules/. Allowed: us."
    ]
