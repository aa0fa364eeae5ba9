"""The crossing through nautilus_trader's engine: prints seconds, fills and the account at the end as JSON.

  nautilus.py BARS COUNT     BARS: the file that `backtest-bench market` wrote
"""
import json
import sys
import time
from decimal import Decimal

import numpy as np
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig, StrategyConfig
from nautilus_trader.model.currencies import USDT
from nautilus_trader.model.data import Bar, BarType
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide
from nautilus_trader.model.identifiers import InstrumentId, Symbol, Venue
from nautilus_trader.model.instruments import CurrencyPair
from nautilus_trader.model.objects import Currency, Money, Price, Quantity
from nautilus_trader.trading.strategy import Strategy

VENUE = Venue("SIM")
COIN = Currency("XYZ", precision=3, iso4217=0, name="XYZ", currency_type=1)


class Crossing(Strategy):
    """Buys with all cash when the signal says so, sells all when it no longer does."""

    def __init__(self, instrument, bar_type, signal):
        super().__init__(StrategyConfig())
        self.instrument, self.bar_type, self.signal = instrument, bar_type, signal
        self.row, self.held, self.fills = 0, None, 0

    def on_start(self):
        self.subscribe_bars(self.bar_type)

    def on_bar(self, bar):
        wanted = self.signal[self.row] > 0
        self.row += 1
        if wanted and self.held is None:
            cash = self.portfolio.account(VENUE).balance_free(USDT).as_double()
            self.held = self.instrument.make_qty(0.995 * cash / bar.close.as_double())
            self.submit(OrderSide.BUY)
        elif not wanted and self.held is not None:
            self.submit(OrderSide.SELL)
            self.held = None

    def submit(self, side):
        self.submit_order(self.order_factory.market(self.instrument.id, side, self.held))

    def on_order_filled(self, event):
        self.fills += 1


def main():
    rows = np.fromfile(sys.argv[1]).reshape(-1, 6)[: int(sys.argv[2])]
    instrument = CurrencyPair(
        instrument_id=InstrumentId(Symbol("XYZUSDT"), VENUE), raw_symbol=Symbol("XYZUSDT"), base_currency=COIN,
        quote_currency=USDT, price_precision=2, size_precision=3, price_increment=Price.from_str("0.01"),
        size_increment=Quantity.from_str("0.001"), ts_event=0, ts_init=0, maker_fee=Decimal("0.001"),
        taker_fee=Decimal("0.001"), min_notional=Money(5, USDT))
    bar_type = BarType.from_str("XYZUSDT.SIM-1-MINUTE-LAST-EXTERNAL")
    start = 1_600_000_080_000_000_000
    bars = [
        Bar(bar_type, *(Price(round(x, 2), 2) for x in row[:4]), Quantity(row[4], 3), start + 60_000_000_000 * index,
            start + 60_000_000_000 * index)
        for index, row in enumerate(rows)]
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)))
    engine.add_venue(
        VENUE, OmsType.NETTING, AccountType.CASH, [Money(1000, USDT)], base_currency=None)
    engine.add_instrument(instrument)
    engine.add_data(bars)
    strategy = Crossing(instrument, bar_type, rows[:, 5])
    engine.add_strategy(strategy)
    begun = time.perf_counter()
    engine.run()
    seconds = time.perf_counter() - begun
    balance = engine.cache.account_for_venue(VENUE).balance_total(USDT).as_double()
    print(json.dumps({"seconds": seconds, "fills": strategy.fills, "cash": balance}))


main()
