"Bad input, as a user meets it: one clear line, exit code 2, no traceback, nothing left behind."

import json
import shutil
import subprocess
import sys
import time

import pytest
from conftest import ROOT


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["simulate", "--bars", "-1", "--out", "{here}/m"], "bars"),
        (["simulate", "--bars", "x", "--out", "{here}/m"], "Invalid value for '--bars'"),
        (["simulate"], "Missing option '--out'"),
        (["simulate", "--out", "{here}/file/m", "--bars", "3000"], "Not a directory"),
        (["store", "ls", "{here}/nowhere"], "is missing, expected a folder"),
        (["store", "ls", "{here}/file"], "is a file, expected a folder"),
        (["store", "check", "{here}"], "holds neither manifest.json nor"),
        (["store", "check", "{here}/csv"], "holds neither manifest.json nor"),
        (["verify", "{here}/file"], "is not a PNG image"),
        (["verify", "{here}/none.png"], "is missing"),
        (["reproduce", "B77"], "a chapter is one of"),
        (["reproduce", "--profile", "slow"], "a profile is quick or full"),
        (["reproduce", "--profile", "full", "--data", "{here}/nowhere"], "is missing"),
        (["publish", "--data", "{here}/csv"], "holds neither manifest.json nor"),
        (["bench", "speed"], "a bench is one of"),
        (["train"], "Missing option '--model'"),
        (["train", "--model", "gru", "--epochs", "0"], "Invalid value for '--epochs'"),
        (["train", "--model", "atention"], "no model is called 'atention'; did you mean"),
        (["audit"], "Missing option '--data'"),
        (["audit", "--data", "{here}/nowhere"], "is missing, expected a folder"),
        (["audit", "--data", "{here}/csv"], "holds neither manifest.json nor"),
        (["page", "B01", "--profile", "../.."], "a profile is quick or full"),
        (["page", "B01", "--data", "{here}/nowhere"], "is missing, expected a folder"),
        (["pages", "--profile", "slow"], "a profile is quick or full"),
        (["verify", "{here}"], "is a folder"),
        (["scrape"], "Missing option '--symbol'"),
        (["scrape", "--symbol", "btc/usdt", "--out", "{here}/s"], "a symbol is capital letters"),
        (
            ["scrape", "--symbol", "B", "--kind", "nope", "--out", "{here}/s"],
            "no source of any nope",
        ),
        (
            ["scrape", "--symbol", "B", "--base-url", "x", "--out", "{here}/s"],
            "must begin with http",
        ),
        (
            ["scrape", "--symbol", "B", "--via", "ftp", "--out", "{here}/s"],
            "`via` is one of auto, api, archive; not 'ftp'",
        ),
        (
            "scrape --symbol B --kind funding --interval 8h --via archive".split(),
            "no archive has binance funding of 8h",
        ),
        (
            ["scrape", "--symbol", "B", "--exchange", "kraken", "--out", "{here}/s"],
            "no source of kraken kline",
        ),
        (
            ["scrape", "--symbol", "B", "--interval", "7m", "--out", "{here}/s"],
            "binance has kline of 1m, 3m",
        ),
        (
            ["scrape", "--symbol", "B", "--start", "2020-13-01", "--out", "{here}/s"],
            "2020-13-01",
        ),
        (["exchange", "{here}/nowhere"], "is missing, expected a folder"),
        (["exchange", "{here}/csv", "--port", "99999"], "Invalid value for '--port'"),
        (["exchange", "{here}/csv", "--latency", "-1"], "Invalid value for '--latency'"),
        (["nonsense"], "No such command 'nonsense'"),
        (["store"], "Missing command"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input(command, tmp_path, arguments, words):
    (tmp_path / "file").write_text("a file")
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv" / "binance_BTCUSDT_kline_15m.csv").write_text("open,close")
    before = sorted(tmp_path.rglob("*"))
    code, printed, said = command(*(a.format(here=tmp_path) for a in arguments))
    assert code == 2, (printed, said)
    assert words in said and said.startswith("lstm-market: ") and said.count("\n") == 1
    assert "Traceback" not in said and not printed
    assert sorted(tmp_path.rglob("*")) == before


def test_a_csv_that_calls_itself_parquet_is_found_out(command, tmp_path):
    (tmp_path / "binance_BTCUSDT_kline_15m.parquet").write_text("open,close\n1,2\n")
    code, printed, said = command("store", "check", tmp_path)
    assert code == 1 and "is not a Parquet file" in printed and not said


def test_a_traceback_can_be_had(command):
    code, _, said = command("bench", "speed", LSTM_MARKET_DEBUG="1")
    assert code == 1 and "Traceback" in said


def test_outside_a_checkout_there_is_no_book(command, tmp_path):
    code, _, said = command("reproduce", cwd=tmp_path)
    assert code == 2 and "is not inside a checkout of lstm_market" in said
    code, printed, _ = command("simulate", "--bars", 3000, "--out", "market", cwd=tmp_path)
    assert code == 0 and "wrote 4 series" in printed


def test_help_is_there_for_every_command(command):
    code, printed, _ = command("--help")
    assert code == 0
    commands = [
        line.split()[0] for line in printed.split("Commands:")[1].splitlines() if line.strip()
    ]
    assert {"simulate", "store", "reproduce", "publish", "verify"} <= set(commands)
    assert {"bench", "train"} <= set(commands)
    for name in commands:
        code, printed, _ = command(name, "--help")
        assert code == 0 and printed.startswith(f"Usage: lstm-market {name}")


def test_audit_counts_what_is_there(command, tmp_path):
    code, _, said = command("simulate", "--bars", 9000, "--out", tmp_path / "market")
    assert code == 0, said
    code, printed, said = command("audit", "--data", tmp_path / "market", "--json")
    assert code == 0 and not said
    counted = json.loads(printed)
    spot, windows = counted["data"]["spot"], counted["windows"]
    assert spot["rows"] + spot["missing_rows"] == spot["grid_rows"] == 9000
    told = counted["cleaning"]
    assert told["rows_in_segments"] + told["rows_outside_segments"] == 9000
    assert windows["valid_windows_with_label"] == sum(counted["task1"]["samples"].values())
    assert set(counted["task1"]["positives"]) == {"train", "val", "test"}
    code, table, _ = command("audit", "--data", tmp_path / "market")
    assert code == 0 and f"{windows['valid_windows']:,}" in table and "gap left open" in table


def test_audit_reads_a_plain_folder_as_a_store(command, tmp_path):
    assert command("simulate", "--bars", 3000, "--out", tmp_path / "market")[0] == 0
    (tmp_path / "plain").mkdir()
    for path in (tmp_path / "market").glob("*.parquet"):
        shutil.copy(path, tmp_path / "plain" / f"{path.name.split('.')[0]}.parquet")
    told = [
        command("audit", "--data", tmp_path / folder, "--json") for folder in ("market", "plain")
    ]
    assert told[0] == told[1] and told[0][0] == 0


def test_audit_names_what_it_cannot_clean(command, tmp_path):
    assert command("simulate", "--bars", 3000, "--out", tmp_path / "market")[0] == 0
    for arguments, words in (
        (["--until", "2017-08-17 09:00"], "expected at least 400, the longest look-back"),
        (["--symbol", "ETHUSDT"], "expected one series of ETHUSDT kline 15m, found simulated"),
        (["--interval", "1h"], "expected one series of BTCUSDT kline 1h"),
    ):
        code, printed, said = command("audit", "--data", tmp_path / "market", *arguments)
        assert code == 2 and words in said and said.count("\n") == 1 and not printed, said


SMALL = ("train", "--model", "gru", "--length", 24, "--bars", 3000)


def test_train_keeps_a_model_that_answers(tmp_path):
    from lstm_market.book.cli import main  # noqa: F401
    from lstm_market.book.console import run
    from lstm_market.data.synth import simulate
    from lstm_market.models.trained import TrainedModel

    order = (*SMALL, "--epochs", 4, "--json")
    folder, whole = tmp_path / "killed and resumed", tmp_path / "at once"
    line = [sys.executable, "-m", "lstm_market.book.cli", *map(str, order), "--out", str(folder)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(line, cwd=ROOT, **quiet) as killed:
        while killed.poll() is None and not (folder / "checkpoint.npz").exists():
            time.sleep(0.05)
        killed.kill()
    for place in (folder, whole):
        code, printed, _ = run(*order, "--out", place)
        told = json.loads(printed)
        assert code == 0 and told["epochs"] == 4 and told["test"].endswith("not looked at")
        assert [row["who"] for row in told["validation"]] == ["gru", "the share of yes"]
        assert {"model.json", "history.png"} <= {path.name for path in place.iterdir()}
    weights = [sorted(path.name for path in place.glob("weights-*")) for place in (folder, whole)]
    assert weights[0] == weights[1] and len(weights[0]) == 1
    answers = TrainedModel.load(folder).predict(simulate(40_000, 7).candles.tail(1_000))
    assert answers["probability"].notna().sum() > 400


def test_train_refuses_what_makes_no_sense(tmp_path):
    from lstm_market.book.cli import main  # noqa: F401
    from lstm_market.book.console import run
    from lstm_market.models.studies import RECIPES

    market, gru = tmp_path / "market", ("--model", "gru")
    assert run("simulate", "--bars", 3000, "--out", market)[0] == 0
    assert run(*SMALL, "--epochs", 1, "--out", tmp_path / "taught")[0] == 0
    before = sorted(tmp_path.rglob("*"))
    for arguments, words in (
        (("--model", "atention"), "no model is called 'atention'; did you mean attention"),
        ((*gru, "--target", "profit"), "a target is one of return, direction, close, published"),
        ((*gru, "--target", "published", "--horizon", 5), "has its own horizon of 8 bars"),
        ((*gru, "--target", "close"), "a close is asked of the tutorial alone"),
        (("--model", "small", "--target", "return"), "a return takes a sequence model"),
        (("--model", "small", "--assets", "A,B"), "looks at one instrument, not at 2"),
        (("--model", "panel"), "this model looks at several instruments, found 1"),
        ((*gru, "--assets", "DOGE"), "expected one series of DOGE kline 15m"),
        ((*gru, "--interval", "5m"), "expected one series of BTCUSDT kline 5m"),
        ((*gru, "--interval", "soon"), "an interval is a count and one of m, h, d"),
        ((*gru, "--bars", 500), "has 500 bars of 15m here; expected at least"),
        ((*gru, "--data", tmp_path / "nowhere"), "is missing, expected a folder"),
    ):
        data = () if "--data" in arguments else ("--data", market)
        code, printed, said = run("train", *arguments, *data, "--out", tmp_path / "new")
        assert code == 2 and words in said and said.count("\n") == 1 and not printed, said
    code, _, said = run(*SMALL, "--epochs", 2, "--out", tmp_path / "taught")
    assert code == 2 and "belongs to another run: config.epochs is 1 there and 2 here" in said
    assert sorted(tmp_path.rglob("*")) == before
    code, printed, _ = run("train", "--help")
    assert code == 0 and all(f"\n  {name}" in printed for name in RECIPES)
