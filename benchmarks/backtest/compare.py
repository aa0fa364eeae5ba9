"""Runs a crossing of moving averages through our engine and its peers by turns, and prints medians and claims.

  compare.py OURS NAUTILUS ROUNDS     OURS: backtest-bench; NAUTILUS: a Python that may have nautilus_trader

Peers: vectorbt (Portfolio.from_signals, compiled before it is timed), backtesting.py and nautilus_trader, with the same
bars and the same signal; fees of 10 basis points a side, and 2 of spread and slippage where the peer has them. Ours
has everything on: tick, lot, least notional, limits, ledger. The slow peers run over the first bars only. One thread
each. Ours is the median of seven runs in one process: the first few also pay for fresh pages of memory, at about half
the speed of the later ones. vectorbt has had one run before its first is timed. Ends with 1 when a claim is short.
"""
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = os.environ["NUMBA_NUM_THREADS"] = "1"

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from claims import Claims

BARS, POLICY_BARS, BACKTESTING_BARS, NAUTILUS_BARS = 1_000_000, 30_000, 200_000, 50_000
FEE, SLIPPAGE, CASH = 0.001, 0.0002, 1000.0


def ours(program, *arguments):
    command = [program, *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def vectorbt(rows):
    """Seconds and fills of a simulation; a signal of bar t is filled at the open of bar t + 1."""
    import vectorbt as vbt

    wanted = np.concatenate([[False], rows[:-1, 5] > 0])
    before = np.concatenate([[False], wanted[:-1]])
    arguments = dict(
        close=rows[:, 3], entries=wanted & ~before, exits=~wanted & before, price=rows[:, 0], fees=FEE,
        slippage=SLIPPAGE, init_cash=CASH, freq="1min")

    def run():
        begun = time.perf_counter()
        portfolio = vbt.Portfolio.from_signals(**arguments)
        count = len(portfolio.order_records)
        return time.perf_counter() - begun, count, portfolio

    return run


def backtesting(rows):
    import pandas
    from backtesting import Backtest, Strategy

    frame = pandas.DataFrame(
        rows[:, :5], columns=["Open", "High", "Low", "Close", "Volume"],
        index=pandas.date_range("2020-09-13", periods=len(rows), freq="min"))
    signal = rows[:, 5]

    class Crossing(Strategy):
        def init(self):
            self.row = 0

        def next(self):
            wanted = signal[len(self.data) - 1] > 0
            if wanted and not self.position:
                self.buy(size=0.995)
            elif not wanted and self.position:
                self.position.close()

    def run():
        # It buys whole units only: with a thousandfold of cash that is no limit.
        world = Backtest(frame, Crossing, cash=1000 * CASH, commission=FEE, spread=SLIPPAGE, finalize_trades=True)
        begun = time.perf_counter()
        found = world.run()
        return time.perf_counter() - begun, 2 * int(found["# Trades"]), found

    return run


def nautilus(python, path):
    script = str(Path(__file__).parent / "nautilus.py")
    found = subprocess.run([python, script, path, str(NAUTILUS_BARS)], check=True, capture_output=True, text=True)
    return json.loads(found.stdout.splitlines()[-1])


def row(name, rates, note):
    low, middle, high = min(rates), statistics.median(rates), max(rates)
    print(f"  {name:28} {middle:13,.0f}  ({low:,.0f} to {high:,.0f})  {note}")
    return middle


def version(name):
    from importlib.metadata import version as found
    return f"{name} {found(name)}"


def main():
    program, python, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
    has = {name: importlib.util.find_spec(name) is not None for name in ["vectorbt", "backtesting"]}
    has["nautilus_trader"] = subprocess.run(
        [python, "-c", "import nautilus_trader"], capture_output=True).returncode == 0
    for name, found in has.items():
        if not found:
            print(f"skipped: {name} is not installed")
    print(f"Python {sys.version.split()[0]}, " + ", ".join(version(n) for n in ["vectorbt", "backtesting"] if has[n]))
    rates = {"signal": [], "changes": [], "closure": [], "policy": []}
    peers = {name: [] for name, found in has.items() if found}
    notes = {}
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "bars")
        ours(program, "market", path, BARS)
        rows = np.fromfile(path).reshape(-1, 6)
        simulate = vectorbt(rows) if has["vectorbt"] else None
        step = backtesting(rows[:BACKTESTING_BARS]) if has["backtesting"] else None
        if simulate:
            simulate()
        for _ in range(rounds):
            found = ours(program, "signal", BARS, 7)
            for name in ["signal", "changes", "closure"]:
                rates[name].append(statistics.median(found[name]))
            rates["policy"].append(statistics.median(ours(program, "policy", POLICY_BARS, 1)["policy"]))
            if simulate:
                seconds, fills, portfolio = simulate()
                peers["vectorbt"].append(BARS / seconds)
                notes["vectorbt"] = f"{fills} fills, ends with {portfolio.final_value():,.0f}"
            if step:
                seconds, fills, _ = step()
                peers["backtesting"].append(BACKTESTING_BARS / seconds)
                notes["backtesting"] = f"{fills} fills in {BACKTESTING_BARS} bars"
            if has["nautilus_trader"]:
                other = nautilus(python, path)
                peers["nautilus_trader"].append(NAUTILUS_BARS / other["seconds"])
                notes["nautilus_trader"] = f"{other['fills']} fills in {NAUTILUS_BARS} bars"
    print(f"bars a second, {rounds} rounds:")
    middle = {}
    for name, result in zip(["signal", "changes", "closure"], found["results"]):
        note = f"{result['fills']} fills, ends with {result['equity']:,.0f}"
        middle[name] = row(f"ours, {name}", rates[name], note)
    middle["policy"] = row("ours, policy", rates["policy"], f"{POLICY_BARS} bars")
    for name, found in peers.items():
        middle[name] = row(name, found, notes[name])
    claims = Claims()
    mine = middle["signal"]
    claims.line("backtest.signal", mine, "bars/s", "15000000bars/s", mine >= 15_000_000)
    for name, least in [("vectorbt", 1), ("backtesting", 50), ("nautilus_trader", 400)]:
        if name in middle:
            peer = middle[name]
            claims.line(f"backtest.{name}", mine, "bars/s", f"{least}x", mine >= least * peer, peer, mine / peer)
    claims.line("backtest.closure", middle["closure"], "bars/s", "5000000bars/s", middle["closure"] >= 5_000_000)
    claims.line("backtest.policy", middle["policy"], "bars/s", "60000bars/s", middle["policy"] >= 60_000)
    sys.exit(1 if claims.failed else 0)


main()
