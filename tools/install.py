"""Make `.venv` and put into it what `constraints.txt` pins; do nothing when that is done.

Needs a Python that settings.ini admits and nothing else; setup.py finds one and starts this file.
"""

import hashlib
import os
import queue
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
READY = VENV / ".ready"
LOG = ROOT / "build" / "setup.log"
INPUTS = ("settings.ini", "constraints.txt", "setup.py", "tools/install.py")
VENV_BYTES = 3_600_000_000
DOWNLOAD_BYTES = 900_000_000
PYPI = "https://pypi.org/simple"

FULL = re.compile(r"No space left on device|Disk quota exceeded|Errno 28\b|Errno 122\b")
RETRY = re.compile(r"Retrying \(Retry\(total=(\d+)")
BROKEN = re.compile(
    r"after connection broken by|NewConnectionError|ConnectTimeout|ReadTimeout|NameResolutionError"
    r"|ProxyError|ConnectionResetError|IncompleteRead|IncompleteDownload|Max retries exceeded"
    r"|confirming the ssl certificate|CERTIFICATE_VERIFY_FAILED"
)
UNREACHABLE = "the package index cannot be reached"
MISSING = re.compile(r"No matching distribution found for (\S+)|requested \(constraint\) (\S+)")


class Fault(Exception):
    "What stands in the way, as one plain sentence."


def say(words: str) -> None:
    "A line of progress."
    print(words, flush=True)


def gigabytes(
    n_bytes: float,  # a size
) -> str:  # in GB, with one decimal
    "A size as people say it."
    return f"{n_bytes / 1e9:.1f} GB"


def size(
    folder: Path,  # may be absent
) -> int:  # bytes on disk
    "What a folder takes."
    files = (Path(top, name) for top, _, names in os.walk(folder) for name in names)
    return sum(file.lstat().st_blocks * 512 for file in files)


def existing(
    path: Path,  # may be absent
) -> Path:  # the path or the nearest folder above it that exists
    "Where a folder will be made."
    return path if path.exists() else existing(path.parent)


def check_disk(
    needs: dict[Path, float],  # bytes still to be written under each folder
) -> None:  # raises Fault, naming the folder
    "Refuse to begin what the disk cannot hold; folders on one disk share its space."
    disks: dict[int, tuple[Path, float]] = {}
    for folder, needed in needs.items():
        device = existing(folder).stat().st_dev
        first, before = disks.get(device, (existing(folder), 0.0))
        disks[device] = first, before + needed
    for folder, needed in disks.values():
        if (free := shutil.disk_usage(folder).free) < needed:
            raise Fault(
                f"the disk is too full: installing needs about {gigabytes(needed)} in {folder}, "
                f"and {gigabytes(free)} is free there"
            )


def digest(
    version: str,  # the venv's Python
) -> str:  # changes when the installation must be looked at again
    "One hash of all that decides what an installed `.venv` is: files, Python and place."
    parts = [str(ROOT).encode(), version.encode(), *((ROOT / name).read_bytes() for name in INPUTS)]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def answer(
    command: list[str],  # something quick
) -> subprocess.CompletedProcess:  # with its output as text
    "Ask a program a question."
    return subprocess.run(command, cwd=ROOT, env=clean_env(), capture_output=True, text=True)


def venv_version() -> str | None:  # None where there is no usable venv at this place
    "The version of the venv's Python, when it runs and its scripts point here and not elsewhere."
    activate = VENV / "bin" / "activate"
    try:
        text = activate.read_text(encoding="utf-8")
        probe = "import pip, sys; print('%d.%d.%d' % sys.version_info[:3], sys.prefix)"
        done = answer([str(PYTHON), "-c", probe])
    except (OSError, UnicodeDecodeError):
        return None
    version, _, prefix = done.stdout.strip().partition(" ")
    here = str(VENV) in text or shlex.quote(str(VENV)) in text
    return version if done.returncode == 0 and here and Path(prefix) == VENV else None


def clean_env() -> dict[str, str]:
    "The environment, less what would make pip install elsewhere or speak differently."
    foreign = {"PYTHONHOME", "PYTHONPATH", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_CONSTRAINT"}
    foreign |= {"PIP_QUIET", "PIP_VERBOSE", "PIP_LOG", "PIP_DRY_RUN", "PIP_REQUIRE_HASHES"}
    kept = {key: value for key, value in os.environ.items() if key not in foreign}
    fixed = {"PIP_USER": "0", "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return {**kept, **fixed, "PIP_NO_COLOR": "1", "PIP_PROGRESS_BAR": "off"}


def log(words: str) -> None:
    "Keep a line for whoever wants the details; a full disk must not hide the reason."
    with suppress(OSError):
        LOG.parent.mkdir(parents=True, exist_ok=True)
        with LOG.open("a", encoding="utf-8") as lines:
            lines.write(words.rstrip("\n") + "\n")


def lines_of(
    command: list[str],  # what to run, in the project's folder
    pause: float = 1.0,  # seconds after which an empty line is given
) -> Iterator[str]:  # its output; the last line is its exit code
    "Run a command and give its lines as they come, and an empty one now and then."
    log("$ " + shlex.join(command))
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    process = subprocess.Popen(
        command, cwd=ROOT, env=clean_env(), text=True, errors="replace", bufsize=1, **pipes
    )
    came: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in process.stdout:
            came.put(line)
        came.put(None)

    threading.Thread(target=read, daemon=True).start()
    try:
        while True:
            try:
                line = came.get(timeout=pause)
            except queue.Empty:
                yield ""
                continue
            if line is None:
                break
            log(line)
            yield line
        yield str(process.wait())
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


def explain(
    text: str,  # what a command said
    doing: str,  # what it was to do
) -> str:  # one sentence
    "The reason in a failed command's output, in plain words."
    if FULL.search(text):
        free = gigabytes(min(shutil.disk_usage(place).free for place in places()))
        needed = gigabytes(VENV_BYTES + DOWNLOAD_BYTES)
        return f"the disk is full ({free} free) while {doing}; about {needed} is needed"
    if BROKEN.search(text):
        return f"{UNREACHABLE} while {doing}; check the network, then `make setup` goes on"
    if missing := MISSING.search(text):
        python = f"Python {sys.version_info[0]}.{sys.version_info[1]} on this machine"
        return f"the package index offers no {missing[1] or missing[2]} that suits {python}"
    errors = [line for line in text.splitlines() if line.startswith(("ERROR:", "error:", "Error:"))]
    last = (errors or text.strip().splitlines() or ["it said nothing"])[-1]
    return f"{doing} failed: {last.removeprefix('ERROR:').strip()}"


def places() -> list[Path]:
    "The folders that an installation writes to."
    return [existing(VENV), Path(tempfile.gettempdir())]


def run(
    command: list[str],  # what to run
    doing: str,  # what it is to do, for the sentence when it fails
    watch: Callable[[str], None] = lambda line: None,  # sees every line
) -> str:  # all it said
    "Run a command to its end, or raise the reason why it failed."
    said = list[str]()
    with closing(lines_of(command)) as lines:
        for line in lines:
            said.append(line)
            watch(line)
    code = said.pop()
    if code != "0":
        raise Fault(explain("".join(said), doing))
    return "".join(said)


def pip(*arguments: str) -> list[str]:
    "A pip command of the venv."
    return [str(PYTHON), "-m", "pip", *arguments]


def index_url() -> str:
    "The index that pip is told to use, the environment before its files; empty when told none."
    told = dict(re.findall(r"(?m)^(\S+)='(.*)'$", answer(pip("config", "list")).stdout))
    ranked = [":env:.", "install.", "global."]
    if any(told.get(f"{scope}no-index", "0") not in ("0", "false", "False") for scope in ranked):
        return ""
    return next((told[key] for scope in ranked if (key := f"{scope}index-url") in told), PYPI)


def refusal(
    url: str,  # an index
    seconds: float = 10.0,  # how long to wait for an answer
) -> str | None:  # why nobody answers; None when somebody does, or when that cannot be told here
    "Knock at the index, or at the proxy before it."
    target = urlsplit(url)
    proxy = getproxies().get(target.scheme)
    if target.scheme not in ("http", "https") or not target.hostname:
        return None
    if proxy and not proxy_bypass(target.hostname):
        target = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    port = target.port or {"https": 443}.get(target.scheme, 80)
    try:
        socket.create_connection((target.hostname, port), seconds).close()
    except OSError as error:
        return error.strerror or str(error) or type(error).__name__
    return None


def make_venv() -> None:
    "Make an empty `.venv`, whatever Python runs this file."
    base = getattr(sys, "_base_executable", None) or sys.executable
    if VENV.is_symlink():
        VENV.unlink()
    elif VENV.exists():
        if not (VENV / "pyvenv.cfg").exists() and any(VENV.rglob("*.*")):
            raise Fault(f"{VENV} is no virtual environment; move it away first")
        shutil.rmtree(VENV)
    run([base, "-m", "venv", "--without-pip", str(VENV)], "making .venv")
    run([str(PYTHON), "-m", "ensurepip", "--default-pip"], "making .venv")


def site_packages() -> Path:
    "Where the venv keeps its packages."
    return next((VENV / "lib").glob("python3.*/site-packages"))


def repair() -> None:
    "Forget every package whose installation was cut short: its list of files is written last."
    for info in site_packages().glob("*.dist-info"):
        if not (info / "RECORD").exists():
            shutil.rmtree(info)
    for left in site_packages().glob("~*"):
        shutil.rmtree(left) if left.is_dir() else left.unlink()


def build_tools() -> None:
    "Install setuptools and wheel as pinned, and learn on the way whether the index answers."
    url = index_url()
    why = refusal(url) if url else None
    hurry = ["--timeout", "15", "--retries", "1"] if why else []
    given_up = list[str]()

    def watch(line: str) -> None:
        if (retry := RETRY.search(line)) and retry[1] == "0":
            given_up.append(line)

    reason = None
    try:
        command = pip("install", *hurry, "-c", "constraints.txt", "setuptools", "wheel")
        run(command, "fetching setuptools", watch)
    except Fault as fault:
        reason = fault
    if (why and given_up) or (reason and str(reason).startswith(UNREACHABLE)):
        place = re.sub(r"//[^/@]*@", "//", url)
        raise Fault(
            f"the package index {place} cannot be reached ({why or 'it breaks off'}); "
            "check the network, or name an index that answers with PIP_INDEX_URL"
        )
    if reason:
        raise reason


class Progress:
    "Counts what pip has fetched and installed, and shows it: in one place on a terminal."

    def __init__(self, n_pins: int) -> None:
        self.n_pins = n_pins
        self.n_fetched = 0
        self.n_given_up = 0
        self.n_before = 0
        self.n_new = 0
        self.began_at = self.shown_at = time.monotonic()
        self.terminal = sys.stdout.isatty()

    def __call__(self, line: str) -> None:
        if (retry := RETRY.search(line)) and retry[1] == "0":
            self.n_given_up += 1
        if self.n_given_up == 3:
            raise Fault(explain(line, "fetching packages"))
        self.n_fetched += line.startswith("Collecting ")
        if line.startswith("Installing collected packages:"):
            self.n_new, self.n_before = line.count(",") + 1, self.installed()
        if time.monotonic() - self.shown_at > (0.5 if self.terminal else 15):
            self.show()

    def installed(self) -> int:
        "How many packages the venv has now."
        return sum(1 for _ in site_packages().glob("*.dist-info"))

    def show(self) -> None:
        "The state in one line."
        self.shown_at = time.monotonic()
        words = f"fetched {self.n_fetched} of about {self.n_pins} packages"
        if self.n_new:
            n_done = min(max(self.installed() - self.n_before, 0), self.n_new)
            words = f"installed {n_done} of {self.n_new} packages"
        words = f"      {words}, {self.shown_at - self.began_at:.0f} s"
        print(f"\r{words:70}" if self.terminal else words, end="" if self.terminal else "\n")
        sys.stdout.flush()


def packages() -> None:
    "Install the project and all it needs, as pinned."
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    what = ["--no-build-isolation", "-c", "constraints.txt", "-e", ".[dev,docs]"]
    command = pip("install", *what)
    progress = Progress(len(re.findall(r"(?m)^[a-z0-9].*==", pins)))
    try:
        run(command, "installing packages", progress)
    finally:
        print("\n" if progress.terminal else "", end="", flush=True)


HOOK = '''"Clean a notebook before it is saved, as settings.ini says."


def clean_before_save(model, **_):
    from nbdev.clean import _nbdev_clean

    if model["type"] == "notebook" and model["content"]["nbformat"] == 4:
        _nbdev_clean(model["content"])


c.ContentsManager.pre_save_hook = clean_before_save
'''


def jupyter_hook() -> None:
    "JupyterLab cleans a notebook whenever it saves one; told inside the venv, not at home."
    config = VENV / "etc" / "jupyter" / "jupyter_server_config.py"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(HOOK, encoding="utf-8")


def git(*arguments: str) -> str | None:  # None when git is absent or refuses
    "What git answers here."
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def git_hooks() -> bool:  # whether this is a clone
    "Notebooks are merged cell by cell, and trusted again after a merge; told to this clone alone."
    top = git("rev-parse", "--show-toplevel")
    if top is None or Path(top).resolve() != ROOT:
        return False
    merge, trust = (shlex.quote(str(VENV / "bin" / f"nbdev_{name}")) for name in ("merge", "trust"))
    escaped = merge.replace("%", "%%")
    driver = f"if test -x {escaped}; then {escaped} %O %A %B %P; else git merge-file %A %O %B; fi"
    git("config", "--local", "merge.nbdev-merge.name", "merge notebooks cell by cell")
    git("config", "--local", "merge.nbdev-merge.driver", driver)
    hook = ROOT / (git("rev-parse", "--git-common-dir") or ".git") / "hooks" / "post-merge"
    if not hook.exists() or "nbdev_trust" in hook.read_text(encoding="utf-8"):
        hook.parent.mkdir(parents=True, exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntest ! -x {trust} || {trust}\n", encoding="utf-8")
        hook.chmod(0o755)
    return True


def installed_already(
    version: str | None,  # of the venv that stands there
) -> bool:
    "Whether the last installation was finished and nothing it depends on has changed."
    return version is not None and READY.exists() and READY.read_text().strip() == digest(version)


def install(
    version: str | None,  # of the venv to build on; None to make one
) -> None:
    "All steps, each of which can be repeated."
    LOG.unlink(missing_ok=True)
    READY.unlink(missing_ok=True)
    present = size(VENV) if version else 0
    missing = max(VENV_BYTES - present, VENV_BYTES // 10)
    share = missing / VENV_BYTES
    check_disk({VENV: missing, Path(tempfile.gettempdir()): share * DOWNLOAD_BYTES})
    if version is None:
        say(f"[1/4] making .venv with Python {'.'.join(map(str, sys.version_info[:3]))}")
        make_venv()
    else:
        say(f"[1/4] going on with .venv, Python {version}")
        repair()
    say("[2/4] build tools")
    build_tools()
    say("[3/4] packages (the first time this fetches about 1 GB)")
    packages()
    say("[4/4] hooks for notebooks")
    jupyter_hook()
    git_hooks() or say("      not a git clone: no merge hook")
    stamp = READY.with_suffix(".new")
    stamp.write_text(digest(venv_version() or ""))
    stamp.replace(READY)


def main() -> int:  # the exit code
    "Bring `.venv` up to date."
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began, new = time.monotonic(), not VENV.exists()
    version = venv_version()
    asked = ".".join(map(str, sys.version_info[:2])) if os.environ.get("PYTHON") else ""
    if version and not version.startswith(asked):
        version = None
    if installed_already(version):
        return 0
    try:
        install(version)
    except (Fault, OSError) as error:
        text = str(error)
        sentence = text if isinstance(error, Fault) else explain(text, "writing")
        if new and ("disk is full" in sentence or "cannot be reached" in sentence):
            shutil.rmtree(VENV, ignore_errors=True)
        print(f"{sentence}; build/setup.log has the details.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; `make setup` goes on from here.", file=sys.stderr)
        return 130
    say(f"      ready after {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
