"""Judges a running heston-inverter-service by Python's grpcio, as a client that has no .proto file of ours.

    /usr/bin/python3 foreign_client.py PORT PROCESS-ID HESTON.CSV

Everything about the service is learnt from it, by server reflection. Needs Debian's python3-grpcio and
python3-protobuf (or PyPI's grpcio and protobuf, any version since): the reflection protocol's own messages are
described below by hand, because Debian has no grpcio-reflection. HESTON.CSV has reference prices, computed in
arbitrary precision.
Prints one line a check, and exits 1 if one fails.
"""

import math
import os
import sys
import time

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

HESTON = "vomma.v1.HestonInverter"
failures = 0


def check(name, ok, detail=""):
    global failures
    failures += not ok
    print(("ok   " if ok else "FAIL ") + name + (f": {detail}" if detail != "" else ""), flush=True)


def message_class(pool, descriptor):
    """A message's class, by the way of protobuf 4.22 and later, or by the one before."""
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(descriptor)
    return message_factory.MessageFactory(pool).GetPrototype(descriptor)


# --------------------------------------------------------------------------------------------------- reflection

def reflection_messages():
    """Request and response of grpc.reflection.v1 and v1alpha (the same on the wire), as far as they are used here."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="by-hand.proto", package="by_hand", syntax="proto3")

    def message(name, *fields, oneof=None):
        made = file.message_type.add(name=name)
        if oneof:
            made.oneof_decl.add(name=oneof)
        for number, label, kind, type_name, member in fields:
            added = made.field.add(name=f"f{number}", number=number, label=label, type=kind)
            if type_name:
                added.type_name = f".by_hand.{type_name}"
            if member:
                added.oneof_index = 0

    one, many = field.LABEL_OPTIONAL, field.LABEL_REPEATED
    message(
        "Request", (3, one, field.TYPE_STRING, None, True), (4, one, field.TYPE_STRING, None, True),
        (7, one, field.TYPE_STRING, None, True), oneof="kind")
    message("Files", (1, many, field.TYPE_BYTES, None, False))
    message("Service", (1, one, field.TYPE_STRING, None, False))
    message("Services", (1, many, field.TYPE_MESSAGE, "Service", False))
    message("Failure", (1, one, field.TYPE_INT32, None, False), (2, one, field.TYPE_STRING, None, False))
    message(
        "Response", (4, one, field.TYPE_MESSAGE, "Files", True), (6, one, field.TYPE_MESSAGE, "Services", True),
        (7, one, field.TYPE_MESSAGE, "Failure", True), oneof="kind")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return tuple(message_class(pool, pool.FindMessageTypeByName(f"by_hand.{name}")) for name in ("Request", "Response"))


class Service:
    """One service process; its methods and messages are learnt by reflection."""

    BY_FILE, BY_SYMBOL, LIST = "f3", "f4", "f7"

    def __init__(self, port):
        limits = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=limits)
        self.pool = descriptor_pool.DescriptorPool()
        self.request, self.response = reflection_messages()
        self.known = set()

    def reflect(self, *questions, version="v1"):
        """Answers to (kind, text) questions, all asked in one call."""
        stub = self.channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=self.response.FromString)
        return list(stub(iter([self.request(**{kind: text}) for kind, text in questions]), timeout=30))

    def services(self, version="v1"):
        return [service.f1 for service in self.reflect((self.LIST, ""), version=version)[0].f6.f1]

    def learn(self, symbol):
        """Takes up the file that declares `symbol`, and those that it imports."""
        files = {}

        def fetch(kind, text):
            answer = self.reflect((kind, text))[0]
            if answer.HasField("f7"):
                raise LookupError(f"{text}: {answer.f7.f2}")
            for data in answer.f4.f1:
                file = descriptor_pb2.FileDescriptorProto.FromString(data)
                files[file.name] = file

        def add(file):
            for name in file.dependency:
                if name not in self.known:
                    if name not in files:
                        fetch(self.BY_FILE, name)
                    add(files[name])
            if file.name not in self.known:
                self.known.add(file.name)
                self.pool.Add(file)

        fetch(self.BY_SYMBOL, symbol)
        for file in list(files.values()):
            add(file)

    def method(self, path):
        service, name = path.split("/")
        try:
            found = self.pool.FindServiceByName(service)
        except KeyError:
            self.learn(service)
            found = self.pool.FindServiceByName(service)
        return next(method for method in found.methods if method.name == name)

    def message(self, name, **fields):
        return message_class(self.pool, self.pool.FindMessageTypeByName(name))(**fields)

    def stub(self, path, streaming=False):
        method = self.method(path)
        kind = self.channel.unary_stream if streaming else self.channel.unary_unary
        return kind(
            "/" + path, request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_class(self.pool, method.output_type).FromString)

    def request_of(self, path, **fields):
        return message_class(self.pool, self.method(path).input_type)(**fields)

    def call(self, path, timeout=60, **fields):
        return self.stub(path)(self.request_of(path, **fields), timeout=timeout)

    def violations(self, call):
        """The fields that a refusal names in its details, a google.rpc.BadRequest in a google.rpc.Status."""
        try:
            call()
        except grpc.RpcError as error:
            for name in ("google.rpc.Status", "google.rpc.BadRequest"):
                try:
                    self.pool.FindMessageTypeByName(name)
                except KeyError:
                    self.learn(name)
            rich = self.message("google.rpc.Status")
            rich.ParseFromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
            bad = self.message("google.rpc.BadRequest")
            right = (rich.code, rich.message) == (error.code().value[0], error.details())
            if right and rich.details[0].Unpack(bad):
                return [violation.field for violation in bad.field_violations]
        return []

    def price(self, **fields):
        return self.call(HESTON + "/Price", **fields)


def status(call):
    """The code and text that a call ends with."""
    try:
        call()
        return grpc.StatusCode.OK, ""
    except grpc.RpcError as error:
        return error.code(), error.details()


# ------------------------------------------------------------------------------------------------------- checks

def learning(service):
    names = service.services()
    wanted = [
        "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection",
        "inference.GRPCInferenceService", HESTON]
    check("reflection lists the services", sorted(names) == sorted(wanted), names)
    check("both versions of reflection agree", service.services("v1alpha") == names)
    answers = service.reflect((service.BY_SYMBOL, "no.such.Symbol"), (service.BY_FILE, "no.proto"), (service.LIST, ""))
    codes = [answer.f7.f1 for answer in answers]
    check("reflection says what it has not, and goes on", codes == [5, 5, 0] and len(answers[2].f6.f1) == 5, codes)
    service.learn(HESTON)
    methods = [method.name for method in service.pool.FindServiceByName(HESTON).methods]
    wanted = {"Invert", "InvertBatch", "Price", "ImpliedVolatility", "Calibrate", "BuildSurface", "DescribeModel"}
    check("reflection describes the methods", set(methods) == wanted, methods)


def health(service):
    path = "grpc.health.v1.Health/Check"
    for name in ("", HESTON):
        check(f"health of “{name}” is SERVING", service.call(path, service=name).status == 1)
    ended = status(lambda: service.call(path, service="nö € 𝛎\n100 %"))
    wanted = (grpc.StatusCode.NOT_FOUND, "no service “nö € 𝛎\n100 %” here")
    check("health of an unknown service: NOT_FOUND, its text unharmed", ended == wanted, ended)
    watch = service.stub("grpc.health.v1.Health/Watch", streaming=True)(
        service.request_of("grpc.health.v1.Health/Watch", service=HESTON), timeout=30)
    check("a watch begins with SERVING", next(watch).status == 1)
    watch.cancel()


def read_reference(path):
    """Rows of the reference by parameter set: {(kappa, …, v0): [row, …]}, each a dictionary of numbers."""
    sets, names = {}, None
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.startswith("#"):
                continue
            cells = line.strip().split(",")
            if names is None:
                names = cells
                continue
            row = dict(zip(names, map(float, cells)))
            sets.setdefault(tuple(row[name] for name in ("kappa", "theta", "sigma", "rho", "v0")), []).append(row)
    return sets


def terms(row):
    return dict(
        parameters={name: row[name] for name in ("kappa", "theta", "sigma", "rho", "v0")}, spot=row["S0"],
        rate=row["r"], dividend_yield=row["q"])


def prices(service, rows):
    """A parameter set that has to be answered: calls against the reference, puts by parity."""
    contracts = dict(strikes=[row["K"] for row in rows], tau=[row["T"] for row in rows])
    spot = rows[0]["S0"]
    calls = service.price(**terms(rows[0]), **contracts).prices
    puts = service.price(**terms(rows[0]), **contracts, kinds=["OPTION_KIND_PUT"]).prices
    error = max(abs(call - row["call_price"]) for call, row in zip(calls, rows)) / spot
    parity = max(
        abs(call - put - row["S0"] * math.exp(-row["q"] * row["T"]) + row["K"] * math.exp(-row["r"] * row["T"]))
        for call, put, row in zip(calls, puts, rows)) / spot
    name = f"{len(rows)} prices, σ = {rows[0]['sigma']}, κ = {rows[0]['kappa']}"
    check(f"{name}: error at most 1e-9 of spot", len(calls) == len(rows) and error <= 1e-9, f"{error:.1e}")
    check(f"{name}: puts by parity", len(puts) == len(rows) and parity <= 1e-9, f"{parity:.1e}")
    digitals = service.price(**terms(rows[0]), **contracts, greeks=True).digital
    others = service.price(**terms(rows[0]), **contracts, kinds=["OPTION_KIND_PUT"], greeks=True).digital
    whole = max(abs(a + b - math.exp(-row["r"] * row["T"])) for a, b, row in zip(digitals, others, rows))
    check(f"{name}: digitals make up the discount", len(digitals) == len(rows) and whole <= 1e-12, f"{whole:.1e}")


def hard_prices(service, rows):
    """A parameter set that may be refused, price by price, but not answered wrongly."""
    answered, refused, wrong = 0, 0, []
    for row in rows:
        try:
            price = service.price(**terms(row), strikes=[row["K"]], tau=[row["T"]]).prices[0]
            answered += 1
            if not abs(price - row["call_price"]) <= 1e-9 * row["S0"]:
                wrong.append((row["K"], row["T"], price - row["call_price"]))
        except grpc.RpcError as error:
            refused += 1
            if error.code() != grpc.StatusCode.FAILED_PRECONDITION:
                wrong.append((row["K"], row["T"], error.code(), error.details()))
    name = f"hard prices, σ = {rows[0]['sigma']}, κ = {rows[0]['kappa']}: right or refused"
    check(name, not wrong, f"{answered} right, {refused} refused{', wrong: ' + repr(wrong) if wrong else ''}")


def volatilities(service, rows):
    """Implied volatilities of the reference prices."""
    answer = service.call(
        HESTON + "/ImpliedVolatility", spot=rows[0]["S0"], rate=rows[0]["r"], dividend_yield=rows[0]["q"],
        prices=[row["call_price"] for row in rows], strikes=[row["K"] for row in rows], tau=[row["T"] for row in rows])
    worst, judged, silent = 0.0, 0, 0
    for row, value, error in zip(rows, answer.implied_volatility, answer.errors):
        silent += math.isnan(value) and error == ""
        if math.isnan(row["iv"]):
            continue
        deviation = row["iv"] * math.sqrt(row["T"])
        forward = row["S0"] * math.exp((row["r"] - row["q"]) * row["T"])
        d1 = math.log(forward / row["K"]) / deviation + deviation / 2
        vega = row["S0"] * math.exp(-row["q"] * row["T"] - d1 * d1 / 2) * math.sqrt(row["T"] / (2 * math.pi))
        # A price is known to a few roundings of the spot; more can't be asked of the volatility. Where they alone move
        # it by a hundredth of itself, the service may say that the price does not tell it.
        allowed = 1e-12 + 8 * 2.3e-16 * row["S0"] / vega
        if math.isnan(value) and allowed > 0.01 * row["iv"]:
            continue
        worst = max(worst, math.inf if math.isnan(value) else abs(value - row["iv"]) / allowed)
        judged += 1
    name = f"{judged} implied volatilities, σ = {rows[0]['sigma']}, κ = {rows[0]['kappa']}: as exact as the prices"
    detail = f"{worst:.2f} of what rounding allows, {silent} NaN without reason"
    check(name, judged > 0 and worst <= 1 and silent == 0, detail)


def bad_requests(service):
    good = dict(
        parameters=dict(kappa=4, theta=0.25, sigma=1, rho=-0.5, v0=0.04), spot=100, strikes=[100], tau=[1])
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    for name, change, word in (
            ("a negative spot", dict(spot=-1), "spot"), ("a NaN for a strike", dict(strikes=[math.nan]), "strike"),
            ("an infinite maturity", dict(tau=[math.inf]), "tau"), ("no strikes", dict(strikes=[]), "strikes"),
            ("more maturities than strikes", dict(tau=[1, 2]), "tau"), ("a correlation of 2", dict(
                parameters=dict(kappa=4, theta=0.25, sigma=1, rho=2, v0=0.04)), "rho"),
            ("no parameters", dict(parameters=None), "parameters"), ("an unknown kind", dict(kinds=[7]), "kinds[0]")):
        ended = status(lambda: service.price(**{**good, **change}))
        check(f"{name} is refused by name", ended[0] == invalid and word in ended[1], ended)
        fields = service.violations(lambda: service.price(**{**good, **change}))
        check(f"{name} is a violation of its field", len(fields) == 1 and word in fields[0], fields)

    quote = dict(
        kind="OPTION_KIND_CALL", strike=100, expiry_microseconds=2**63 - 1, underlying_price=100, mark_volatility=0.5)
    chain = dict(currency="BTC", snapshot_time_microseconds=-(2**63), index_price=100, quotes=[quote])
    for name, change, word in (
            ("an expiry at the end of time", dict(snapshot_time_microseconds=0), "chain.quotes[0].expiry"),
            ("a snapshot at the beginning of time", {}, "chain.snapshot_time"),
            ("a NaN for an index", dict(snapshot_time_microseconds=0, quotes=[], index_price=math.nan),
             "chain.index_price")):
        ended = status(lambda: service.call(HESTON + "/BuildSurface", chain={**chain, **change}))
        check(f"{name} is refused by name", ended[0] == invalid and word in ended[1], ended)

    raw = service.channel.unary_unary(f"/{HESTON}/Price")
    for name, body in (
            ("bytes that are no message", b"\xff\xff\xff"), ("a field longer than the message", b"\x0a\x7f\x01"),
            ("a number cut short", b"\x11\x00\x00"), ("a group without end", b"\x0b"),
            ("a field of another wire type", b"\x10\x01"), ("nesting without end", b"\x0a\xff\xff\xff\xff\x0f")):
        ended = status(lambda: raw(body, timeout=20))
        refused = ended[0] in (invalid, grpc.StatusCode.INTERNAL)
        check(f"{name}: refused", refused, ended)
    unimplemented = grpc.StatusCode.UNIMPLEMENTED
    for path in (f"/{HESTON}/Nothing", "/vomma.v1.Nothing/Price", "/vomma.v1.FeatureService/Compute"):
        ended = status(lambda: service.channel.unary_unary(path)(b"", timeout=20))
        check(f"{path} is UNIMPLEMENTED", ended[0] == unimplemented and ended[1] != "", ended)


def sizes(service):
    path = HESTON + "/ImpliedVolatility"
    count = 700_000
    ended = status(lambda: service.call(
        path, spot=100, prices=[5.0] * count, strikes=[100.0] * (count - 1), tau=[1]))
    wanted = (grpc.StatusCode.INVALID_ARGUMENT, f"{count} prices and {count - 1} strikes")
    check("a request of 11 MB is read", ended == wanted, ended)
    answer = service.call(path, spot=100, prices=[-5.0] * 100_000, strikes=[100.0] * 100_000, tau=[1])
    size = answer.ByteSize()
    fine = size > 4 << 20 and all(answer.errors) and all(map(math.isnan, answer.implied_volatility))
    check("a response over 4 MiB arrives", fine and len(answer.errors) == 100_000, f"{size} bytes")
    raw = service.channel.unary_unary("/" + path)
    ended = status(lambda: raw(bytes((64 << 20) + 1), timeout=60))
    check("a request over 64 MiB is RESOURCE_EXHAUSTED", ended[0] == grpc.StatusCode.RESOURCE_EXHAUSTED, ended)


class Processor:
    """CPU time of another process."""

    def __init__(self, process):
        self.path = f"/proc/{process}/stat"

    def seconds(self):
        with open(self.path, encoding="utf-8") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def until_idle(self, limit):
        """CPU seconds used from now until the process has rested for half a second, or has used `limit`."""
        start = before = self.seconds()
        while True:
            time.sleep(0.5)
            now = self.seconds()
            if now - start > limit or now - before <= 0.02:
                return now - start
            before = now


def deadlines(service, process):
    """A call that outlives its deadline ends, and so does the work on it."""
    processor = Processor(process)
    path = HESTON + "/Price"
    terms = dict(parameters=dict(kappa=2, theta=0.04, sigma=0.3, rho=-0.7, v0=0.04), spot=100)

    # Maturities that differ, so that nothing is shared between the prices.
    def prices(count):
        return service.request_of(path, **terms, strikes=[100.0] * count, tau=[0.5 + i * 1e-6 for i in range(count)])

    count, cost = enough_work(service.stub(path), prices, processor)
    judge(f"Price of {count}", service.stub(path), prices(count), cost, processor)

    # Inversion, many surfaces in one call. Inversions end in different numbers of steps: it is the same one each time.
    surface = make_surface(service)
    found = service.call(HESTON + "/Invert", surface=surface).parameters
    true = dict(kappa=2, theta=0.04, sigma=0.3, rho=-0.7, v0=0.04)
    error = max(abs(getattr(found, name) - value) for name, value in true.items())
    check("an inversion finds the parameters", error < 1e-4, f"{error:.1e}")
    batch_path = HESTON + "/InvertBatch"

    def inversions(count):
        return service.request_of(batch_path, requests=[dict(surface=surface)] * count)

    count, cost = enough_work(service.stub(batch_path), inversions, processor)
    judge(f"InvertBatch of {count}", service.stub(batch_path), inversions(count), cost, processor)


def enough_work(stub, request, processor):
    """A size of request, `request(size)`, that costs the service 6 s of CPU time, and this time: from a measured small
    one. (More would be longer than a request may be.)"""
    size, cost = 10, 0.0
    while cost < 0.2:
        size *= 2
        before = processor.seconds()
        stub(request(size), timeout=60)
        cost = processor.seconds() - before
    whole = int(size * 6 / cost) + 1
    return whole, whole * cost / size


def judge(name, stub, request, whole, processor):
    """`whole`: CPU seconds that the call costs if nothing stops it. Of a call that is given up a fifth of that may be
    spent afterwards: the service looks at the deadline between pieces of work only."""
    exceeded = grpc.StatusCode.DEADLINE_EXCEEDED
    # Now and then grpc resets such a call's stream without ever having opened it (grpc#19655). A server that ends the
    # connection for that, as HTTP/2 has it, makes the next call UNAVAILABLE.
    codes = [status(lambda: stub(request, timeout=0.001))[0] for _ in range(5)]
    check(f"{name}: 5 calls with 1 ms end with DEADLINE_EXCEEDED", set(codes) == {exceeded}, set(map(str, codes)))
    used = processor.until_idle(whole)
    detail = f"{used:.2f} s of CPU, one whole call {whole:.1f} s"
    check(f"{name}: afterwards the server rests", used < whole / 5, detail)

    # With 1 ms the request may never have got there. Now it has: the server is at work when the deadline passes.
    for reason in ("deadline", "cancellation"):
        before = processor.seconds()
        future = stub.future(request, timeout=2 if reason == "deadline" else 600)
        while processor.seconds() - before < 0.2 and not future.done():
            time.sleep(0.02)
        working = processor.seconds() - before
        if reason == "cancellation":
            future.cancel()
        ended = status_of_future(future)
        wanted = exceeded if reason == "deadline" else grpc.StatusCode.CANCELLED
        detail = f"{ended}, {working:.2f} s of CPU so far"
        check(f"{name}: {reason} ends the call", ended == wanted and working >= 0.15, detail)
        used = processor.until_idle(whole)
        detail = f"{used:.2f} s of CPU, one whole call {whole:.1f} s"
        check(f"{name}: {reason} ends the work", used < whole / 5, detail)


def status_of_future(future):
    try:
        future.result()
        return grpc.StatusCode.OK
    except grpc.FutureCancelledError:
        return grpc.StatusCode.CANCELLED
    except grpc.RpcError as error:
        return error.code()


def make_surface(service):
    """The volatility surface of known parameters, on the service's own grid."""
    grid = service.call(HESTON + "/DescribeModel")
    strikes, taus, kinds = [], [], []
    for k in grid.log_moneyness:
        for tau in grid.tau:
            strikes.append(100 * math.exp(k))
            taus.append(tau)
            kinds.append("OPTION_KIND_CALL" if k >= 0 else "OPTION_KIND_PUT")
    contracts = dict(spot=100, strikes=strikes, tau=taus, kinds=kinds)
    prices = service.price(parameters=dict(kappa=2, theta=0.04, sigma=0.3, rho=-0.7, v0=0.04), **contracts).prices
    found = service.call(HESTON + "/ImpliedVolatility", prices=prices, **contracts).implied_volatility
    cells = ["SURFACE_CELL_MISSING" if math.isnan(value) else "SURFACE_CELL_OBSERVED" for value in found]
    return dict(
        log_moneyness=grid.log_moneyness, tau=grid.tau, implied_volatility=found, cells=cells, spot=100,
        forwards=[100.0] * len(grid.tau), method="model")


def main(port, process, reference):
    service = Service(port)
    learning(service)
    health(service)
    smooth = 0
    for (kappa, _, sigma, _, _), rows in read_reference(reference).items():
        if sigma in (0.1, 0.3) or kappa == 3:
            smooth += 1
            prices(service, rows)
        else:
            hard_prices(service, rows)
        volatilities(service, rows)
    check("three smooth parameter sets were judged", smooth == 3, smooth)
    bad_requests(service)
    sizes(service)
    deadlines(service, process)
    check("after all that it is SERVING", service.call("grpc.health.v1.Health/Check", service=HESTON).status == 1)
    service.channel.close()
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
