"""Run the committed notebooks again, in place: ``python -m collectlab.report.refresh notebooks``.

nbval compares the outputs that are committed with what a fresh run gives, so after a change that is meant
to alter figures this is run, the difference is read, and the notebooks are committed with it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient


def refresh(path: Path) -> None:
    """Execute one notebook where it lies and keep its outputs, without times or machine names."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=600,
        record_timing=False,
        resources={"metadata": {"path": path.parent}},
    )
    client.execute()
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02d}"
        cell.metadata.pop("execution", None)
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    nbformat.write(notebook, path)


def main() -> None:
    """Refresh every notebook in the files and folders named."""
    for argument in sys.argv[1:] or ["notebooks"]:
        place = Path(argument)
        found = [place] if place.is_file() else sorted(place.rglob("*.ipynb"))
        for path in found:
            if ".ipynb_checkpoints" not in path.parts:
                refresh(path)
                print(path)


if __name__ == "__main__":
    main()
