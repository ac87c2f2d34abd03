"""`make test`: every test in parallel, then the coverage, then one line that counts.

Arguments go to pytest. A selection of tests is not judged by its coverage: it covers little on
purpose.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

AT_LEAST = 90  # per cent of the package's lines


def run_tests(arguments: list[str], counts: Path) -> dict[str, int]:
    "Run pytest under coverage and count what happened."
    measured = [sys.executable, "-m", "coverage", "run", "-m", "pytest"]
    line = [*measured, "-n", "2", "--dist", "loadgroup", *arguments]
    code = subprocess.run(line, env=os.environ | {"LSTM_MARKET_COUNTS": str(counts)}).returncode
    number = json.loads(counts.read_text()) if counts.exists() else {"error": 1}
    failed = number.get("failed", 0) + number.get("error", 0)
    broken = bool(code) and not failed
    return {
        "passed": number.get("passed", 0),
        "failed": failed + broken,
        "skipped": number.get("skipped", 0),
    }


def covered() -> bool:
    "Print the coverage; whether it is enough."
    subprocess.run([sys.executable, "-m", "coverage", "combine", "-q"])
    report = [sys.executable, "-m", "coverage", "report", f"--fail-under={AT_LEAST}"]
    return subprocess.run(report).returncode == 0


def main(arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        counted = run_tests(arguments, Path(folder) / "counts.json")
    if not arguments:
        counted["passed" if covered() else "failed"] += 1
    if not counted["passed"] and not counted["failed"]:
        print("no test was run", file=sys.stderr)
        counted["failed"] = 1
    skipped = f", {counted['skipped']} skipped" if counted["skipped"] else ""
    print(f"{counted['passed']} passed, {counted['failed']} failed{skipped}")
    return 1 if counted["failed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
