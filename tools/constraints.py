"""Write `constraints.txt`: every version that the requirements in settings.ini lead to.

One file for all Pythons that settings.ini admits, on Linux and macOS. Pins that still fit are
kept; with `--upgrade` all move to the newest.
"""

import itertools
import shutil
import subprocess
import sys
import tempfile
from configparser import ConfigParser
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
PINS = ROOT / "constraints.txt"
HEAD = "# Written by `make constraints` from settings.ini; do not edit.\n"


def told() -> dict[str, str]:
    "What settings.ini says."
    config = ConfigParser(delimiters=["="])
    config.read(ROOT / "settings.ini", encoding="utf-8")
    return dict(config["DEFAULT"])


def requirements(
    settings: dict[str, str],  # what settings.ini says
) -> list[str]:  # the package's and every extra's
    "Every direct requirement."
    lists = (names for key, names in settings.items() if key.endswith("requirements"))
    return sorted({name for names in lists for name in names.split()})


def machines(
    settings: dict[str, str],  # what settings.ini says
) -> list[dict[str, str]]:  # as markers see them
    "Every kind of machine that the pins are for."
    low, high = (int(settings[key].split(".")[1]) for key in ("min_python", "max_python"))
    pythons = [f"3.{minor}" for minor in range(low, high + 1)]
    systems = [("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"), ("darwin", "x86_64")]
    return [
        {
            "python_version": python,
            "python_full_version": f"{python}.{patch}",
            "sys_platform": system,
            "platform_machine": machine,
            "os_name": "posix",
            "platform_system": system.title(),
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
        }
        for python, patch, (system, machine) in itertools.product(pythons, (0, 99), systems)
    ]


def needed(
    pin: str,  # a line that uv wrote
    where: list[dict[str, str]],  # the machines
) -> bool:  # whether any of them installs it
    "Whether a pin's marker is true anywhere."
    marker = Requirement(pin).marker
    return marker is None or any(marker.evaluate(machine) for machine in where)


def uv() -> str:
    "The resolver: the one at hand, else one installed into the venv."
    beside = Path(sys.executable).parent / "uv"
    if found := shutil.which("uv"):
        return found
    if not beside.exists():
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "uv"], check=True)
    return str(beside)


def main() -> int:  # the exit code
    "Resolve, drop what no supported machine needs, and replace the file."
    settings = told()
    options = ["--universal", "--python-version", settings["min_python"]]
    options += ["--fork-strategy", "fewest", "--no-header", "--no-annotate", "--quiet"]
    options += ["--no-emit-index-url", "--no-emit-find-links", "--no-config", *sys.argv[1:]]
    with tempfile.TemporaryDirectory() as folder:
        asked, pins = Path(folder, "asked.in"), Path(folder, "pins.txt")
        asked.write_text("\n".join(requirements(settings)) + "\n", encoding="utf-8")
        if PINS.exists():
            shutil.copy(PINS, pins)
        command = [uv(), "pip", "compile", *options, str(asked), "--output-file", str(pins)]
        done = subprocess.run(command, stdout=subprocess.DEVNULL)
        if done.returncode:
            print("uv found no set of versions; constraints.txt stays as it was.", file=sys.stderr)
            return 1
        where = machines(settings)
        lines = pins.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if line[:1].isalnum() and needed(line, where)]
    PINS.write_text(HEAD + "\n".join(kept) + "\n", encoding="utf-8")
    print(f"constraints.txt pins {len(kept)} packages.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
