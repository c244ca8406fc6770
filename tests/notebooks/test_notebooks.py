"""Every notebook runs from top to bottom, in its own kernel, and shows what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


@pytest.fixture(scope="module")
def first() -> Any:
    return run(NOTEBOOKS / "01_first_conversation.ipynb")


def run(path: Path) -> Any:
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=90, resources={"metadata": {"path": str(path.parent)}}).execute()
    return notebook


def texts(notebook: Any) -> str:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return "\n".join(output.get("text", "") for output in outputs)


@pytest.mark.timeout(180)
def test_the_first_notebook_holds_the_conversation_twice(first: Any) -> None:
    said = texts(first)

    assert said.count("what is seven plus eight") == 2
    assert said.count("Seven plus eight is fifteen.") == 2


def test_the_first_notebook_shows_an_interruption(first: Any) -> None:
    assert "TURN_INTERRUPTED" in texts(first)


def test_the_first_notebook_shows_a_picture(first: Any) -> None:
    shown = [output for cell in first.cells for output in cell.get("outputs", ()) if "data" in output]

    assert any("image/png" in output["data"] for output in shown)


def test_the_first_notebook_warns_of_nothing(first: Any) -> None:
    streams = [output for cell in first.cells for output in cell.get("outputs", ()) if output.get("name") == "stderr"]

    assert streams == []


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_results_and_with_short_cells(path: Path) -> None:
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]

    assert all(not cell.outputs and cell.execution_count is None for cell in cells)
    assert max(len(cell.source.splitlines()) for cell in cells) <= 15
