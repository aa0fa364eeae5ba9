"""Runs the Heston lab and its peers by turns, round after round, and prints medians, spreads and claims.

  compare.py OURS ROUNDS     OURS: heston-bench

The peer of a surface is the fastest of QuantLib's engines whose error on that set is below 1e-9 of spot; if none is,
the most accurate. Needs ../shared/reference/heston.csv beside the checkout. Ends with 1 when a claim is short.
"""
import csv
import json
import math
import statistics
import subprocess
import sys
import time
from pathlib import Path

import QuantLib as ql

sys.path.insert(0, str(Path(__file__).parent.parent))
from claims import Claims, text

REFERENCE = Path(__file__).resolve().parents[2] / "../shared/reference/heston.csv"
TAUS = [0.05, 0.1, 0.25, 0.5, 1.0, 2.0]
SMOOTH = {"2.0": "equity", "3.0": "crypto", "8.0": "calm"}
HARD = {"0.5": "low variance", "1.15": "wild variance"}
# QuantLib counts days: time is stretched so that each maturity is a whole number of them; rates and variances shrink.
STRETCH = 4
TODAY = ql.Date(1, 1, 2020)
DAYS = ql.Actual365Fixed()


def ours(program, *arguments):
    command = [program, *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def seconds(body, least=0.2):
    """The median of repeated calls, at least three."""
    times = []
    end = time.perf_counter() + least
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        body()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def curve(rate):
    return ql.YieldTermStructureHandle(ql.FlatForward(TODAY, rate / STRETCH, DAYS))


def heston_model(parameters, rate, dividend):
    kappa, theta, sigma, rho, v0 = parameters
    process = ql.HestonProcess(
        curve(rate), curve(dividend), ql.QuoteHandle(ql.SimpleQuote(100.0)), v0 / STRETCH, kappa / STRETCH,
        theta / STRETCH, sigma / STRETCH, rho)
    return ql.HestonModel(process)


def engines(model):
    analytic, rule = ql.AnalyticHestonEngine, ql.FourierIntegration
    yield "Gauss-Laguerre 64", analytic(model, 64)
    yield "Gauss-Laguerre 144", analytic(model, 144)
    yield "Gauss-Laguerre 192", analytic(model, 192)
    yield "Andersen-Piterbarg 64", analytic(model, analytic.AndersenPiterbargOptCV, rule.gaussLaguerre(64), 1e-12)
    yield "angled contour 64", analytic(model, analytic.AngledContour, rule.gaussLaguerre(64), 1e-12)
    yield "angled contour exp-sinh", analytic(model, analytic.AngledContourNoCV, rule.expSinh(1e-10), 1e-12)
    yield "exponential fitting", ql.ExponentialFittingHestonEngine(model)


class Surface:
    """QuantLib's side of one parameter set."""

    def __init__(self, rows):
        self.rows = rows
        model = heston_model(rows[0][:5], rows[0][5], rows[0][6])
        self.options = []
        for row in rows:
            expiry = TODAY + round(row[9] * 365 * STRETCH)
            payoff = ql.PlainVanillaPayoff(ql.Option.Call, row[8])
            self.options.append(ql.VanillaOption(payoff, ql.EuropeanExercise(expiry)))
        found = []
        for name, engine in engines(model):
            for option in self.options:
                option.setPricingEngine(engine)
            error = max(abs(o.NPV() - row[10]) for o, row in zip(self.options, rows)) / 100
            found.append((error > 1e-9, error if error > 1e-9 else self.time(), name, error, engine))
        _, _, self.name, self.error, engine = min(found, key=lambda f: f[:2])
        for option in self.options:
            option.setPricingEngine(engine)

    def time(self):
        """Less what the calls through Python cost."""
        def calls():
            for option in self.options:
                option.NPV()

        def work():
            for option in self.options:
                option.recalculate()

        return seconds(work) - seconds(calls, 0.02)


def calibration(examples, start):
    """Seconds QuantLib's LevenbergMarquardt takes, median over the examples, from the same start."""
    times, errors = [], []
    for example in examples:
        model = heston_model(start, 0, 0)
        engine = ql.AnalyticHestonEngine(model, 64)
        helpers = []
        for k, tau, volatility in example["quotes"]:
            quote = ql.QuoteHandle(ql.SimpleQuote(volatility / math.sqrt(STRETCH)))
            helper = ql.HestonModelHelper(
                ql.Period(round(tau * 365 * STRETCH), ql.Days), ql.NullCalendar(), 100.0, 100 * math.exp(k), quote,
                curve(0), curve(0))
            helper.setPricingEngine(engine)
            helpers.append(helper)
        method = ql.LevenbergMarquardt(1e-8, 1e-8, 1e-8)
        before = time.perf_counter()
        model.calibrate(helpers, method, ql.EndCriteria(400, 40, 1e-8, 1e-8, 1e-8))
        times.append(time.perf_counter() - before)
        found = [model.kappa() * STRETCH, model.theta() * STRETCH, model.sigma() * STRETCH, model.rho(),
                 model.v0() * STRETCH]
        errors.append(max(abs(a - b) for a, b in zip(found, example["true"])))
    return statistics.median(times), statistics.median(errors)


class ImpliedVolatility:
    """QuantLib's, one call an option, less what calls through Python cost."""

    def __init__(self, strikes, prices):
        self.options = [(ql.Option.Call if k >= 100 else ql.Option.Put, k, p) for k, p in zip(strikes, prices)]

    def time(self):
        def work():
            for kind, strike, price in self.options:
                ql.blackFormulaImpliedStdDev(kind, strike, 100.0, price, 1.0, 0.0, 0.3, 1e-13, 200)

        def calls():
            for _, strike, price in self.options:
                ql.close(strike, price)

        return (seconds(work) - seconds(calls, 0.02)) / len(self.options) * 1e9


def spread(values, unit):
    middle = statistics.median(values)
    return f"{text(middle)} {unit} ({text(min(values))} .. {text(max(values))})"


def main():
    program, rounds = sys.argv[1], int(sys.argv[2])
    if not REFERENCE.exists():
        sys.exit(f"no reference values: {REFERENCE} is missing")
    ql.Settings.instance().evaluationDate = TODAY
    print(f"peer: QuantLib {ql.__version__}; {rounds} rounds, medians (least .. most)")
    with open(REFERENCE) as file:
        table = [[float(x) if x else math.nan for x in row] for row in list(csv.reader(file))[1:]]
    sets = {}
    for row in table:
        if row[9] in TAUS:
            sets.setdefault(str(row[0]), []).append(row)
    peers = {key: Surface(rows) for key, rows in sets.items()}
    strikes = sorted({row[8] for row in table})
    many = [100 * math.exp(-0.4 + 0.8 * i / 19) for i in range(20)]
    times = {}

    def record(name, value):
        times.setdefault(name, []).append(value)

    errors = {}
    examples = {}
    prices = None
    for turn in range(rounds):
        for key, rows in sets.items():
            terms = [*rows[0][:5], 100, rows[0][5], rows[0][6]]
            grid = [*strikes, "/", *TAUS]
            answer = ours(program, "surface", "prices", 1e-9, *terms, *grid)
            record(("surface", key), answer["ns"] / 1e3)
            by_place = {(row[8], row[9]): row[10] for row in rows}
            exact = [by_place[strike, tau] for strike in strikes for tau in TAUS]
            errors[key] = max(abs(a - b) for a, b in zip(answer["prices"], exact)) / 100
            record(("peer", key), peers[key].time() * 1e6)
            record(("gradient", key), ours(program, "surface", "gradients", 1e-11, *terms, *grid)["ns"] / 1e3)
            if key in SMOOTH:
                taus = [0.05 + 1.95 * i / 19 for i in range(20)]
                record(("400", key), ours(program, "surface", "prices", 1e-9, *terms, *many, "/", *taus)["ns"] / 1e3)
        for preset in ("equity", "crypto"):
            for count in (30, 100):
                # A thousand cases for the rate of recovery, once; the median time of a hundred in the other rounds.
                answer = ours(program, "calibrate", preset, count, 1000 if turn == 0 else 100)
                record(("calibrate", preset, count), answer["ns"] / 1e3)
                if turn == 0:
                    examples[preset, count] = answer
        for count in (30, 100):
            job = examples["equity", count]
            record(("peer", "calibrate", count), calibration(job["examples"][:5], job["start"])[0] * 1e6)
        answer = ours(program, "volatility", 10_000)
        record("scalar", answer["scalar"])
        record("batch", answer["batch"])
        prices = prices or ImpliedVolatility(answer["strikes"], answer["prices"])
        record("implied", prices.time())

    claims = Claims()
    middle = {name: statistics.median(values) for name, values in times.items()}
    for key, name in {**SMOOTH, **HARD}.items():
        peer = peers[key]
        print(f"30 points, {name}: ours {spread(times['surface', key], 'us')}, error {errors[key]:.1e} of spot; "
              f"QuantLib ({peer.name}) {spread(times['peer', key], 'us')}, error {peer.error:.1e}")
    for key, name in {**SMOOTH, **HARD}.items():
        kind, bound, ratio = ("smooth", 10, 100) if key in SMOOTH else ("hard", 60, 50)
        label = f"heston.surface30.{kind}.{name.replace(' ', '_')}"
        time30, other = middle["surface", key], middle["peer", key]
        claims.line(label, time30, "us", f"{bound}us", time30 <= bound and errors[key] <= 1e-9)
        claims.line(f"{label}.ratio", time30, "us", f"{ratio}x", other / time30 >= ratio, other, other / time30)
        gradient = middle["gradient", key]
        claims.line(f"{label}.gradient", gradient, "us", f"{3 * bound}us", gradient <= 3 * bound)
        if key in SMOOTH:
            value = middle["400", key]
            claims.line(f"heston.surface400.{name}", value, "us", "60us", value <= 60)
    for (preset, count), job in examples.items():
        value = middle["calibrate", preset, count]
        bound = 400 if count == 30 else 900
        claims.line(f"heston.calibrate{count}.{preset}", value, "us", f"{bound}us", value <= bound)
        rate = job["recovered"] / 1000
        claims.line(f"heston.recovered{count}.{preset}", 100 * rate, "%", "99%", rate >= 0.99)
        claims.line(f"heston.steps{count}.{preset}", job["steps"], "", "12", job["steps"] <= 12)
    for count in (30, 100):
        value, other = middle["calibrate", "equity", count], middle["peer", "calibrate", count]
        claims.line(f"heston.calibrate{count}.ratio", value, "us", "60x", other / value >= 60, other, other / value)
    print(f"implied volatilities: round trips in price to {answer['roundTrip']:.1e}")
    for name, bound in (("scalar", 200), ("batch", 60)):
        value, other = middle[name], middle["implied"]
        claims.line(f"heston.volatility.{name}", value, "ns", f"{bound}ns", value <= bound, other, other / value)
    return 1 if claims.failed else 0


sys.exit(main())
