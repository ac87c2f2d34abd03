"""Run one library notebook as a test, against the exported package.

A cell that exports is run as it stands, so that a name used before its cell is found, and then
imports what it has defined from the package, so that the lessons exercise the modules that users
import. The notebook runs from top to bottom in this process and stops at the first failing cell.
"""

import ast
import json
import re
import sys
from pathlib import Path


def names_defined(source: str) -> list[str]:
    "The functions, classes and constants that a cell defines."
    names = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.append(node.name)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names += [target.id for target in targets if isinstance(target, ast.Name)]
    return list(dict.fromkeys(names))


def as_test(source: str, module: str) -> str:
    "The source to run for a cell, and for an exporting one the import of what it exports."
    if re.search(r"^nbdev\.nbdev_export\(\)$", source, re.MULTILINE):
        return ""
    if not re.match(r"#\| ?export", source):
        return source
    names = ", ".join(names_defined(source))
    return f"{source}\nfrom {module} import {names}" if names else source


def main(path: Path) -> int:
    import matplotlib

    matplotlib.use("agg")
    from IPython.core.interactiveshell import InteractiveShell

    cells = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
    sources = ["".join(cell["source"]) for cell in cells]
    module = next(s.split("default_exp", 1)[1].split()[0] for s in sources if "default_exp" in s)
    shell = InteractiveShell.instance(colors="nocolor")
    for number, source in enumerate(sources, 1):
        code = as_test(source, f"lstm_market.{module}")
        if code and not shell.run_cell(code).success:
            print(f"\n{path.name}: code cell {number} failed:\n\n{source}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
