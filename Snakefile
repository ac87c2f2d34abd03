# The book: what depends on what. Which page is stale, its key knows; how a page is run, the runner knows.
import os
import sys
from importlib.metadata import version
from pathlib import Path

from lstm_market.book.chapters import chapters, find_root, lessons, modules_behind, run_parameters
from lstm_market.book.provenance import profile_overrides, versions_part
from lstm_market.book.runner import page_key

ROOT = find_root(Path(workflow.basedir))
PROFILE = config.get("profile", "quick")
BUILD = f"build/{PROFILE}"
PYTHON = sys.executable
COMMAND = "{PYTHON:q} -m lstm_market.book.cli"
CHAPTERS, LESSONS = chapters(ROOT), lessons(ROOT)


def market_files(wildcards):
    "The files whose change makes every chapter stale."
    if PROFILE == "quick":
        return [f"{BUILD}/market/manifest.json"]
    folder = Path(os.environ.get("LSTM_MARKET_DATA", "data"))
    manifest = folder / "manifest.json"
    return [str(manifest)] if manifest.exists() else sorted(map(str, folder.glob("*.parquet")))


def market_folder(wildcards, input):
    "Where those files lie."
    return str(Path(input[0]).parent)


def key(wildcards):
    "What a page is made of."
    if wildcards.name in LESSONS:
        return page_key(ROOT, LESSONS[wildcards.name])
    chapter = CHAPTERS[wildcards.name]
    return page_key(ROOT, chapter, run_parameters(chapter, profile_overrides(ROOT, PROFILE, chapter)))


rule book:
    input:
        expand(f"{BUILD}/pages/{{name}}", name=[*CHAPTERS, *LESSONS]),
        readme="README.md",
        images=sorted(str(path.relative_to(ROOT)) for path in (ROOT / "images").glob("*.png")),
    output:
        f"{BUILD}/book/index.html",
    params:
        key=modules_behind(ROOT, ["import lstm_market.book.pages"]),
        mkdocs=[version(name) for name in ("mkdocs", "mkdocs-material", "markdown-it-py")],
    shell:
        COMMAND + " pages --profile {PROFILE}"


rule market:
    output:
        f"{BUILD}/market/manifest.json",
    params:
        key=modules_behind(ROOT, ["import lstm_market.data.synth, lstm_market.data.store"]),
        versions=versions_part(["numpy", "pyarrow"]),
        bars=300_000,
        seed=7,
        signal=0.05,
    shell:
        COMMAND + " simulate --bars {params.bars} --seed {params.seed} --signal {params.signal}"
        " --out {BUILD}/market"


def learns(wildcards):
    "Two threads for a chapter that trains, so that its numbers do not depend on the machine; or one."
    behind = modules_behind(ROOT, CHAPTERS[wildcards.name].code)
    return 2 if "lstm_market.models.training" in behind else 1


rule chapter:
    input:
        market_files,
    output:
        directory(f"{BUILD}/pages/{{name}}"),
    wildcard_constraints:
        name="B[^/]+",
    params:
        key=key,
        data=market_folder,
    threads: learns
    shell:
        COMMAND + " page {wildcards.name} --profile {PROFILE} --into pages --data {params.data:q}"
        " --threads {threads}"


rule lesson:
    output:
        directory(f"{BUILD}/pages/{{name}}"),
    wildcard_constraints:
        name="[0-9][^/]+",
    params:
        key=key,
    shell:
        COMMAND + " page {wildcards.name} --profile {PROFILE} --into pages"
