"The house rules: notebooks and package in step, clean, layered, readable."

import filecmp
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import grimp
import pytest
from conftest import ROOT

NOTEBOOKS = sorted(
    p for p in (ROOT / "nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts
)
LESSONS = [path for path in NOTEBOOKS if path.parent.name == "nbs" and path.name[0].isdigit()]
MOST_LINES, MOST_HIDDEN, LEAST_WORDS, MOST_ROOM = 60, 0.20, 2, 420


def code_cells(path):
    cells = json.loads(path.read_text())["cells"]
    return [
        "".join(c["source"])
        for c in cells
        if c["cell_type"] == "code" and "".join(c["source"]).strip()
    ]


def default_exp(path):
    return next(
        re.findall(r"#\| default_exp (\S+)", source)[0]
        for source in code_cells(path)
        if "default_exp" in source
    )


def lines(source):
    return sum(bool(line.strip()) for line in source.splitlines())


def complaints(path):
    "What the statistics of one library notebook find, by name."
    cells = code_cells(path)
    exported = [source for source in cells if re.match(r"#\| ?export", source)]
    found = [
        f"an export cell of {lines(s)} lines: {s.splitlines()[1]}"
        for s in exported
        if lines(s) > MOST_LINES
    ]
    hidden = sum(source.startswith("#| hide") for source in cells) / len(cells)
    if hidden >= MOST_HIDDEN:
        found.append(f"{hidden:.0%} of the code cells are hidden")
    told = json.loads(path.read_text())["cells"]
    words = sum(len("".join(c["source"]).split()) for c in told if c["cell_type"] == "markdown")
    total = sum(map(lines, exported))
    if words < LEAST_WORDS * total:
        found.append(f"{words} words for {total} exported lines")
    if total > MOST_ROOM:
        found.append(f"{total} exported lines: two rooms")
    return [f"{path.name}: {what}" for what in found]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    "The package as the notebooks export it now, in a folder of its own."
    house = tmp_path_factory.mktemp("a house")
    for name in ("settings.ini", "nbs"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, house / name)
    export = "from nbdev.doclinks import nbdev_export; nbdev_export.__wrapped__()"
    done = subprocess.run([sys.executable, "-c", export], cwd=house, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return house / "lstm_market"


def modules(folder):
    return {str(p.relative_to(folder)) for p in folder.rglob("*.py")}


def test_modules_equal_notebooks(exported):
    package = ROOT / "lstm_market"
    assert modules(package) == modules(exported), (
        "a module without a notebook, or a notebook not exported"
    )
    changed = [
        m
        for m in sorted(modules(exported))
        if not filecmp.cmp(exported / m, package / m, shallow=False)
    ]
    assert not changed, f"run nbdev_export: {', '.join(changed)} differ from their notebooks"


def test_every_room_has_one_notebook():
    rooms = [default_exp(path) for path in LESSONS]
    assert len(set(rooms)) == len(rooms)
    assert [path.stem.split("_", 1)[1] for path in LESSONS] == rooms


@pytest.mark.parametrize("path", NOTEBOOKS, ids=[p.stem for p in NOTEBOOKS])
def test_notebook_is_clean(path):
    from execnb.nbio import nb2str
    from nbdev.clean import clean_nb
    from nbdev.config import get_config
    from nbdev.process import read_nb

    config, notebook = get_config(path=ROOT), read_nb(path)
    clean_nb(
        notebook,
        False,
        config.allowed_metadata_keys.split(),
        config.allowed_cell_metadata_keys.split(),
    )
    for cell in notebook.cells:
        cell.pop("idx_", None)
    assert nb2str(notebook) == path.read_text(), "run nbdev_clean"
    ids = [cell["id"] for cell in json.loads(path.read_text())["cells"]]
    assert len(set(ids)) == len(ids), "two cells with one id"
    if path in LESSONS:
        assert not any(cell.get("outputs") for cell in json.loads(path.read_text())["cells"]), (
            "outputs in a lesson"
        )


@pytest.mark.parametrize("path", LESSONS, ids=[p.stem for p in LESSONS])
def test_notebook_statistics(path):
    assert complaints(path) == []


def test_statistics_can_fail(tmp_path):
    cells = ["#| export\n" + "x = 1\n" * 61, "#| hide\n1", "#| hide\n2"]
    made = [{"cell_type": "code", "source": [c], "metadata": {}} for c in cells]
    (tmp_path / "bad.ipynb").write_text(json.dumps({"cells": made}))
    told = "; ".join(complaints(tmp_path / "bad.ipynb"))
    for words in (
        "an export cell of 62 lines",
        "67% of the code cells are hidden",
        "0 words for 62",
    ):
        assert words in told


def test_ruff():
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "-q", "."], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


def test_floors():
    linter = shutil.which("lint-imports", path=str(Path(sys.executable).parent))
    done = subprocess.run(
        [sys.executable, linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    assert "Contracts: 1 kept" in done.stdout


def test_rooms_import_only_earlier_rooms():
    number = {f"lstm_market.{default_exp(path)}": i for i, path in enumerate(LESSONS)}
    graph = grimp.build_graph("lstm_market", cache_dir=None)
    later = [
        f"{room} imports {other}"
        for room in number
        for other in graph.find_modules_directly_imported_by(room)
        if other in number and number[other] >= number[room]
    ]
    assert number and later == []


def test_chapters_open_their_own_page():
    from lstm_market.book.chapters import chapters, run_parameters

    assert chapters(ROOT)
    for name, chapter in chapters(ROOT).items():
        run_parameters(chapter, {})
        assert any(
            f'Page("{name.split("_")[0]}", globals())' in source for source in chapter.code
        ), name
        other = r"(?<!page\.)open_store\(|\bread_(csv|parquet|json)\(|\bopen\(|np\.load"
        assert not any(re.search(other, source) for source in chapter.code), f"{name} reads aside"
        assert not any(re.search(r"^(def|class) ", source, re.M) for source in chapter.code), (
            f"{name} defines"
        )


def test_readme_is_the_index(tmp_path):
    from lstm_market.book.runner import make_readme

    now = make_readme(ROOT, tmp_path / "build")
    assert (ROOT / "README.md").read_text() == now, "run `lstm-market readme`"
    for image in re.findall(r"\]\((images/[^)]+)\)", now):
        assert (ROOT / image).is_file(), image


def test_published_figures_carry_their_record():
    from lstm_market.book.chapters import chapters
    from lstm_market.book.provenance import read_record, verify_record

    figures, stale = sorted((ROOT / "images").glob("*.png")), []
    assert figures
    for path in [*figures, *sorted((ROOT / "results").glob("*.json"))]:
        record, untouched = read_record(path)
        assert record["profile"] == "full" and record["chapter"] in chapters(ROOT), path
        assert record["data"] and untouched, path
        changed = {f.part for f in verify_record(ROOT, record) if f.state == "changed"}
        stale += [path.name] * bool(changed & {"code", "parameters", "seed"})
    if stale:
        pytest.skip(f"published by other code, publish again: {', '.join(stale)}")


def test_nothing_speaks_of_one_machine():
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    here = "|".join(re.escape(f"{folder}/") for folder in (ROOT, Path.home()))
    said = re.compile(rf"{here}|/home/\w+/|/Users/\w+/")
    found = []
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.suffix in (".png", ".parquet") or not path.is_file():
            continue
        found += [f"{name}: {hit}" for hit in said.findall(path.read_text(encoding="utf-8"))]
    assert found == []
