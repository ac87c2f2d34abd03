"The book from outside: a small house with the real package, Snakefile and command line."

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

import pytest
from conftest import ROOT

pytestmark = pytest.mark.xdist_group("book")

PARAMETERS = 'data_dir = "data"  # folder\nn_bars = 400  # drawn\nseed = 7  # unused'
OPEN = """import matplotlib.pyplot as plt
from lstm_market.book.provenance import Page
page = Page("{number}", globals())
market = page.open_store(data_dir)
closes = market.read(market.find("BTCUSDT", "kline", "15m"), ["close"]).iloc[:n_bars]"""
DRAW = """figure, axes = plt.subplots(figsize=(4, 2), layout="constrained")
axes.plot(closes)
page.figure(figure, "closes")"""
TELL = "page.results(rows=len(closes))"


def cell(number, source, *tags):
    kind = "markdown" if source.startswith("#") and "|" not in source[:3] else "code"
    made = {"cell_type": kind, "id": f"cell{number}", "metadata": {}, "source": source}
    if tags:
        made["metadata"] = {"tags": list(tags)}
    return made | ({"outputs": [], "execution_count": None} if kind == "code" else {})


def write_notebook(path, *cells):
    made = [cell(i, *c) if isinstance(c, tuple) else cell(i, c) for i, c in enumerate(cells)]
    kernel = {"kernelspec": {"display_name": "python3", "language": "python", "name": "python3"}}
    path.parent.mkdir(parents=True, exist_ok=True)
    said = {"cells": made, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(said))


def write_chapter(house, number, draw=DRAW, parameters=PARAMETERS):
    cells = ["# Chapter\n\n> A line.", (parameters, "parameters"), OPEN.format(number=number), draw]
    path = house / "nbs" / "book" / f"{number}_small.ipynb"
    write_notebook(path, *cells, TELL)


@pytest.fixture(scope="module")
def bare_house(tmp_path_factory):
    "A copy of the house with two small chapters and one lesson, in a path with a space."
    house = tmp_path_factory.mktemp("a house") / "with space"
    shutil.copytree(ROOT / "lstm_market", house / "lstm_market")
    for name in ("Snakefile", "settings.ini"):
        shutil.copy(ROOT / name, house / name)
    (house / "README.md").write_text("# A small house\n")
    lesson = "#| export\nsmall = 1"
    begin = "# Small\n\n> A lesson."
    write_notebook(
        house / "nbs" / "10_data.small.ipynb", begin, "#| default_exp data.small", lesson
    )
    for number in ("B01", "B02"):
        write_chapter(house, number)
    return house


@pytest.fixture
def house(bare_house, command):
    "The small house as it should be, with its book made."
    for number in ("B01", "B02"):
        write_chapter(bare_house, number)
    if not (bare_house / "build" / "quick" / "book" / "index.html").exists():
        code, _, said = command("reproduce", cwd=bare_house)
        assert code == 0, said
    return bare_house


def pages(house):
    "When each page was made."
    folder = house / "build" / "quick" / "pages"
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("[!.]*/page.ipynb")}


def made_again(before, after):
    return {name for name in after if before.get(name) != after[name]}


def test_a_book_is_made(bare_house, command):
    "The first run: whatever the other tests have left is removed before."
    shutil.rmtree(bare_house / "build", ignore_errors=True)
    code, printed, said = command("reproduce", cwd=bare_house)
    assert code == 0, said
    assert "build/quick/book/index.html" in printed
    assert (bare_house / "build" / "quick" / "book" / "index.html").exists()
    assert set(pages(bare_house)) == {"B01_small", "B02_small", "10_data.small"}
    assert "B01_small: 6 cells" in said, "progress is told"


def test_only_what_changed_is_made_again(house, command):
    assert command("reproduce", cwd=house)[0] == 0
    first, book = pages(house), house / "build" / "quick" / "book" / "index.html"
    index = book.stat().st_mtime_ns
    assert command("reproduce", cwd=house)[0] == 0
    assert pages(house) == first and book.stat().st_mtime_ns == index, "nothing was to be done"

    write_chapter(house, "B02", DRAW.replace("axes.plot(closes)", "axes.plot(closes, color='0.5')"))
    code, printed, _ = command("reproduce", "--dry-run", cwd=house)
    assert code == 0 and "output: build/quick/pages/B02_small" in printed
    assert "output: build/quick/pages/B01_small" not in printed
    assert pages(house) == first, "a dry run runs nothing"
    assert command("reproduce", cwd=house)[0] == 0
    assert made_again(first, pages(house)) == {"B02_small"}
    assert book.stat().st_mtime_ns > index


def test_verify_tells_what_changed(house, command):
    assert command("reproduce", cwd=house)[0] == 0
    figure = house / "build" / "quick" / "pages" / "B01_small" / "closes.png"

    def changed():
        code, printed, said = command("verify", figure, "--json", cwd=house)
        parts = {row["part"]: row for row in json.loads(printed)}
        different = {name: row["detail"] for name, row in parts.items() if row["state"] != "same"}
        assert code == (1 if different else 0), said
        return different

    assert changed() == {}
    write_chapter(house, "B01", parameters=PARAMETERS.replace("400", "500"))
    assert changed() == {"parameters": "n_bars: 400 → 500"}
    write_chapter(house, "B01")
    module = house / "lstm_market" / "data" / "bars.py"
    before = module.read_text()
    module.write_text(before + "\nchanged = True\n")
    different = changed()
    module.write_text(before)
    assert list(different) == ["code"] and "lstm_market.data.bars" in different["code"]
    assert "lstm_market.data.store" not in different["code"]


def test_a_failing_chapter_says_where_and_how_to_open_it(house, command):
    write_chapter(house, "B02", "1 / 0")
    code, _, said = command("reproduce", cwd=house)
    assert code == 1
    for words in ("B02_small.ipynb: cell 4 failed", "1 / 0", "ZeroDivisionError", "make lab"):
        assert words in said
    assert "Traceback" in said and "B01_small.ipynb" not in said
    assert not (house / "build" / "quick" / "pages" / "B02_small").exists()


def test_parameters_are_refused_before_anything_runs(house, command):
    quick = house / "nbs" / "book" / "quick.toml"
    quick.write_text("[B02]\nn_bras = 3\n")
    code, _, said = command("reproduce", "B02", cwd=house)
    quick.unlink()
    assert code == 2 and "B02_small declares data_dir, n_bars, seed; not n_bras" in said


@contextmanager
def started(house):
    "`reproduce` in a process group of its own, which can be interrupted wherever the tests run."
    line = [sys.executable, "-m", "lstm_market.book.cli", "reproduce"]
    heard = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "start_new_session": True}
    process = subprocess.Popen(line, cwd=house, text=True, preexec_fn=heard, **quiet)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def wait_until(there, seconds=120):
    began = time.time()
    while not there():
        assert time.time() - began < seconds, "never came"
        time.sleep(0.05)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_run_goes_on_where_it_was(house, command, stop):
    slow = f"import time\nopen('started', 'w')\ntime.sleep(99)  # {stop.name}"
    write_chapter(house, "B01", DRAW + f"  # {stop.name}")
    write_chapter(house, "B02", slow)
    mark, first = house / "nbs" / "book" / "started", pages(house)
    log = house / "build" / "quick" / "snakemake.log"
    with started(house) as process:
        wait_until(lambda: mark.exists() and "1 of" in log.read_text())
        assert pages(house)["B01_small"] != first.get("B01_small")
        os.killpg(process.pid, stop)
        said = process.communicate(timeout=60)[1]
        assert process.returncode != 0
    if stop == signal.SIGINT:
        assert "goes on from here" in said
    mark.unlink()
    stopped = pages(house)
    assert "B02_small" not in stopped
    write_chapter(house, "B02", DRAW + f"  # after {stop.name}")
    assert command("reproduce", cwd=house)[0] == 0
    assert made_again(stopped, pages(house)) == {"B02_small"}


def test_the_whole_book_is_planned():
    from lstm_market.book.chapters import chapters, lessons
    from lstm_market.book.workflow import snakemake_command

    line = snakemake_command(ROOT, "quick", None, 2, [], dry_run=True)
    line.insert(-2, "--forceall")
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in [*chapters(ROOT), *lessons(ROOT)]:
        assert f"pages/{name}\n" in done.stdout


def test_page_images_are_not_lost(house, command):
    "The HTML book shows the figure of every chapter, and needs no network."
    from lstm_market.book.pages import network_references

    assert command("reproduce", cwd=house)[0] == 0
    book = house / "build" / "quick" / "book"
    assert network_references(book) == []
    for name in ("B01_small", "B02_small"):
        figure = book / "figures" / f"{name}_1.png"
        assert figure.stat().st_size > 5000
        assert f"figures/{name}_1.png" in (book / f"{name}.html").read_text()


def test_a_page_is_drawn_by_the_code_that_it_records(house, command):
    "A module of this checkout, changed, changes the figure, whatever package is installed."
    bars = house / "lstm_market" / "data" / "bars.py"
    before = bars.read_text()
    draw = "from lstm_market.data.bars import KINDS\npage.results(kinds=len(KINDS))\n" + DRAW
    write_chapter(house, "B02", draw)
    results = house / "build" / "quick" / "drafts" / "B02_small" / "results.json"
    told = []
    for text in (before, before + "\nKINDS['more'] = KINDS['funding']\n"):
        bars.write_text(text)
        code, _, said = command("page", "B02", cwd=house)
        assert code == 0, said
        told.append(json.loads(results.read_text()))
    bars.write_text(before)
    assert told[1]["results"]["kinds"] == told[0]["results"]["kinds"] + 1
    assert told[0]["provenance"]["code"] != told[1]["provenance"]["code"]


def test_a_folder_may_have_any_name(house, command):
    "The full profile on data whose folder's name is unkind to shells and to YAML."
    data = house / "a: b #1 'y'"
    shutil.copytree(house / "build" / "quick" / "market", data)
    code, printed, said = command(
        "reproduce", "B01", "--profile", "full", "--data", data, cwd=house
    )
    assert code == 0, said
    figure = house / "build" / "full" / "pages" / "B01_small" / "closes.png"
    assert command("verify", figure, "--data", data, cwd=house)[0] == 0
    worse = data.rename(house / "{x}")
    code, _, said = command("reproduce", "--profile", "full", "--data", worse, cwd=house)
    assert code == 2 and "braces in its name" in said


def test_the_way_to_open_a_failed_page_exists():
    makefile = (ROOT / "Makefile").read_text()
    assert "$(NOTEBOOK)" in makefile.split("lab: setup")[1].split("\n\n")[0]
