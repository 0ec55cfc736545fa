"""The project's own files agree with one another."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pandas as pd
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONSTRAINTS = [
    line.strip()
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if line.strip() and not line.startswith("#")
]


def all_requirements() -> list[str]:
    return [
        *PROJECT["dependencies"],
        *(r for extra in PROJECT["optional-dependencies"].values() for r in extra),
    ]


def pins() -> dict[str, str]:
    return {
        canonicalize_name(line.split("==")[0]): line.split("==")[1].split(";")[0].strip()
        for line in CONSTRAINTS
    }


def test_constraints_are_exact_pins_without_addresses():
    odd = [
        line for line in CONSTRAINTS if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!_-]+( ?;.*)?", line)
    ]
    assert odd == []


@pytest.mark.parametrize("requirement", all_requirements())
def test_each_dependency_is_pinned_to_a_version_it_allows(requirement):
    wanted = Requirement(requirement)
    pinned = pins().get(canonicalize_name(wanted.name))
    assert pinned is not None, f"{wanted.name} has no pin in constraints.txt"
    assert wanted.specifier.contains(pinned), (
        f"{wanted.name} is pinned to {pinned}, outside {wanted.specifier}"
    )


def test_conda_installs_the_same_through_pip():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    pip = next(d["pip"] for d in environment["dependencies"] if isinstance(d, dict))
    assert pip == ["-c constraints.txt", "-e .[lab,test]"]
    python = next(d for d in environment["dependencies"] if isinstance(d, str) and d.startswith("python"))
    assert python == f"python{PROJECT['requires-python']}"
    assert "-c constraints.txt -e '.[lab,test]'" in (ROOT / "Makefile").read_text()


def test_ci_calls_what_the_readme_calls():
    assert re.search(r"^exec make test$", (ROOT / ".ci" / "run").read_text(), re.M)
    readme = (ROOT / "README.md").read_text()
    assert "make test" in readme
    assert "make report" in readme


def test_the_notebooks_of_the_report_hold_no_logic_and_the_same_parameters():
    import nbformat

    heads = set()
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert len(notebooks) == 5
    for path in notebooks:
        cells = nbformat.read(path, as_version=4).cells
        code = [c.source for c in cells if c.cell_type == "code"]
        for source in code:
            assert not re.search(
                r"^\s*(def |for |while |class )|\.groupby\(|\.merge\(|lambda", source, re.M
            ), f"{path.name} holds logic that belongs in the library: {source}"
        tagged = [c.source for c in cells if "parameters" in c.metadata.get("tags", [])]
        assert len(tagged) == 1
        heads.add(tagged[0])
    assert len(heads) == 1


def test_the_extract_to_explore_with_is_the_example_under_other_names():
    """Synthetic rows only, and never older than the example they come from."""
    extract = pd.read_csv(ROOT / "notebooks" / "explore" / "my_extract.csv")
    example = pd.read_parquet(ROOT / "data" / "example" / "snapshots.parquet")
    rows = example[example["account_id"].isin(extract["Loan no."])].sort_values(["account_id", "as_of"])
    assert extract["Loan no."].tolist() == rows["account_id"].tolist()
    assert extract["Month end"].tolist() == pd.to_datetime(rows["as_of"]).dt.strftime("%d.%m.%Y").tolist()
    assert extract["Days late"].tolist() == rows["days_past_due"].tolist()
    assert extract["State"].replace("written off", "charged_off").tolist() == rows["status"].tolist()
    accounts = pd.read_parquet(ROOT / "data" / "example" / "accounts.parquet").set_index("account_id")
    assert extract["Product"].tolist() == accounts.loc[extract["Loan no."], "product"].tolist()
