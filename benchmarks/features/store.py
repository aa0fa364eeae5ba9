"""A year of one-minute bars through the services, and what the README may say of it. There is no peer: bounds only.

  store.py BENCH SERVICES DATA     BENCH: feature-store-bench; DATA: a folder laid out as docs/data.md says

Ends with 1 when a claim is short.
"""
import json
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from claims import Claims


def main():
    bench, services, data = sys.argv[1:4]
    command = [bench, services, data, "BTCUSDT", "2025-04-01", "2026-04-01"]
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    print(f"{found['bars']} bars, {found['rows']} vectors of {found['columns']} columns stored")
    print(f"killed {found['kills']} times: {found['killed_seconds']:.1f} s, {found['killed_rows']} vectors")
    claims = Claims()
    claims.line("features.year", found["seconds"], "s", "60s", found["seconds"] <= 60)
    # 1 where a bar has its vector, and every stored vector of the killed run is the undisturbed one's, bit for bit.
    whole = found["identical"] and found["kills"] == 3 and found["rows"] == found["bars"] > 0
    claims.line("features.killed_identical", float(whole), "", "1", whole)
    month = found["month_milliseconds"]
    claims.line("features.month", month, "ms", "300ms", month <= 300)
    sys.exit(1 if claims.failed else 0)


main()
