"The scraper against a local exchange that breaks, throttles and lies on a schedule."

import asyncio
import os
import shutil
import signal
import time
from collections import Counter
from dataclasses import replace

import httpx
import numpy as np
import pytest

from lstm_market.data.exchange import make_exchange, serve
from lstm_market.data.exchanges import source_of
from lstm_market.data.faults import Faults
from lstm_market.data.fetch import fetch, fetch_async, wanted_spans
from lstm_market.data.scrape import Conversation, Limiter, Refused
from lstm_market.data.store import Series, Store
from lstm_market.data.synth import simulate

N_SCHEDULES = {"kline": 200, "open-interest": 60, "long-short-ratio": 60}
FAST = Faults(rate=0.35, slow=0.01, wait=0.0, ban=0.0)


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    "A simulated market with outages of 30 and 300 bars, in a store."
    store = Store(tmp_path_factory.mktemp("a market") / "store")
    made = simulate(4_000, seed=3, start="2021-01-04")
    for (kind, interval), rows in made.series.items():
        rows = rows.drop(rows.index[500:530]).drop(rows.index[900:1200])
        store.append(Series("simulated", "BTCUSDT", kind, interval), rows)
    return store


@pytest.fixture(scope="module")
def exchange(market):
    "The local exchange, without limits, and its address."
    app = make_exchange(market.folder, limits={})
    with serve(app) as url:
        yield app.state.exchange, url


def begin_again(exchange, faults):
    exchange.faults = faults
    exchange.askings.clear()
    exchange.gates.clear()
    exchange.log.clear()


async def fetched(folder, url, kind):
    "One fetch of everything, patient and quick."
    source = source_of(kind, "BTCUSDT", "15m")
    series = Series(source.name, "BTCUSDT", kind, "15m")
    async with httpx.AsyncClient(base_url=url, timeout=10) as client:
        talk = Conversation(client, Limiter(source.rate), first_wait=0.0005, firewall_wait=0.0)
        return await fetch_async(Store(folder), source, series, talk, n_at_once=8)


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
        for minutes in (0, 1, 14):
            served.now = truth.index[-40] + np.timedelta64(minutes, "m")
            done = asyncio.run(fetched(tmp_path / "store", url, "kline"))
            stored = Store(tmp_path / "store").read(done.series)
            assert stored.index[-1] == truth.index[-41]
            assert stored.equals(truth.loc[: truth.index[-41]])
    finally:
        served.now = before


def test_killed_and_started_again(market, exchange, tmp_path):
    "Killed 50 times at random moments: the same bytes, and no stretch in the journal asked again."
    served, url = exchange
    begin_again(served, replace(FAST, seed=1, slow=0.03))
    rng, store = np.random.default_rng(4), Store(tmp_path / "killed")
    n_killed = 0
    for _ in range(50):
        child = os.fork()
        if not child:
            try:
                asyncio.run(fetched(store.folder, url, "kline"))
            finally:
                os._exit(0)
        time.sleep(rng.uniform(0.005, 0.08))
        os.kill(child, signal.SIGKILL)
        n_killed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
    begin_again(served, Faults())
    done = asyncio.run(fetched(store.folder, url, "kline"))
    asyncio.run(fetched(tmp_path / "calm", url, "kline"))
    assert store.sha256(done.series) == Store(tmp_path / "calm").sha256(done.series)
    assert n_killed >= 10, "hardly a run was killed"


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
