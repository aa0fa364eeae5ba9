"""Runs the servers given, the same load on each in turn, round after round, and prints medians, spreads and claims.

  compare.py LOAD ROUNDS STALL NAME=COMMAND ...     names: ours, cpp, swift (grpc-swift-2)

At the end a client of ours reads nothing of a stream for STALL seconds: what the server's memory grew by meanwhile.

Server on core 0, load on core 1. CPU is the server's own, of all its threads. Ends with 1 when a claim is short.
"""
import re
import statistics
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from claims import Claims, text

# Case: arguments of the load, then calls by server: about a second each. A server left out does not take part.
CASES = {
    "8x64": (["echo", 8, 64], 100, {"ours": 300_000, "cpp": 60_000, "swift": 10_000}),
    "64x1": (["echo", 64, 1], 100, {"ours": 80_000, "cpp": 50_000, "swift": 8_000}),
    "1x1": (["echo", 1, 1], 100, {"ours": 10_000, "cpp": 10_000}),
    "1mib": (["echo", 2, 4], 1 << 20, {"ours": 800, "cpp": 600}),
    "flow": (["flow"], 16, {"ours": 2_000_000, "cpp": 100_000}),
    "stall": (["stall"], 100, {}),
}
# What a case is judged by, its unit in print, and the divisor to get there.
FIGURES = {
    "8x64": [("cpu_ns", "us", 1e3), ("rate", "/s", 1)],
    "64x1": [("cpu_ns", "us", 1e3), ("rate", "/s", 1)],
    "1x1": [("p50_us", "us", 1), ("p99_us", "us", 1), ("cpu_ns", "us", 1e3)],
    "1mib": [("megabytes_per_second", "MB/s", 1), ("cpu_ns", "us", 1e3)],
    "flow": [("rate", "/s", 1), ("cpu_ns", "us", 1e3)],
}


class Server:
    def __init__(self, command):
        self.process = subprocess.Popen(["taskset", "-c", "0", command], stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        found = re.search(r"listening port=(\d+)", line)
        if not found:
            sys.exit(f"{command} did not say on which port it listens: {line!r}")
        self.port = found.group(1)

    def resident(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))


def measure(load, server, case, calls, *more):
    arguments, size, _ = CASES[case]
    command = ["taskset", "-c", "1", load, arguments[0], server.port, str(server.process.pid)]
    command += [str(a) for a in arguments[1:]] + [str(calls), str(size), *more]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {key: float(value) for key, value in re.findall(r"(\w+)=([\d.]+)", output)}


def main():
    load, rounds, stall_seconds = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    servers = {name: Server(command) for name, command in (a.split("=", 1) for a in sys.argv[4:])}
    results = {}
    try:
        for _ in range(rounds):
            for case, (_, _, calls) in CASES.items():
                for name, server in servers.items():
                    if name in calls:
                        results.setdefault((case, name), []).append(measure(load, server, case, calls[name]))
        resident = {name: server.resident() for name, server in servers.items()}
        # All that was sent arrives afterwards, or `measure` fails.
        stalled = measure(load, servers["ours"], "stall", 1_000_000, stall_seconds)
    finally:
        for server in servers.values():
            server.process.kill()
            server.process.wait()

    median = {}
    print(f"{'case':6} {'server':6} median (least .. most) of {rounds} rounds")
    for (case, name), runs in results.items():
        shown = []
        for figure, unit, divisor in FIGURES[case]:
            values = [run[figure] / divisor for run in runs]
            median[case, name, figure] = statistics.median(values)
            spread = f"{text(min(values))} .. {text(max(values))}"
            label = figure.removesuffix("_ns").removesuffix("_us")
            shown.append(f"{label} {text(statistics.median(values))} {unit} ({spread})")
        print(f"{case:6} {name:6} " + "; ".join(shown))
    print("resident after the load: " + ", ".join(f"{name} {kb / 1024:.0f} MB" for name, kb in resident.items()))

    claims = Claims()

    def fewer(name, case, figure, peer, factor):
        """Ours is `factor` times less than the peer's."""
        ours, theirs = median[case, "ours", figure], median[case, peer, figure]
        claims.line(name, ours, "us", factor, theirs / ours >= factor, theirs, theirs / ours)

    for case, cpp, swift in [("8x64", 4, 20), ("64x1", 1.4, 8)]:
        fewer(f"rpc.unary.{case}.cpu_vs_cpp", case, "cpu_ns", "cpp", cpp)
        if "swift" in servers:
            fewer(f"rpc.unary.{case}.cpu_vs_grpc_swift", case, "cpu_ns", "swift", swift)
    for figure in ["p50_us", "p99_us"]:
        ours, theirs = median["1x1", "ours", figure], median["1x1", "cpp", figure]
        claims.line(f"rpc.unary.1x1.{figure[:3]}", ours, "us", "1.1", ours / theirs <= 1.1, theirs, ours / theirs)
    ours, theirs = (median["1mib", name, "megabytes_per_second"] for name in ["ours", "cpp"])
    claims.line("rpc.echo.1mib", ours, "MB/s", 1.5, ours / theirs >= 1.5, theirs, ours / theirs)
    rate = median["flow", "ours", "rate"]
    claims.line("rpc.flow.messages", rate, "/s", 1_000_000, rate >= 1_000_000)
    growth = stalled["stalled_growth_kb"]
    claims.line("rpc.stalled_stream.growth", growth, "kB", "1024kB", growth <= 1024)
    claims.line("rpc.resident", resident["ours"] / 1024, "MB", "50MB", resident["ours"] <= 50 * 1024)
    return 1 if claims.failed else 0


sys.exit(main())
