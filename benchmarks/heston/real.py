"""Calibrates recorded option chains, ours and QuantLib's by turns, and prints a claim a snapshot.

  real.py OURS SNAPSHOTS [STARTS]     OURS: heston-bench; SNAPSHOTS of each file, 0 for all; STARTS of QuantLib (20)

Both fit the same quotes: all that `vomma surface fit` keeps. The peer is QuantLib's LevenbergMarquardt from 20 starts
(random, the same for all snapshots) on prices over vega, the best of them polished on implied volatilities; it has no
bounds but the model's own. The starts descend with 24 nodes of Gauss and Laguerre and to tolerances of 1e-5, which
finds the minima that 96 nodes and 1e-8 find in six times as long; the polish has those. Both answers' errors are
measured by our pricer: the root mean square of implied volatility. The peer works on as many snapshots at once as there
are cores: nothing here is a claim of speed.
Needs ../shared/data beside the checkout. Ends with 1 when a claim is short.
"""
import json
import math
import multiprocessing
import random
import subprocess
import sys
import time
from pathlib import Path

import QuantLib as ql

sys.path.insert(0, str(Path(__file__).parent.parent))
from claims import Claims

DATA = Path(__file__).resolve().parents[2] / "../shared/data/deribit"
FILES = ["options_BTC_snapshots.csv.gz", "options_ETH_daily_snapshots.csv.gz"]
# QuantLib counts days: time is stretched so that a unit of it is 22 minutes (heston-bench rounds maturities to that);
# variances shrink.
STRETCH = 64
TODAY = ql.Date(1, 1, 1990)
FLAT = ql.YieldTermStructureHandle(ql.FlatForward(TODAY, 0.0, ql.Actual365Fixed()))
BOUND = 1.001


def vega(k, tau, volatility):
    """Of an option on a forward of 100."""
    total = volatility * math.sqrt(tau)
    d1 = -k / total + total / 2
    return 100 * math.exp(-d1 * d1 / 2) / math.sqrt(2 * math.pi) * math.sqrt(tau)


def starts(count):
    generator = random.Random(1)

    def log_uniform(low, high):
        return math.exp(generator.uniform(math.log(low), math.log(high)))

    return [(log_uniform(0.5, 8), log_uniform(0.1, 1), log_uniform(0.3, 5), generator.uniform(-0.7, 0.5),
             log_uniform(0.1, 1)) for _ in range(count)]


class Peer:
    """QuantLib on one snapshot's quotes."""

    def __init__(self, quotes):
        self.quotes = quotes
        self.weights = [1 / vega(k, tau, volatility) ** 2 for k, tau, volatility in quotes]

    def descend(self, start, error_type, weights, nodes, tolerance):
        kappa, theta, sigma, rho, v0 = start
        process = ql.HestonProcess(
            FLAT, FLAT, ql.QuoteHandle(ql.SimpleQuote(100.0)), v0 / STRETCH, kappa / STRETCH, theta / STRETCH,
            sigma / STRETCH, rho)
        model = ql.HestonModel(process)
        engine = ql.AnalyticHestonEngine(model, nodes)
        helpers = []
        for k, tau, volatility in self.quotes:
            quote = ql.QuoteHandle(ql.SimpleQuote(volatility / math.sqrt(STRETCH)))
            helper = ql.HestonModelHelper(
                ql.Period(round(tau * 365 * STRETCH), ql.Days), ql.NullCalendar(), 100.0, 100 * math.exp(k), quote,
                FLAT, FLAT, error_type)
            helper.setPricingEngine(engine)
            helpers.append(helper)
        method = ql.LevenbergMarquardt(1e-8, tolerance, tolerance)
        model.calibrate(helpers, method, ql.EndCriteria(400, 40, 1e-8, 1e-8, 1e-8), ql.NoConstraint(), weights)
        return [model.kappa() * STRETCH, model.theta() * STRETCH, model.sigma() * STRETCH, model.rho(),
                model.v0() * STRETCH]

    def error(self, program, parameters):
        """Infinite outside the model's domain."""
        text = "\n".join(" ".join(map(repr, quote)) for quote in self.quotes)
        command = [program, "error", *map(repr, parameters)]
        answer = subprocess.run(command, input=text, capture_output=True, text=True)
        value = json.loads(answer.stdout)["rmse"] if answer.returncode == 0 else None
        return math.inf if value is None else value

    def best(self, program, count):
        found = []
        for start in starts(count):
            try:
                parameters = self.descend(start, ql.BlackCalibrationHelper.PriceError, self.weights, 24, 1e-5)
                found.append((self.error(program, parameters), parameters))
            except RuntimeError:  # The engine refused a point: this start is lost.
                continue
        error, parameters = min(found, default=(math.inf, None))
        if parameters:
            try:
                polished = self.descend(
                    parameters, ql.BlackCalibrationHelper.ImpliedVolError, [1.0] * len(self.quotes),
                    96, 1e-8)
                error, parameters = min((error, parameters), (self.error(program, polished), polished))
            except RuntimeError:  # Refused on its way: the answer before the polish stands.
                pass
        return error, parameters


def shown(values):
    return " ".join(f"{x:.4g}" for x in values or [])


def answer(task):
    """The peer's on one of our lines: error, parameters, seconds."""
    program, start_count, line = task
    ql.Settings.instance().evaluationDate = TODAY
    before = time.perf_counter()
    error, parameters = Peer(json.loads(line)["quotes"]).best(program, start_count)
    return error, parameters, time.perf_counter() - before


def main():
    program, count = sys.argv[1], sys.argv[2]
    start_count = int(sys.argv[3]) if len(sys.argv) > 3 else 20
    if not DATA.exists():
        sys.exit(f"no option chains: {DATA} is missing")
    print(f"peer: QuantLib {ql.__version__}, best of {start_count} starts; {count} snapshots a file")
    claims = Claims()
    with multiprocessing.Pool() as pool:
        for name in FILES:
            lines = subprocess.run(
                [program, "real", str(DATA / name), count], check=True, capture_output=True, text=True).stdout.splitlines()
            answers = pool.imap(answer, [(program, start_count, line) for line in lines])
            for ours, (error, parameters, seconds) in zip(map(json.loads, lines), answers):
                print(f"{name} snapshot {ours['snapshot']} of {ours['snapshots']}: {len(ours['quotes'])} quotes; "
                      f"ours {shown(ours['parameters'])} in {ours['ns'] / 1e6:.1f} ms, "
                      f"QuantLib {shown(parameters)} in {seconds:.1f} s", flush=True)
                claims.line(
                    f"heston.real.{name.split('.')[0]}.{ours['snapshot']}", 100 * ours["rmse"], "pt", BOUND,
                    math.isfinite(error) and ours["rmse"] <= BOUND * error, 100 * error, ours["rmse"] / error)
    return 1 if claims.failed else 0


if __name__ == "__main__":
    sys.exit(main())
