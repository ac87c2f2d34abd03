"The backtest against another engine, and its costs against the plain formula."

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from lstm_market.data.bars import Interval
from lstm_market.judge.backtest import Costs, backtest
from lstm_market.samples.labels import Rule, levels

STEP = Interval("15m")


def walk(seed, n_bars=1_500):
    "A market without gaps that opens where it has closed, so that time is up at one price."
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.003, n_bars)))
    opens = np.r_[100, close[:-1]]
    reach = np.abs(rng.normal(0, 0.002, (2, n_bars)))
    high = np.maximum(opens, close) * (1 + reach[0])
    low = np.minimum(opens, close) * (1 - reach[1])
    index = pd.date_range("2024", periods=n_bars, freq="15min", tz="UTC")
    columns = {"open": opens, "high": high, "low": low, "close": close, "volume": 1.0}
    return pd.DataFrame(columns, index).assign(missing_at_scrape=False)


def elsewhere(bars, rows, rule):
    "The trades of backtesting.py on the same orders."
    from backtesting import Backtest, Strategy

    stands, wanted = levels(bars, STEP, rule), set(rows.tolist())

    class Orders(Strategy):
        def init(self):
            pass

        def next(self):
            row = len(self.data) - 1
            for trade in self.trades:
                if row >= trade.entry_bar - 1 + rule.horizon:
                    trade.close()
            leaving = [t for t in self.trades if row >= t.entry_bar - 1 + rule.horizon]
            free = len(self.trades) == len(leaving)
            if row in wanted and free:
                at = stands.iloc[row]
                self.buy(size=1, sl=at["stop_at"], tp=at["target_at"])

    named = bars.rename(columns=str.capitalize).tz_localize(None)
    engine = Backtest(named, Orders, cash=1e7, finalize_trades=False)
    return engine.run()["_trades"].sort_values("EntryBar").reset_index(drop=True)


@pytest.mark.parametrize("seed", range(4))
def test_another_engine_makes_the_same_trades(seed):
    bars, rule = walk(seed), Rule()
    rng = np.random.default_rng([seed, 1])
    rows = np.flatnonzero(rng.random(len(bars)) < 0.2)
    rows = rows[(rows > 40) & (rows < len(bars) - 20)]
    ours, theirs = backtest(bars, STEP, rows, rule), elsewhere(bars, rows, rule)
    assert len(ours) > 60 and set(ours["reason"]) == {"target", "stop", "time"}
    n_same = min(len(ours), len(theirs))
    assert abs(len(ours) - len(theirs)) <= 1, "the last one may still be open there"
    assert_array_equal(ours["row"][:n_same] + 1, theirs["EntryBar"][:n_same])
    assert_allclose(ours["entry"][:n_same], theirs["EntryPrice"][:n_same], rtol=1e-12)
    assert_allclose(ours["exit"][:n_same], theirs["ExitPrice"][:n_same], rtol=1e-12)
    held = ours["reason"][:n_same] != "time"
    assert_array_equal(ours["exit_row"][:n_same][held], theirs["ExitBar"][:n_same][held])


def test_costs_and_funding_are_taken_once():
    bars, rule = walk(9), Rule()
    rows = np.arange(50, 1_400, 30)
    paid = pd.Series(1e-4, bars.index[::32])
    free, dear = (backtest(bars, STEP, rows, rule, c) for c in (Costs(), Costs(3, 2, paid)))
    spans = zip(dear["entered_at"], dear["exited_at"], strict=True)
    settled = [((paid.index > begin) & (paid.index <= end)).sum() for begin, end in spans]
    kept = (1 + free["gross"]) * (1 - 5e-4) / (1 + 5e-4) - 1
    assert_allclose(dear["net"], kept - 1e-4 * np.array(settled), atol=1e-15)
