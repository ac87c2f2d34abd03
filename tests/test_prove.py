"`lstm-market prove` on a user's own function: the exit code, the row, both values, one line."

import json

import pytest

MODULE = '''
import random
import numpy as np
import pandas as pd

level = 3


def momentum(bars):
    print("hello")
    return np.log(bars["close"]).diff(8)


def table_of_two(bars):
    return pd.DataFrame({"up": bars["close"].diff() > 0, "volume": bars["volume"].rolling(9).sum()})


def prophecy(bars):
    return np.log(bars["close"]).diff(-8).rename("prophecy")


def scaled(bars):
    return (bars["volume"] - bars["volume"].mean()) / bars["volume"].std()


def second_only(bars):
    ahead = bars["volume"].rolling(5, center=True).mean()
    return pd.DataFrame({"honest": bars["close"], "leaky": ahead})


def drawn(bars):
    return bars["close"] * random.random()


def hourly(bars):
    close = bars["close"].resample("1h").last()
    return close.reindex(bars.index.floor("1h")).to_numpy()


def short(bars):
    return bars["close"].iloc[1:]


def broken(bars):
    return bars["colour"]


def leaves(bars):
    raise SystemExit(0)


def nothing(bars):
    pass


def words(bars):
    return bars["close"].map(str)


def empty(bars):
    return bars["close"] * np.nan
'''


@pytest.fixture
def prove(command, tmp_path):
    (tmp_path / "mine.py").write_text(MODULE)
    (tmp_path / "crashes.py").write_text("raise RuntimeError('two\\nlines')")
    return lambda *arguments: command("prove", *arguments, cwd=tmp_path)


@pytest.mark.parametrize("name", ["momentum", "table_of_two"])
def test_causal(prove, name):
    code, printed, said = prove(f"mine:{name}")
    assert code == 0 and printed.endswith("nothing looks ahead\n"), (printed, said)
    assert ("hello" in said) == (name == "momentum") and "hello" not in printed


@pytest.mark.parametrize(
    "name, cause",
    [
        ("prophecy", "a view of 8 bars ahead"),
        ("scaled", "something fitted on everything"),
        ("second_only", "a view of 2 bars ahead"),
        ("drawn", "random draws"),
        ("hourly", "an unfinished period of 1h"),
    ],
)
def test_looks_ahead(prove, name, cause):
    code, printed, said = prove(f"mine:{name}", "--json")
    assert code == 1 and not said, said
    (verdict,) = json.loads(printed)
    assert verdict["verdict"] == "looks ahead" and not verdict["ok"]
    for finding in verdict["findings"]:
        assert finding["cause"].startswith(cause) and finding["value"] != finding["other"]
        assert finding["row"] <= finding["cut"] and finding["open_at"].startswith("2017-")
    assert {f["name"] for f in verdict["findings"]} != {"honest", "leaky"}
    code, printed, _ = prove(f"mine:{name}")
    assert code == 1 and f"likely {cause}" in printed and " at row " in printed


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["momentum"], "a function is named as module:function; not 'momentum'"),
        (["mine:"], "a function is named as module:function"),
        (["nowhere:f"], "there is no module nowhere"),
        (["mine:none"], "mine has no none"),
        (["mine:level"], "mine:level is a int; expected a function"),
        (["crashes:f"], "importing crashes raised RuntimeError: two lines"),
        (["mine:short"], "the function returned 5999 rows for a table of 6000"),
        (["mine:broken"], "the function raised KeyError on the whole table: 'colour'"),
        (["mine:leaves"], "the function raised SystemExit on the whole table: 0"),
        (["mine:nothing"], "the function returned NoneType; expected a Series"),
        (["mine:words"], "the function returned close as object; expected numbers"),
        (["mine:empty"], "the function returned no number up to row"),
        (["mine:momentum", "--profile", "slow"], "a profile is quick or full; not 'slow'"),
        (["mine:momentum", "--profile", "full"], "name its folder with --data"),
        (["mine:momentum", "--data", "nowhere"], "nowhere is missing, expected a folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input(prove, arguments, words):
    code, printed, said = prove(*arguments)
    assert code == 2 and not printed, (printed, said)
    assert words in said and said.startswith("lstm-market: ") and said.count("\n") == 1


def test_own_data(prove, command, tmp_path):
    data = tmp_path / "market"
    assert command("simulate", "--bars", 5000, "--seed", 3, "--out", data)[0] == 0
    for profile in ("quick", "full"):
        chosen = "--data", data, "--profile", profile
        assert prove("mine:momentum", *chosen)[0] == 0
        code, printed, _ = prove("mine:prophecy", *chosen, "--json")
        assert code == 1
        assert {f["proof"] for f in json.loads(printed)[0]["findings"]} >= {"cut", "other"}
    code, _, said = prove("mine:momentum", "--data", data, "--symbol", "ETHUSDT")
    assert code == 2 and "expected one series of ETHUSDT kline 15m" in said


@pytest.mark.slow
def test_everything_is_causal(command):
    code, printed, said = command("prove", "--json")
    verdicts = json.loads(printed)
    assert code == 0, [v for v in verdicts if not v["ok"]]
    flagged = [v["name"] for v in verdicts if v["findings"]]
    assert flagged == ["includes-decision-bar"]
    assert {v["kind"] for v in verdicts} == {"feature", "scaler", "label", "window", "path"}
    assert len(verdicts) > 34 and min(v["rows"] for v in verdicts) > 20
