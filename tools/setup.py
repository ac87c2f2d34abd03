"""Find a Python that will do, and hand over to install.py.

Any Python since 2.7 can read this file, so that an old one can say which is needed."""

from __future__ import print_function

import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
NAMES = ["python3", "python3.13", "python3.12", "python3.11", "python"]
PROBE = "import sys; print('%d.%d.%d' % sys.version_info[:3]); import ensurepip, venv"


def supported(settings):
    "The first and the last Python that settings.ini admits, as pairs of numbers."
    with open(settings) as lines:
        text = lines.read()
    pattern = r"(?m)^%s_python\s*=\s*(\d+)\.(\d+)"
    found = [re.search(pattern % bound, text).groups() for bound in ("min", "max")]
    return [(int(major), int(minor)) for major, minor in found]


def probe(python):
    "The version that `python` prints when it really runs, and whether it can make a venv."
    try:
        with open(os.devnull) as nothing:
            started = subprocess.Popen(
                [python, "-c", PROBE], stdin=nothing, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            said = started.communicate()[0].decode("ascii", "replace").strip()
    except OSError:
        return None, False
    version = said if re.match(r"^\d+\.\d+\.\d+$", said) else None
    return version, started.returncode == 0


def choose(candidates, first, last):
    "The first candidate that runs, is new enough and can make a venv; and what the others are."
    refused = []
    for python in candidates:
        version, whole = probe(python)
        if version is None:
            refused.append((python, "does not run"))
        elif not first <= tuple(int(part) for part in version.split(".")[:2]) <= last:
            refused.append((python, "is Python " + version))
        elif not whole:
            refused.append((python, "is Python " + version + " without its venv module"))
        else:
            return python, refused
    return None, refused


def sentence(refused, asked, first, last):
    "Why there is no Python that will do, each version named once."
    named = {}
    for python, words in refused:
        if asked or words != "does not run":
            named.setdefault(words, python)
    found = ", ".join("%s %s" % (named[words], words) for words in sorted(named))
    return (
        "lstm_market needs Python %d.%d to %d.%d, but %s; install one, or name it: "
        "make PYTHON=/path/to/python%d.%d"
    ) % (first + last + (found or "no Python runs here",) + last)


def main():
    "Start install.py under a Python that will do, or say in one sentence why there is none."
    first, last = supported(os.path.join(os.path.dirname(HERE), "settings.ini"))
    asked = os.environ.get("PYTHON", "")
    candidates = [asked] if asked else [sys.executable or NAMES[0]] + NAMES
    python, refused = choose(candidates, first, last)
    if python:
        sys.stdout.flush()
        os.execvp(python, [python, os.path.join(HERE, "install.py")])
    print(sentence(refused, asked, first, last), file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
