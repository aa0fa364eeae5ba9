"""Runs the features and TA-Lib by turns, round after round, on the same bars, and prints medians, spreads and claims.

  compare.py OURS ROUNDS     OURS: feature-bench

TA-Lib's eleven functions take the million bars as arrays, each function by itself; ours take one bar at a time, all
eleven together, and every value is read. One thread each. Ends with 1 when a claim is short.
"""
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import talib

sys.path.insert(0, str(Path(__file__).parent.parent))
from claims import Claims

BARS = 1_000_000


def talib_functions(bars):
    high, low, close, volume = bars[1], bars[2], bars[3], bars[4]
    return {
        "RSI": lambda: talib.RSI(close, 14),
        "MACD": lambda: talib.MACD(close, 12, 26, 9),
        "EMA": lambda: talib.EMA(close, 20),
        "SMA": lambda: talib.SMA(close, 50),
        "BBANDS": lambda: talib.BBANDS(close, 20, 2, 2),
        "ATR": lambda: talib.ATR(high, low, close, 14),
        "ADX": lambda: talib.ADX(high, low, close, 14),
        "STOCH": lambda: talib.STOCH(high, low, close, 14, 3, 0, 3, 0),
        "OBV": lambda: talib.OBV(close, volume),
        "CCI": lambda: talib.CCI(high, low, close, 20),
        "MFI": lambda: talib.MFI(high, low, close, volume, 14),
    }


def nanoseconds(body):
    start = time.perf_counter()
    body()
    return (time.perf_counter() - start) * 1e9 / BARS


def run(program, *arguments):
    command = [program, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main():
    program, rounds = sys.argv[1], int(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bars"
        run(program, "bars", BARS, path)
        bars = np.fromfile(path).reshape(5, BARS)
    functions = talib_functions(bars)
    ours, peer = {}, {}
    for _ in range(rounds):
        for name, body in functions.items():
            peer.setdefault(name, []).append(nanoseconds(body))
        peer.setdefault("total", []).append(sum(peer[name][-1] for name in functions))
        for name, value in json.loads(run(program, "time", BARS)).items():
            ours.setdefault(name, []).append(value)
    print(f"TA-Lib {talib.__ta_version__.decode().split()[0]} (package {talib.__version__}), NumPy {np.__version__}")
    print(f"{BARS} bars, {rounds} rounds: median (least to most), nanoseconds a bar")
    for name, times in peer.items():
        print(f"  TA-Lib {name:8} {statistics.median(times):9.2f}  ({min(times):.2f} to {max(times):.2f})")
    labels = {
        "classic": "the eleven, streaming", "batch": f"{int(ours['named'][0])} named columns, batch",
        "stream": f"{int(ours['named'][0])} named columns, streaming",
        "all": f"all {int(ours['columns'][0])} columns, streaming",
    }
    for name, label in labels.items():
        times = ours[name]
        print(f"  {label:34} {statistics.median(times):9.2f}  ({min(times):.2f} to {max(times):.2f})")

    claims = Claims()
    eleven, total = statistics.median(ours["classic"]), statistics.median(peer["total"])
    claims.line("features.eleven", eleven, "ns", "35ns", eleven <= 35, total, total / eleven)
    rate = 1e9 / statistics.median(ours["batch"])
    claims.line("features.batch", rate, "bars/s", "1000000bars/s", rate >= 1e6)
    for name in ["stream", "all"]:
        microseconds = statistics.median(ours[name]) / 1000
        claims.line(f"features.{name}", microseconds, "us", "2us", microseconds <= 2)
    few, many = (int(run(program, "memory", count)) for count in (100_000, BARS))
    print(f"resident after 100,000 and {BARS:,} bars: {few} and {many} kB")
    claims.line("features.memory", (many - few) / 1024, "MB", "1MB", many - few <= 1024)
    sys.exit(1 if claims.failed else 0)


main()
