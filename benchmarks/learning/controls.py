"""Trains where the best policy is known, and where there is nothing to know, and prints what came of it by seed.

  controls.py OURS     OURS: learning-bench

Positive: a market with predictable returns and transaction costs (Garleanu, Pedersen 2013); PPO must earn 95 % of the
closed form's objective on fresh draws, the same for both. Negative: a driftless geometric Brownian motion with all
costs and 19.99 USDT; PPO must stay out, and no model may be accepted. Ends with 1 when a claim is short.
"""
import json
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from claims import Claims

POSITIVE_SEEDS = range(1, 4)
NEGATIVE_SEEDS = range(1, 21)


def run(program, *arguments):
    command = [program, "controls", *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main():
    program = sys.argv[1]
    claims = Claims()
    print("positive control: mean discounted objective of 2,000 fresh episodes")
    shares, times = [], []
    for seed in POSITIVE_SEEDS:
        found = run(program, "positive", seed)
        shares.append(found["learnt"] / found["optimal"])
        error = found["standard_error"] / found["optimal"]
        times.append(found["seconds"])
        print(f"  seed {seed}: learnt {found['learnt']:.3f}, optimum {found['optimal']:.3f} "
              f"(expected {found['expected']:.3f}): {shares[-1]:.2%} ± {error:.2%} "
              f"after {found['steps']:,} steps in {found['seconds']:.1f} s", flush=True)
    claims.line("learning.control.predictable", min(shares), "", "0.95", min(shares) >= 0.95)
    claims.line("learning.control.predictable.time", max(times), "s", "60s", max(times) <= 60)
    for reward in ["defaults", "minutes"]:
        print(f"negative control, reward with the penalties “{reward}”: two weeks of minutes out of sample")
        targets, exposures, accepted = [], [], 0
        for seed in NEGATIVE_SEEDS:
            found = run(program, "negative", seed, reward)
            targets.append(found["target"])
            exposures.append(found["exposure"])
            accepted += found["accepted"]
            print(f"  seed {seed}: mean |target| {found['target']:.4f}, mean |exposure| {found['exposure']:.4f}, "
                  f"net {found['net_return']:+.2%}, trades {found['trades']}, "
                  f"P(profit) {found['probability_of_profit']:.2f}, deflated Sharpe {found['deflated_sharpe']:.2f}, "
                  f"{found['seconds']:.1f} s", flush=True)
        worst = max(targets)
        claims.line(f"learning.control.noise.{reward}.target", worst, "", "0.05", worst < 0.05)
        worst = max(exposures)
        claims.line(f"learning.control.noise.{reward}.exposure", worst, "", "0.05", worst < 0.05)
        claims.line(f"learning.control.noise.{reward}.accepted", accepted, "", "0", accepted == 0)
    sys.exit(1 if claims.failed else 0)


main()
