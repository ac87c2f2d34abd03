"""What every test shares, and the counts that `tests/run.py` prints last."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def command():
    "Run `lstm-market` as a process of its own: exit code, standard output, standard error."

    def run(*arguments, cwd=ROOT, **environment):
        line = [sys.executable, "-m", "lstm_market.book.cli", *map(str, arguments)]
        done = subprocess.run(
            line, cwd=cwd, capture_output=True, text=True, env=os.environ | environment, timeout=600
        )
        return done.returncode, done.stdout, done.stderr

    return run


def pytest_unconfigure(config):
    counts, reporter = (
        os.environ.get("LSTM_MARKET_COUNTS"),
        config.pluginmanager.get_plugin("terminalreporter"),
    )
    if counts and reporter and not hasattr(config, "workerinput"):
        number = {
            kind: len(reporter.stats.get(kind, []))
            for kind in ("passed", "failed", "error", "skipped")
        }
        Path(counts).write_text(json.dumps(number))
