"Every library notebook, run from top to bottom in a process of its own."

import subprocess
import sys

import pytest
from conftest import ROOT
from lesson import as_test, names_defined

LESSONS = sorted((ROOT / "nbs").glob("[0-9]*.ipynb"))


@pytest.mark.parametrize("path", LESSONS, ids=[path.stem for path in LESSONS])
def test_lesson(path):
    line = [sys.executable, str(ROOT / "tests" / "lesson.py"), str(path)]
    done = subprocess.run(line, cwd=ROOT / "nbs", capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


def test_there_are_lessons():
    assert len(LESSONS) >= 10


def test_a_lesson_runs_against_the_package():
    cell = "#| export\nA, b = 1, 2\nC = 3\nC += 1\n\n\nclass D: ...\n\n\ndef e(): ..."
    assert names_defined(cell) == ["C", "D", "e"]
    assert as_test(cell, "lstm_market.x") == f"{cell}\nfrom lstm_market.x import C, D, e"
    assert as_test("x = 1", "lstm_market.x") == "x = 1"
    assert as_test("#| export\nimport re", "lstm_market.x") == "#| export\nimport re"
    assert as_test("import nbdev\nnbdev.nbdev_export()", "lstm_market.x") == ""


def test_a_failing_lesson_fails(tmp_path):
    cells = ["#| default_exp data.bars", "assert 1 + 1 == 3"]
    import json

    made = [{"cell_type": "code", "source": [c], "metadata": {}} for c in cells]
    (tmp_path / "wrong.ipynb").write_text(json.dumps({"cells": made}))
    line = [sys.executable, str(ROOT / "tests" / "lesson.py"), str(tmp_path / "wrong.ipynb")]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 1 and "code cell 2 failed" in done.stderr
