"What a fresh clone needs: a Python, a disk, an index; and a sentence when one is missing."

import ast
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
MAKE = shutil.which("make")
NEEDS = "lstm_market needs Python 3.11 to 3.13, but "
FULL = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"


@pytest.fixture(scope="module")
def told():
    config = ConfigParser(delimiters=["="])
    config.read(ROOT / "settings.ini", encoding="utf-8")
    return config["DEFAULT"]


@pytest.fixture
def clone(tmp_path):
    folder = tmp_path / "a clone with spaces"
    shutil.copytree(ROOT / "tools", folder / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("settings.ini", "constraints.txt", "setup.py", "pyproject.toml", "Makefile"):
        shutil.copy(ROOT / name, folder)
    return folder


def make(folder, *arguments, **environment):
    kept = {key: value for key, value in os.environ.items() if key != "PYTHON"}
    kept = {key: value for key, value in kept.items() if not key.startswith(("MAKE", "MFLAGS"))}
    env = {**kept, "HOME": str(folder / "home"), **environment}
    return subprocess.run([MAKE, *arguments], cwd=folder, env=env, capture_output=True, text=True)


def sentence(done):
    "The one line on stderr that is not make's own."
    assert done.returncode != 0 and "Traceback" not in done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert len(lines) == 1, done.stderr
    return lines[0]


def load(name, folder=ROOT):
    "A script of tools/ as a module."
    spec = importlib.util.spec_from_file_location(f"tools_{name}", folder / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def script(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def python_that_says(path, version):
    "A Python that reports `version`, and otherwise runs what it is given under its own name."
    run = "import runpy, sys; sys.executable = sys.argv[1]; sys.argv = sys.argv[2:]; "
    run += "runpy.run_path(sys.argv[0], run_name='__main__')"
    told = f'case "$1$2" in -c*version*) echo {version};; -c*) ;; '
    return script(path, told + f"*) exec '{sys.executable}' -c \"{run}\" \"$0\" \"$@\";; esac")


def pip_that(folder, does):
    "A `.venv` that is real but for its pip, which runs `does` when asked to install."
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / ".venv"], check=True)
    package = next((folder / ".venv" / "lib").glob("python3*")) / "site-packages" / "pip"
    package.mkdir()
    (package / "__init__.py").touch()
    config = 'import sys\nif "config" in sys.argv:\n    sys.exit(print(":env:.no-index=\'1\'"))\n'
    (package / "__main__.py").write_text(config + does)


@pytest.mark.parametrize("version", ["2.7.18", "3.9.18", "3.14.0"])
def test_a_python_that_will_not_do_is_named(clone, version):
    python = python_that_says(clone / "bin" / "python3", version)
    for environment in ({"PATH": str(python.parent)}, {"PYTHON": str(python)}):
        said = sentence(make(clone, "setup", **environment))
        assert said.startswith(f"{NEEDS}{python} is Python {version}; ")
    assert not (clone / ".venv").exists()


def test_no_python_is_told_from_one_that_does_not_run(clone):
    (clone / "bin").mkdir()
    said = sentence(make(clone, "setup", PATH=str(clone / "bin")))
    assert said == "lstm_market needs Python 3.11 to 3.13, and no Python runs here; install one."
    said = sentence(make(clone, "setup", PYTHON="/no where/python"))
    assert said.startswith(f"{NEEDS}/no where/python does not run; ")


def test_the_first_python_that_runs_and_will_do_is_taken(tmp_path):
    shim = str(script(tmp_path / "shim", "echo 'command not found' >&2; exit 127"))
    old, good = str(python_that_says(tmp_path / "old", "3.10.4")), sys.executable
    bare = str(script(tmp_path / "bare", "echo 3.12.0; exit 1"))
    chosen, refused = load("setup").choose([shim, old, bare, good, "python3"], (3, 11), (3, 13))
    assert chosen == good
    assert dict(refused) == {
        shim: "does not run",
        old: "is Python 3.10.4",
        bare: "is Python 3.12.0 without its venv module",
    }


def test_the_finder_can_be_read_by_an_old_python(told):
    tree = ast.parse((ROOT / "tools" / "setup.py").read_text())
    newer = (ast.JoinedStr, ast.AnnAssign, ast.NamedExpr, ast.arg, ast.Starred, ast.Nonlocal)
    found = [node for node in ast.walk(tree) if isinstance(node, newer)]
    assert not [node for node in found if getattr(node, "annotation", True)]
    low, high = load("setup").supported(str(ROOT / "settings.ini"))
    assert (f"3.{low[1]}", f"3.{high[1]}") == (told["min_python"], told["max_python"])


def test_a_full_disk_is_named_when_pip_meets_it(clone):
    pip_that(clone, f"sys.exit({FULL!r})")
    said = sentence(make(clone, "setup"))
    assert re.match(r"the disk is full \(\d+\.\d GB free\) while fetching setuptools; about", said)
    assert FULL in (clone / "build" / "setup.log").read_text()


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "small disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(folder)]
    if os.geteuid() or not shutil.which("mount") or subprocess.run(mount).returncode:
        pytest.skip("only root can make a disk of 20 MB")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.slow
def test_a_small_disk_is_refused_before_and_named_when_it_fills(clone, small_disk):
    folder = small_disk / "clone"
    shutil.copytree(clone, folder)
    said = sentence(make(folder, "setup"))
    assert re.match(rf"the disk is too full: .* {re.escape(str(folder))}, and 0.0 GB is free", said)
    install = folder / "tools" / "install.py"
    careless = re.sub(r"(?m)^(VENV|DOWNLOAD)_BYTES = .*", r"\1_BYTES = 1", install.read_text())
    install.write_text(careless)
    assert sentence(make(folder, "setup")).startswith("the disk is full (0.0 GB free) while making")
    assert not (folder / ".venv").exists()


@pytest.mark.slow
def test_an_index_that_cannot_be_reached_is_named_and_a_moved_venv_made_again(clone):
    pip_that(clone, "")
    assert make(clone, "setup").returncode == 0
    moved = clone.rename(clone.with_name("moved elsewhere"))
    nowhere = "http://someone:secret@127.0.0.1:9/simple"
    done = make(moved, "setup", PIP_INDEX_URL=nowhere, PIP_NO_INDEX="0")
    assert "making .venv" in done.stdout
    assert sentence(done).startswith(
        "the package index http://127.0.0.1:9/simple cannot be reached (Connection refused); "
    )


def test_what_is_done_is_not_done_again_and_what_changed_is(clone):
    pip_that(clone, "open('calls', 'a').write('.')")
    home = clone / "home"
    first = make(clone, "setup")
    assert first.returncode == 0 and "not a git clone" in first.stdout, first.stderr
    calls = len((clone / "calls").read_text())
    again = make(clone, "setup")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert len((clone / "calls").read_text()) == calls
    with (clone / "constraints.txt").open("a") as pins:
        pins.write("# changed\n")
    assert "going on with .venv" in make(clone, "setup").stdout
    assert len((clone / "calls").read_text()) == 2 * calls
    assert not home.exists()


def test_a_package_cut_short_is_installed_again(clone, monkeypatch):
    pip_that(clone, "")
    install = load("install", clone)
    for name, files in {"whole": ["METADATA", "RECORD"], "half": ["METADATA"]}.items():
        info = install.site_packages() / f"{name}-1.0.dist-info"
        info.mkdir()
        for file in files:
            (info / file).touch()
    (install.site_packages() / "~alf").mkdir()
    install.repair()
    left = {path.name for path in install.site_packages().iterdir()}
    assert left == {"pip", "whole-1.0.dist-info"}


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (FULL, "the disk is full"),
        ("OSError: [Errno 122] Disk quota exceeded", "the disk is full"),
        ("Retrying (Retry(total=0)) after connection broken by 'X'", "the package index cannot be"),
        ("ReadTimeoutError: files", "the package index cannot be reached while installing"),
        ("ERROR: No matching distribution found for a==1", "the package index offers no a==1 that"),
        ("    The user requested (constraint) b==2", "the package index offers no b==2 that suits"),
        ("x\nERROR: Something else.\ny", "installing failed: Something else."),
        ("", "installing failed: it said nothing"),
    ],
)
def test_every_reason_has_its_sentence(said, meant):
    found = load("install").explain(said, "installing")
    assert found.startswith(meant) and "\n" not in found


def git(folder, *arguments):
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    done = subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, text=True)
    return done


def notebook(folder, *sources):
    cells = [
        {"cell_type": "markdown", "id": f"cell{i}", "metadata": {}, "source": [source]}
        for i, source in enumerate(sources)
    ]
    text = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (folder / "a.ipynb").write_text(json.dumps(text, indent=1, sort_keys=True) + "\n")
    git(folder, "add", "-A")
    git(folder, "commit", "-m", "a")


@pytest.mark.slow
def test_notebooks_are_merged_cell_by_cell(clone, monkeypatch):
    install = load("install", clone)
    monkeypatch.setattr(install, "VENV", Path(sys.prefix))
    shutil.copy(ROOT / ".gitattributes", clone)
    assert not install.git_hooks()
    git(clone, "init", "-b", "main")
    assert install.git_hooks()
    notebook(clone, "first", "second", "third")
    git(clone, "switch", "-c", "theirs")
    notebook(clone, "first", "second, theirs", "third, theirs")
    git(clone, "switch", "main")
    notebook(clone, "first, ours", "second, ours", "third")
    (clone / ".git" / "hooks" / "post-merge").unlink()
    assert git(clone, "merge", "theirs").returncode != 0
    merged = json.loads((clone / "a.ipynb").read_text())["cells"]
    sources = ["".join(cell["source"]) for cell in merged]
    assert sources[0] == "first, ours" and sources[-1] == "third, theirs"
    assert sources[1:-1] == ["`<<<<<<< HEAD`", "second, ours", "`=======`", "second, theirs"] + [
        "`>>>>>>> theirs`"
    ]
    assert [merged[0]["id"], merged[-1]["id"]] == ["cell0", "cell2"]


def test_every_target_is_in_the_help():
    text = (ROOT / "Makefile").read_text()
    targets = set(re.search(r"(?m)^\.PHONY: (.*)$", text)[1].split())
    assert targets == set(re.findall(r"(?m)^([a-z]+):(?!=)", text))
    listed = make(ROOT, "help").stdout.splitlines()
    assert {line.split()[1] for line in listed} == targets
    assert all(len(line.split()) > 3 for line in listed)
    assert make(ROOT).stdout.splitlines() == listed


def pins():
    "Every line of constraints.txt that applies to this machine, by name."
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = [Requirement(line) for line in lines if not line.startswith("#")]
    here = [pin for pin in found if pin.marker is None or pin.marker.evaluate()]
    return {canonicalize_name(pin.name): next(iter(pin.specifier)).version for pin in here}


def closure(requirements):
    "All that `requirements` lead to in this environment, by name."
    waiting, seen = [Requirement(text) for text in requirements], set()
    while waiting:
        wanted = waiting.pop()
        for extra in ("", *wanted.extras):
            name = canonicalize_name(wanted.name)
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            found = map(Requirement, importlib.metadata.requires(wanted.name) or [])
            waiting += [r for r in found if not r.marker or r.marker.evaluate({"extra": extra})]
    return {name for name, _ in seen}


def test_every_requirement_is_pinned_and_nothing_else_is(told):
    asked = [name for key in told if key.endswith("requirements") for name in told[key].split()]
    pinned = pins()
    for requirement in map(Requirement, asked):
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)])
    assert closure(asked) == set(pinned)


def test_pins_are_for_the_machines_that_are_supported(told):
    constraints = load("constraints")
    where = constraints.machines(told)
    assert {machine["python_version"] for machine in where} == {"3.11", "3.12", "3.13"}
    for marker in ("sys_platform == 'darwin'", "python_version == '3.12'", "os_name != 'nt'"):
        assert constraints.needed(f"a==1 ; {marker}", where)
    for marker in ("sys_platform == 'win32'", "python_full_version >= '3.14'", "os_name == 'nt'"):
        assert not constraints.needed(f"a==1 ; {marker}", where)
    lines = (ROOT / "constraints.txt").read_text().splitlines()[1:]
    assert all(constraints.needed(line, where) for line in lines)
    assert not [line for line in lines if not re.match(r"[a-z0-9-]+==\S+( ; .+)?$", line)]


def test_what_is_installed_is_what_is_pinned():
    pinned = pins()
    assert {name: importlib.metadata.version(name) for name in pinned} == pinned


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("a wheel")
    source = folder / "source"
    shutil.copytree(ROOT / "lstm_market", source / "lstm_market")
    (source / "lstm_market" / "data" / "notes.txt").write_text("not code")
    (source / "build" / "lib" / "lstm_market").mkdir(parents=True)
    (source / "build" / "lib" / "lstm_market" / "stale.py").write_text("raise SystemError")
    for name in ("settings.ini", "setup.py", "pyproject.toml", "LICENSE", "README.md"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, source)
    offline = ["--no-build-isolation", "--no-deps", "--no-index", "--quiet"]
    command = [sys.executable, "-m", "pip", "wheel", *offline, "-w", folder, source]
    subprocess.run(command, check=True, env={**os.environ, "PIP_USER": "0"})
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_says_what_settings_say_and_holds_the_package_alone(wheel, told):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        info = next(name for name in names if name.endswith("/METADATA"))
        metadata = importlib.metadata.PathDistribution(zipfile.Path(archive, info).parent).metadata
        entry = archive.read(info.replace("METADATA", "entry_points.txt")).decode()
    code = {name for name in names if ".dist-info/" not in name}
    skipped = {"__pycache__"}
    expected = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "lstm_market").rglob("*.py")
        if not skipped & set(path.parts)
    }
    assert code == expected
    assert (metadata["Name"], metadata["Version"]) == (told["lib_name"], told["version"])
    assert metadata["Summary"] == told["description"]
    assert set(metadata["Requires-Python"].split(",")) == {">=3.11", "<3.14"}
    assert set(metadata.get_all("Provides-Extra")) == {
        key.removesuffix("_requirements") for key in told if key.endswith("_requirements")
    }
    asked = [Requirement(text) for text in metadata.get_all("Requires-Dist")]
    plain = {f"{r.name}{r.specifier}" for r in asked if r.marker is None}
    assert plain == set(told["requirements"].split())
    assert told["console_scripts"].replace("=", " = ") in entry


FOREIGN = """
import importlib.util, pkgutil, sys

sys.path.insert(0, sys.argv[1])
foreign = set(sys.argv[2].split())


class Absent:
    "Finds what is there, but for the foreign modules, which it does not know at all."

    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in foreign:
            return None
        return self.finder.find_spec(name, path, target)


sys.meta_path[:] = [Absent(finder) for finder in sys.meta_path]
for name in foreign:
    assert importlib.util.find_spec(name) is None or name in sys.modules, name
import lstm_market

assert lstm_market.__file__.startswith(sys.argv[1]), lstm_market.__file__
names = [m.name for m in pkgutil.walk_packages(lstm_market.__path__, "lstm_market.")]
for name in names:
    importlib.import_module(name)
print(*names)
"""


@pytest.mark.slow
def test_the_wheel_imports_where_only_its_own_requirements_are(wheel, told, tmp_path):
    target = tmp_path / "clean"
    offline = ["--no-deps", "--no-index", "--quiet", "--target", target]
    subprocess.run([sys.executable, "-m", "pip", "install", *offline, wheel], check=True)
    own = closure(told["requirements"].split())
    foreign = {
        module
        for module, owners in importlib.metadata.packages_distributions().items()
        if module != "lstm_market" and not own & {canonicalize_name(owner) for owner in owners}
    }
    assert {"nbdev", "fastcore", "papermill", "snakemake"} <= foreign
    command = [sys.executable, "-I", "-c", FOREIGN, str(target), " ".join(foreign)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "lstm_market.data.bars" in done.stdout.split()
