"The scraper against a local exchange that breaks, throttles and lies on a schedule."

import asyncio
import os
import resource
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest

from lstm_market.book.cli import main
from lstm_market.data.exchange import make_exchange, serve
from lstm_market.data.exchanges import source_of
from lstm_market.data.faults import Faults
from lstm_market.data.fetch import client_of, fetch, fetch_async, limiter_of
from lstm_market.data.plan import journal, journal_folder, wanted_spans
from lstm_market.data.scrape import (
    Conversation,
    Limiter,
    Rate,
    Refused,
    Request,
    Span,
    believed,
    ms,
)
from lstm_market.data.store import Series, Store
from lstm_market.data.synth import simulate

N_SCHEDULES = {"kline": 200, "open-interest": 60, "long-short-ratio": 60}
OPEN_INTEREST = Series("bybit", "BTCUSDT", "open-interest", "15m")
FAST = Faults(rate=0.35, slow=0.01, wait=0.0, ban=0.0)


def simulated(folder, n_bars, start):
    "A simulated market with outages of 30 and 300 bars, in a store."
    store = Store(folder / "store")
    for (kind, interval), rows in simulate(n_bars, seed=3, start=start).series.items():
        rows = rows.drop(rows.index[500:530]).drop(rows.index[900:1200])
        store.append(Series("simulated", "BTCUSDT", kind, interval), rows)
    return store


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    "Six weeks."
    return simulated(tmp_path_factory.mktemp("a market"), 4_000, "2021-01-04")


@pytest.fixture(scope="module")
def exchange(market):
    "The local exchange, without limits, and its address."
    app = make_exchange(market.folder, limits={})
    with serve(app) as url:
        yield app.state.exchange, url


@pytest.fixture(scope="module")
def months(tmp_path_factory):
    "Ten weeks with two whole months, served: the store, the exchange, its address."
    store = simulated(tmp_path_factory.mktemp("two months"), 7_000, "2021-01-25")
    app = make_exchange(store.folder, limits={})
    with serve(app) as url:
        yield store, app.state.exchange, url


def begin_again(exchange, faults):
    exchange.faults = faults
    exchange.askings.clear()
    exchange.gates.clear()
    exchange.log.clear()


async def fetched(folder, url, kind, n_at_once=8, via="api"):
    "One fetch of everything, patient and quick."
    source = source_of(kind, "BTCUSDT", "15m")
    series = Series(source.name, "BTCUSDT", kind, "15m")
    async with httpx.AsyncClient(base_url=url, timeout=10) as client:
        talk, shelf = (
            Conversation(client, Limiter(rate), first_wait=0.0005, firewall_wait=0.0)
            for rate in (source.rate, Rate(1000, 1))
        )
        how = {"n_at_once": n_at_once, "via": via, "shelf": shelf}
        return await fetch_async(Store(folder), source, series, talk, **how)


@pytest.mark.parametrize("kind", N_SCHEDULES)
def test_any_schedule_stores_the_same_bytes(market, exchange, tmp_path, kind):
    served, url = exchange
    truth = market.read(Series("simulated", "BTCUSDT", kind, "15m"))
    begin_again(served, Faults())
    calm = asyncio.run(fetched(tmp_path / "calm", url, kind))
    undisturbed = Store(tmp_path / "calm").sha256(calm.series)
    stored = Store(tmp_path / "calm").read(calm.series)
    assert stored.equals(truth), "what is stored is what the exchange said"
    met = Counter()
    for seed in range(N_SCHEDULES[kind]):
        begin_again(served, replace(FAST, seed=seed))
        done = asyncio.run(fetched(tmp_path / "bad day", url, kind))
        assert Store(tmp_path / "bad day").sha256(done.series) == undisturbed, f"seed {seed}"
        assert done.n_requests <= 8 * calm.n_requests, f"seed {seed}: {done.n_requests} requests"
        met.update(entry.fault for entry in served.log if entry.fault)
        shutil.rmtree(tmp_path / "bad day")
    lies = {"empty", "repeated", "overlapping", "restated", "drop", "truncated", "not-json", "html"}
    assert lies <= set(met), met


def test_a_long_outage_costs_its_own_requests_and_no_more(market, exchange, tmp_path):
    served, url = exchange
    begin_again(served, Faults())
    done = asyncio.run(fetched(tmp_path / "store", url, "kline"))
    source = source_of("kline", "BTCUSDT", "15m")
    truth = market.read(Series("simulated", "BTCUSDT", "kline", "15m"))
    n_spans = len(wanted_spans(source, truth.index[0], truth.index[-1]))
    assert done.n_spans == n_spans and done.n_requests == 2 * n_spans + 3


def test_a_forming_candle_is_never_stored(market, exchange, tmp_path):
    served, url = exchange
    begin_again(served, Faults())
    before, truth = served.now, market.read(Series("simulated", "BTCUSDT", "kline", "15m"))
    try:
        for seconds, last in ((0, -42), (60, -41), (14 * 60, -41)):
            served.now = truth.index[-40] + np.timedelta64(seconds, "s")
            done = asyncio.run(fetched(tmp_path / "store", url, "kline"))
            stored = Store(tmp_path / "store").read(done.series)
            assert stored.equals(truth.loc[: truth.index[last]])
    finally:
        served.now = before


def test_a_clock_that_is_ahead_closes_no_candle(market, exchange, tmp_path, monkeypatch):
    "Not even one in which nobody trades, so that it is told twice alike."
    served, url = exchange
    monkeypatch.setattr("lstm_market.data.faults.forming", lambda candle, asking: candle * 0 + 1)
    before, truth = served.now, market.read(Series("simulated", "BTCUSDT", "kline", "15m"))
    try:
        served.now = truth.index[-40] - np.timedelta64(2, "s")
        for seed in range(8):
            begin_again(served, Faults(seed=seed, rate=1.0, kinds=("skew",)))
            done = asyncio.run(fetched(tmp_path / str(seed), url, "kline"))
            assert Store(tmp_path / str(seed)).read(done.series).index[-1] <= truth.index[-41]
    finally:
        served.now = before


def test_rows_a_moment_late_are_not_lost(tmp_path):
    "Funding is charged milliseconds behind its hour, also where two runs or a repair meet."
    series = Series("binance", "BTCUSDT", "funding", "8h")
    times = pd.date_range("2021-01-01 00:00:00.003", periods=300, freq="8h", tz="UTC")
    rates = pd.DataFrame({"funding_rate": 1e-4}, index=times.as_unit("ns").rename("open_at"))
    Store(tmp_path / "served").append(series, rates)
    store, source = Store(tmp_path / "store"), source_of("funding", "BTCUSDT", "8h")
    store.append(series, rates.iloc[60:90].drop(times[70:73]))
    with serve(make_exchange(tmp_path / "served", limits={})) as url:
        fetch(store, source, url)
        assert store.read(series).equals(rates.drop(times[70:73])[:-2])
        fetch(store, source, url, repair=True)
        assert store.read(series).equals(rates[:-2])
        assert fetch(store, source, url).n_rows == 0


def test_a_cursor_that_leads_nowhere_is_not_the_end(tmp_path):
    def tell(request):
        first, last = (int(request.url.params[k]) for k in ("startTime", "endTime"))
        stamps = range(last - last % 900_000, first - 1, -900_000)
        rows = [{"openInterest": "1", "timestamp": str(stamp)} for stamp in stamps[:50]]
        result = {"list": rows, "nextPageCursor": "again"}
        return httpx.Response(200, json={"retCode": 0, "result": result})

    async def get():
        source, transport = source_of("open-interest", "BTCUSDT", "15m"), httpx.MockTransport(tell)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            talk = Conversation(client, Limiter(Rate(1000, 1)))
            times = pd.date_range("2021-01-04", periods=200, freq="15min", tz="UTC")
            return await believed(talk, source, Span(times[0], times[-1]))

    with pytest.raises(Refused, match="the cursor leads no further back than 2021-01-05 13:30"):
        asyncio.run(get())


def test_a_folder_of_plain_files_is_refused_before_a_page_is_asked_for(market, exchange, tmp_path):
    served, url = exchange
    begin_again(served, Faults())
    series = Series("binance", "BTCUSDT", "kline", "15m")
    truth = market.read(Series("simulated", "BTCUSDT", "kline", "15m"))
    truth[:5].reset_index().to_parquet(tmp_path / f"{series}.parquet")
    with pytest.raises(ValueError, match="a store begins elsewhere"):
        fetch(Store(tmp_path), source_of("kline", "BTCUSDT", "15m"), url, via="api")
    assert not stretches(served.log, "/api/v3/klines") and len(list(tmp_path.iterdir())) == 1


def test_all_that_ask_one_host_share_its_limit(market, tmp_path, monkeypatch, capsys):
    "Two series in one command; and a ban is told to the one who waits, once."
    rate, app = Rate(1000, 60), make_exchange(market.folder, limits={})
    monkeypatch.setattr("lstm_market.data.exchanges.BybitOpenInterest.rate", rate)
    kinds = ("--kind", "open-interest", "--kind", "long-short-ratio")
    with serve(app) as url:
        command = ["scrape", "--symbol", "BTCUSDT", *kinds, "--base-url", url]
        with pytest.raises(SystemExit) as stop:
            main([*command, "--out", str(tmp_path / "s")])
        assert stop.value.code == 0
        assert limiter_of(url, rate).used() == len(app.state.log) > 50, "of both series"
        faults = Faults(seed=1, rate=1.0, kinds=("429",), wait=1.0)
        app.state.exchange.faults = faults
        capsys.readouterr()
        with pytest.raises(SystemExit):
            main(
                ["scrape", "--symbol", "BTCUSDT", "--kind", "kline", "--dry-run"]
                + ["--base-url", url, "--out", str(tmp_path / "s")]
            )
    assert "binance: 429 from /api/v3/klines: waiting 1 s" in capsys.readouterr().err


def test_a_cell_can_be_interrupted(market, tmp_path):
    "In a notebook, where a loop is running, the work stops with the one who waits for it."
    app = make_exchange(market.folder, latency=0.3, limits={})

    async def cell():
        fetch(Store(tmp_path / "s"), source_of("open-interest", "BTCUSDT", "15m"), url, n_at_once=1)

    heeded = signal.signal(signal.SIGINT, signal.default_int_handler)
    with serve(app) as url:
        timer = threading.Timer(0.8, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        loop = asyncio.new_event_loop()
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(cell())
        loop.close()
        signal.signal(signal.SIGINT, heeded)
        n_asked = len(app.state.log)
        time.sleep(0.5)
    assert len(app.state.log) == n_asked < 8 and not Store(tmp_path / "s").series()


def killed(rng, longest, run, log=(), n_requests=0):
    "Start `run` in a process of its own and kill it at a random moment; whether that hit it."
    until, patience = len(log) + n_requests, time.monotonic() + 10
    child = os.fork()
    if not child:
        try:
            run()
        finally:
            os._exit(0)
    while len(log) < until and time.monotonic() < patience:
        time.sleep(0.0005)
    time.sleep(rng.uniform(0.0, longest))
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_killed_and_started_again(market, exchange, tmp_path):
    "Killed at 50 random moments on a bad day: the same bytes."
    served, url = exchange
    begin_again(served, replace(FAST, seed=1, slow=0.03))
    rng, store = np.random.default_rng(4), Store(tmp_path / "killed")
    hits = [
        killed(rng, 0.08, lambda: asyncio.run(fetched(store.folder, url, "kline")))
        for _ in range(50)
    ]
    begin_again(served, Faults())
    done = asyncio.run(fetched(store.folder, url, "kline"))
    asyncio.run(fetched(tmp_path / "calm", url, "kline"))
    assert store.sha256(done.series) == Store(tmp_path / "calm").sha256(done.series)
    assert sum(hits) >= 10, "hardly a run was killed"


def stretches(log, path):
    "How often each stretch was asked for."
    asked = (entry.params for entry in log if entry.path == path)
    return Counter((p["startTime"], p["endTime"]) for p in asked if "endTime" in p)


def test_nothing_that_is_stored_is_asked_again(tmp_path):
    "Killed 50 times while it works: each kill costs at most the one stretch that was under way."
    times = pd.date_range("2021-01-04", periods=40_000, freq="15min", tz="UTC", name="open_at")
    rows = pd.DataFrame({"open_interest": np.arange(40_000.0)}, index=times.as_unit("ns"))
    Store(tmp_path / "served").append(Series("bybit", "BTCUSDT", "open-interest", "15m"), rows)
    app = make_exchange(tmp_path / "served", latency=0.002, limits={})
    path, folder = "/v5/market/open-interest", tmp_path / "killed"
    rng, log, n_killed = np.random.default_rng(5), app.state.log, 0
    with serve(app) as url:
        for _ in range(50):
            held = {
                (str(ms(span.first)), str(ms(span.last)))
                for span in journal(journal_folder(Store(folder), OPEN_INTEREST))
            }
            before = len(log)
            run = partial(fetched, folder, url, "open-interest", 1)
            n_asked = 3 + int(rng.integers(8))
            n_killed += killed(rng, 0.006, lambda run=run: asyncio.run(run()), log, n_asked)
            again = set(stretches(log[before:], path)) & held
            assert not again, f"in the journal, and asked for again: {again}"
        done = asyncio.run(fetched(folder, url, "open-interest", 1))
        asked = stretches(log, path)
    assert n_killed == 50 and len(held) > 10 and done.n_spans > 0, "killed while at work"
    assert len(asked) >= 200 and min(asked.values()) == 2
    assert sum(asked.values()) <= 2 * len(asked) + 2 * n_killed, "two tellings of a page a kill"
    assert Store(folder).read(OPEN_INTEREST).equals(rows[:-1]), "all that has closed"


@pytest.mark.parametrize("kind", ["kline", "perp-kline"])
def test_any_way_stores_the_same_bytes(months, tmp_path, kind):
    "Through the archive and through the API, on calm days and on bad ones, and after a kill."
    _, served, url = months
    source = source_of(kind, "BTCUSDT", "15m")
    begin_again(served, Faults())
    calm = fetch(Store(tmp_path / "api"), source, url, via="api")
    undisturbed = Store(tmp_path / "api").sha256(calm.series)
    assert calm.n_archived == 0 and not any("/data/" in entry.path for entry in served.log)
    for seed in range(12):
        begin_again(served, replace(FAST, seed=seed))
        done = asyncio.run(fetched(tmp_path / "auto", url, kind, via="auto"))
        assert Store(tmp_path / "auto").sha256(done.series) == undisturbed, f"seed {seed}"
        assert done.disagreements.empty and done.n_requests <= 8 * calm.n_requests
        shutil.rmtree(tmp_path / "auto")
    begin_again(served, Faults())
    done = fetch(Store(tmp_path / "auto"), source, url)
    assert done.n_archived > 1000 and Store(tmp_path / "auto").sha256(done.series) == undisturbed
    begin_again(served, Faults(slow=0.02, rate=0.3, kinds=("slow",)))
    rng = np.random.default_rng(6)
    run = partial(fetched, tmp_path / "killed", url, kind, via="auto")
    assert sum(killed(rng, 0.12, lambda: asyncio.run(run())) for _ in range(15)) >= 3
    asyncio.run(run())
    assert Store(tmp_path / "killed").sha256(done.series) == undisturbed


def test_files_alone(months, tmp_path):
    "The finished days, and no page of the API."
    market, served, url = months
    begin_again(served, Faults())
    done = fetch(Store(tmp_path / "s"), source_of("kline", "BTCUSDT", "15m"), url, via="archive")
    truth = market.read(Series("simulated", "BTCUSDT", "kline", "15m"))
    today = served.now.floor("D")
    assert done.n_rows == done.n_archived > 3000
    assert Store(tmp_path / "s").read(done.series).equals(truth[truth.index < today])
    assert not stretches(served.log, "/api/v3/klines")
    for seed in range(4):
        begin_again(served, replace(FAST, seed=seed))
        bad = asyncio.run(fetched(tmp_path / str(seed), url, "kline", via="archive"))
        assert Store(tmp_path / str(seed)).sha256(done.series) == Store(tmp_path / "s").sha256(
            done.series
        ), f"seed {seed}"
        assert not bad.left_out, "without a checksum a file is believed when it came twice alike"
    begin_again(served, Faults())
    rest = fetch(Store(tmp_path / "s"), source_of("kline", "BTCUSDT", "15m"), url)
    assert Store(tmp_path / "s").read(rest.series).equals(truth)


def test_one_download_gives_both_counts(months, tmp_path, monkeypatch):
    market, served, url = months
    begin_again(served, Faults())
    interest, ratio = (
        source_of(kind, "BTCUSDT", "5m", "binance") for kind in list(N_SCHEDULES)[1:]
    )
    second = Series("binance", "BTCUSDT", "long-short-ratio", "5m")
    store = Store(tmp_path / "s")
    monkeypatch.setattr("lstm_market.data.fetch.ARCHIVE_RATE", Rate(1000, 1))
    first = fetch(store, interest, url, also=(second,))
    done = fetch(store, ratio, url)
    sent = Counter(e.path for e in served.log if e.path.endswith("zip") and e.status == 200)
    assert len(sent) > 40 and set(sent.values()) == {1}
    truth = market.read(Series("simulated", "BTCUSDT", "open-interest", "15m"))
    assert store.read(first.series).equals(truth[truth.index < served.now.floor("D")])
    told = market.read(Series("simulated", "BTCUSDT", "long-short-ratio", "15m"))
    stored = store.read(done.series)
    assert np.abs(stored - told.loc[stored.index]).max(axis=None) < 1e-12
    assert len(stored) == (told.index < served.now.floor("D")).sum()
    again = fetch(store, interest, url)
    assert again.n_rows == 0


def test_limits_are_kept(market, tmp_path):
    "With the real limits and 20 ms an answer, nobody is ever sent away."
    app = make_exchange(market.folder, latency=0.02)
    with serve(app) as url:
        done = fetch(Store(tmp_path / "s"), source_of("kline", "BTCUSDT", "15m"), url)
    assert done.n_rows > 3000 and not done.events
    assert {entry.status for entry in app.state.log} == {200}


@pytest.mark.parametrize(
    "kind, symbol, words",
    [("kline", "NOSUCH", "Invalid symbol"), ("open-interest", "NOSUCH", "NOSUCH|symbol")],
)
def test_what_the_exchange_refuses(exchange, tmp_path, kind, symbol, words):
    served, url = exchange
    begin_again(served, Faults())
    with pytest.raises(Refused, match=words):
        fetch(Store(tmp_path / "s"), source_of(kind, symbol, "15m"), url)
    assert not (tmp_path / "s").exists()


def in_a_child(arguments, prepare, said):
    "The exit code of a command in a process that `prepare` has limited; its words go to a file."
    child = os.fork()
    if not child:
        code = 99
        try:
            prepare()
            sys.stderr = said.open("w")
            main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def command_for(url, out):
    kind = ("--kind", "kline", "--via", "api")
    return ("scrape", "--symbol", "BTCUSDT", *kind, "--base-url", url, "--out", out)


def no_larger_files(n_bytes):
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))


@pytest.mark.parametrize("n_bytes", [2_000, 120_000], ids=["at the first page", "at the last step"])
def test_no_room_for_a_file(market, exchange, tmp_path, n_bytes):
    "A write that fails: one line, exit code 2, and what had arrived is not asked for again."
    served, url = exchange
    begin_again(served, Faults())
    said, out = tmp_path / "said", tmp_path / "store"
    code = in_a_child(command_for(url, out), partial(no_larger_files, n_bytes), said)
    assert code == 2 and said.read_text().count("\n") == 1, said.read_text()
    assert said.read_text().startswith("lstm-market: ") and "large" in said.read_text()
    goes_on_from(market, served, url, out, n_bytes > 100_000)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
@pytest.mark.parametrize("size", ["100k", "350k"])
def test_a_full_disk(market, exchange, tmp_path, size):
    served, url = exchange
    begin_again(served, Faults())
    disk, said = tmp_path / "disk", tmp_path / "said"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", disk]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        code = in_a_child(command_for(url, disk / "store"), lambda: None, said)
        assert code == 2 and "No space left on device" in said.read_text()
        assert said.read_text().count("\n") == 1
        subprocess.run(["mount", "-o", "remount,size=9m", disk], check=True)
        goes_on_from(market, served, url, disk / "store", True)
    finally:
        subprocess.run(["umount", disk], check=True)


def goes_on_from(market, served, url, folder, something):
    "A later run asks for what the journal lacks and nothing else, and stores the whole."
    series = Series("binance", "BTCUSDT", "kline", "15m")
    held = journal(journal_folder(Store(folder), series))
    assert bool(held) == something and not list(folder.rglob("*.partial"))
    served.log.clear()
    fetch(Store(folder), source_of("kline", "BTCUSDT", "15m"), url, via="api")
    assert not set(stretches(served.log, "/api/v3/klines")) & {
        (str(ms(span.first)), str(ms(span.last))) for span in held
    }
    truth = market.read(Series("simulated", "BTCUSDT", "kline", "15m"))
    assert Store(folder).read(series).equals(truth)


def test_a_folder_that_cannot_be_written(exchange):
    "Found out before the first page is asked for."
    served, url = exchange
    begin_again(served, Faults())
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home) / "read only"
        folder.mkdir()
        os.chmod(home, 0o777)
        os.chmod(folder, 0o555)
        nobody = partial(os.setuid, 65534) if os.geteuid() == 0 else lambda: None
        said = Path(home) / "said"
        code = in_a_child(command_for(url, folder), nobody, said)
        assert code == 2 and "Permission denied" in said.read_text(), said.read_text()
        assert said.read_text().count("\n") == 1 and not list(folder.iterdir())
    assert not stretches(served.log, "/api/v3/klines")


async def answers(scope, receive, send):
    "A host that is not what it should be: by path, sent elsewhere, endless, or endlessly slow."
    asked.append((scope["path"], dict(scope["headers"])))
    head = {"type": "http.response.start", "status": 200, "headers": []}
    if scope["path"] == "/elsewhere":
        head |= {"status": 302, "headers": [(b"location", b"/large")]}
    await send(head)
    if scope["path"] == "/elsewhere":
        return await send({"type": "http.response.body", "body": b""})
    part = {"/large": b"0" * (1 << 20), "/slow": b"0"}[scope["path"]]
    with suppress(OSError):
        while (await asyncio.sleep(0.02 * (len(part) == 1))) is None:
            await send({"type": "http.response.body", "body": part, "more_body": True})


asked = []


@pytest.mark.parametrize(
    "path, words",
    [
        ("/elsewhere", "status 302"),
        ("/large", "an answer of more than 4,000,000 bytes"),
        ("/slow", "the answer was not whole after 0.3 s"),
    ],
)
def test_a_host_that_is_not_what_it_should_be(monkeypatch, path, words):
    "A redirect is not followed, and neither size nor time of an answer is without bound."
    monkeypatch.setattr("lstm_market.data.scrape.LONGEST", 0.3 if path == "/slow" else 60.0)
    monkeypatch.setattr("lstm_market.data.scrape.MOST_BYTES", 4_000_000)
    asked.clear()

    async def get(url):
        async with client_of(url) as client:
            talk = Conversation(client, Limiter(Rate(100, 1)), tries=2, first_wait=0.001)
            return await talk.get(Request(path))

    with serve(answers) as url, pytest.raises(Refused, match=words):
        asyncio.run(get(url))
    assert {where for where, _ in asked} == {path}
    assert asked[0][1][b"user-agent"].startswith(b"lstm_market")


def test_a_certificate_nobody_signed_is_not_believed(tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    made += ["-keyout", key, "-out", certificate, "-subj", "/CN=localhost"]
    if not shutil.which("openssl"):
        pytest.skip("no openssl to make a certificate with")
    subprocess.run(made, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def visit():
        async def greet(reader, writer):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]")
            writer.close()

        server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        async with server, client_of(f"https://127.0.0.1:{port}") as client:
            talk = Conversation(client, Limiter(Rate(100, 1)), tries=2, first_wait=0.001)
            return await talk.get(Request("/"))

    with pytest.raises(Refused, match="CERTIFICATE_VERIFY_FAILED"):
        asyncio.run(visit())
