"""Judges heston-inverter-service, policy-service and regime-sentiment-service by tritonclient, grpcio-health-checking
and grpcio-reflection.

    python inference_client.py HESTON-PORT POLICY-PORT REGIME-PORT NETWORK

In the environment that make-venv.sh makes. The inverse network is live as version 1 of `heston_inverse`; NETWORK is its
file, which NumPy computes as well; `regime_embedding` is live too. The policy has a window of 2 and 3 features, and is
live as version 2 of `policy`; the regime model has two states and one column, and is live as version 1 of `regime`.
Prints one line a check, and exits 1 if one fails.
"""

import json
import math
import statistics
import sys

import grpc
import numpy as np
import tritonclient.grpc as triton
from google.protobuf import descriptor_pool, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tritonclient.utils import InferenceServerException

failures = 0


def check(name, ok, detail=""):
    global failures
    failures += not ok
    print(("ok   " if ok else "FAIL ") + name + (f": {detail}" if detail != "" else ""), flush=True)


def tensor(name, values, datatype=None):
    datatype = datatype or triton_type(values)
    made = triton.InferInput(name, list(values.shape), datatype)
    made.set_data_from_numpy(values)
    return made


def triton_type(values):
    return {"float64": "FP64", "float32": "FP32", "bool": "BOOL", "object": "BYTES"}[values.dtype.name]


def refusal(call):
    try:
        call()
        return "", ""
    except InferenceServerException as error:
        return error.status(), error.message()


def reflected(port):
    """Calls methods that are known by reflection alone."""
    channel = grpc.insecure_channel(f"127.0.0.1:{port}")
    pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))

    def call(path, **fields):
        service, name = path.split("/")
        method = pool.FindServiceByName(service).FindMethodByName(name)
        stub = channel.unary_unary(
            "/" + path, request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_factory.GetMessageClass(method.output_type).FromString)
        return stub(message_factory.GetMessageClass(method.input_type)(**fields), timeout=60)

    return channel, call


def common(name, port, client, models):
    check(f"{name}: live and ready", client.is_server_live() and client.is_server_ready())
    metadata = client.get_server_metadata()
    check(f"{name}: names itself", metadata.name == name, metadata.name)
    for model in models:
        check(f"{name}: {model} is ready", client.is_model_ready(model))
        check(f"{name}: {model} has no version 99", not client.is_model_ready(model, "99"))
    code, text = refusal(lambda: client.get_model_metadata("nothing"))
    check(f"{name}: an unknown model is NOT_FOUND", code == "StatusCode.NOT_FOUND" and models[0] in text, text)
    channel, call = reflected(port)
    health = health_pb2_grpc.HealthStub(channel).Check(
        health_pb2.HealthCheckRequest(service="inference.GRPCInferenceService"), timeout=60)
    check(f"{name}: grpcio-health-checking finds inference SERVING", health.status == 1)
    check(f"{name}: live by reflection", call("inference.GRPCInferenceService/ServerLive").live)
    return call


def merton(terms, jumps, rate=0.0):
    """Calls under Black and Scholes with log-normal jumps, by the number of jumps."""
    (tau,), variance = terms["tau"], terms["parameters"]["v0"]
    intensity, mean, deviation = jumps["lambda"], jumps["mu"], jumps["delta"]
    drift = math.expm1(mean + deviation**2 / 2)
    normal = statistics.NormalDist().cdf
    prices = []
    for strike in terms["strikes"]:
        price = 0
        for n in range(60):
            weight = math.exp(-intensity * tau) * (intensity * tau)**n / math.factorial(n)
            forward = terms["spot"] * math.exp(-intensity * drift * tau + n * (mean + deviation**2 / 2))
            total = math.sqrt(variance * tau + n * deviation**2)
            d = math.log(forward / strike) / total + total / 2
            price += weight * (forward * normal(d) - strike * normal(d - total))
        prices.append(price)
    return prices


def heston(port):
    client = triton.InferenceServerClient(f"127.0.0.1:{port}")
    call = common("heston-inverter-service", port, client, ["heston_pricer", "heston_calibration"])
    metadata = client.get_model_metadata("heston_pricer")
    shapes = {item.name: (item.datatype, list(item.shape)) for item in metadata.inputs}
    wanted = {
        "parameters": ("FP64", [-1, 5]), "market": ("FP64", [-1, 3]), "strikes": ("FP64", [-1, -1]),
        "tau": ("FP64", [-1, -1]), "is_put": ("BOOL", [-1, -1])}
    check("the pricer's inputs are described", shapes == wanted, shapes)

    # A. Lewis's example, and another row of the batch.
    parameters = np.array([[4, 0.25, 1, -0.5, 0.04], [2, 0.04, 0.3, -0.7, 0.04]])
    market = np.array([[100, 0.01, 0.02], [50, 0, 0]], dtype=np.float64)
    strikes = np.array([[80, 100, 120], [40, 50, 60]], dtype=np.float64)
    tau = np.array([[1, 1, 1], [0.25, 0.5, 2]])
    inputs = [tensor("parameters", parameters), tensor("market", market), tensor("strikes", strikes), tensor("tau", tau)]
    answer = client.infer("heston_pricer", inputs, request_id="one", client_timeout=60)
    prices = answer.as_numpy("price")
    check("Lewis's price to 1e-7", abs(prices[0, 1] - 16.070154917028834) < 1e-7, prices[0, 1])
    check("the answer has shape, id and version", prices.shape == (2, 3) and answer.get_response().id == "one")
    names = [output.name for output in answer.get_response().outputs]
    check("all eight outputs come", len(names) == 8, names)
    for row in range(2):
        rpc = call(
            "vomma.v1.HestonInverter/Price", spot=market[row, 0], rate=market[row, 1], dividend_yield=market[row, 2],
            parameters=dict(zip(("kappa", "theta", "sigma", "rho", "v0"), parameters[row])), strikes=strikes[row],
            tau=tau[row], greeks=True)
        for tensor_name, field in (
                ("price", "prices"), ("delta", "delta"), ("gamma", "gamma"), ("by_kappa", "by_kappa"),
                ("by_theta", "by_theta"), ("by_sigma", "by_sigma"), ("by_rho", "by_rho"), ("by_v0", "by_v0")):
            same = np.allclose(answer.as_numpy(tensor_name)[row], getattr(rpc, field), rtol=1e-12, atol=1e-14)
            check(f"row {row}: {tensor_name} is what Price answers", same)
    puts = client.infer(
        "heston_pricer", inputs + [tensor("is_put", np.ones((2, 3), dtype=bool))],
        outputs=[triton.InferRequestedOutput("price")], client_timeout=60)
    check("only what is requested comes", [output.name for output in puts.get_response().outputs] == ["price"])
    parity = prices - puts.as_numpy("price") - (
        market[:, :1] * np.exp(-market[:, 2:] * tau) - strikes * np.exp(-market[:, 1:2] * tau))
    check("put–call parity", np.abs(parity).max() < 1e-9, np.abs(parity).max())

    for what, broken, code, word in (
            ("a missing input", inputs[:3], "INVALID_ARGUMENT", "“tau”"),
            ("a wrong datatype", [tensor("parameters", parameters.astype(np.float32))] + inputs[1:], "INVALID_ARGUMENT",
             "has datatype FP32, FP64 is expected"),
            ("a wrong shape", [tensor("parameters", parameters[:, :4])] + inputs[1:], "INVALID_ARGUMENT", "[2, 4]"),
            ("unequal batches", [tensor("parameters", parameters[:1])] + inputs[1:], "INVALID_ARGUMENT", "batch"),
            ("a negative strike", inputs[:2] + [tensor("strikes", -strikes), inputs[3]], "INVALID_ARGUMENT", "strike")):
        ended, text = refusal(lambda: client.infer("heston_pricer", broken, client_timeout=60))
        check(f"{what} is refused by name", ended == f"StatusCode.{code}" and word in text, (ended, text))

    # Merton's series is Bates's model with hardly any volatility of variance.
    terms = dict(spot=100, strikes=[90, 100, 115], tau=[0.5], parameters=dict(
        kappa=5, theta=0.04, sigma=1e-4, rho=0, v0=0.04), greeks=True)
    jumps = dict(**{"lambda": 2}, mu=-0.1, delta=0.15)
    bates = call("vomma.v1.HestonInverter/Price", jumps=jumps, **terms)
    check("jumps are Merton's series", np.abs(np.array(bates.prices) - merton(terms, jumps)).max() < 1e-4, bates.prices)
    check("and have derivatives of their own", len(bates.by_lambda) == 3 and min(bates.by_lambda) > 0)
    plain = call("vomma.v1.HestonInverter/Price", **terms)
    later = call("vomma.v1.HestonInverter/Price", **{**terms, "tau": [0.5 - 1e-5]})
    decay = (np.array(later.prices) - plain.prices) / 1e-5
    check("theta is what a day takes", np.abs(decay - plain.theta).max() < 1e-3 and not plain.by_lambda, plain.theta)

    grid, maturities = np.array([-0.4, -0.2, 0, 0.2, 0.4]), np.array([0.1, 0.5, 1, 2.0])
    rows = [(k, t) for k in grid for t in maturities]
    rpc = call(
        "vomma.v1.HestonInverter/Price", spot=1, strikes=[np.exp(k) for k, _ in rows], tau=[t for _, t in rows],
        parameters=dict(kappa=2, theta=0.06, sigma=0.4, rho=-0.6, v0=0.04))
    volatility = call(
        "vomma.v1.HestonInverter/ImpliedVolatility", spot=1, prices=rpc.prices, strikes=[np.exp(k) for k, _ in rows],
        tau=[t for _, t in rows]).implied_volatility
    surface = np.array(volatility).reshape(1, len(grid), len(maturities))
    surface[0, 0, 0] = np.nan
    fit = client.infer(
        "heston_calibration", [
            tensor("log_moneyness", grid), tensor("tau", maturities), tensor("implied_volatility", surface)],
        client_timeout=60)
    error = np.abs(fit.as_numpy("parameters")[0] - [2, 0.06, 0.4, -0.6, 0.04]).max()
    check("calibration finds the parameters of a surface with a hole", error < 1e-4, error)
    check("the fitted surface has the hole", np.isnan(fit.as_numpy("fitted_volatility")).sum() == 1)
    adam = call("vomma.v1.HestonInverter/Calibrate", method=2, surface=dict(
        log_moneyness=grid, tau=maturities, implied_volatility=surface.ravel(), cells=[1] + [2] * 19, spot=1,
        forwards=[1] * 4, method="model"))
    error = abs(adam.parameters.kappa - 2) + abs(adam.parameters.rho + 0.6)
    losses = [point.loss for point in adam.trajectory]
    check("Adam finds them too, and shows its way", error < 1e-2 and losses[-1] < 1e-6 * losses[0], (error, losses[-1]))


def read_safetensors(path):
    with open(path, "rb") as file:
        data = file.read()
    length = int.from_bytes(data[:8], "little")
    tensors = {}
    for name, entry in json.loads(data[8:8 + length]).items():
        if name != "__metadata__":
            start, end = entry["data_offsets"]
            kind = {"F32": np.float32, "F64": np.float64}[entry["dtype"]]
            values = np.frombuffer(data[8 + length + start:8 + length + end], kind)
            tensors[name] = values.reshape(entry["shape"]).astype(np.float64)
    return tensors


def inverse_by_numpy(tensors, surfaces):
    """Parameters and redrawn surfaces, computed from the file alone, in double precision."""
    tau = tensors["tau"]
    rows = len(tensors["log_moneyness"])
    mean, deviation = (tensors[f"scaling.cell_{name}"].reshape(rows, -1) for name in ("mean", "deviation"))
    cells = (np.log(surfaces**2 * tau) - mean) / deviation
    there = ~np.isnan(cells)
    x = np.stack([np.where(there, cells, 0), there], -1)

    def convolve(x, name):
        weight = tensors[f"{name}.weight"]
        bordered = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        y = sum(
            bordered[:, i:i + x.shape[1], j:j + x.shape[2]] @ weight[:, :, i, j].T for i in range(3) for j in range(3))
        return np.maximum(y + tensors[f"{name}.bias"], 0)

    def linear(x, name):
        return x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]

    z = convolve(convolve(x, "encoder.0"), "encoder.1").reshape(len(x), -1)
    layer = 0
    while f"trunk.{layer}.weight" in tensors:
        z = np.maximum(linear(z, f"trunk.{layer}"), 0)
        layer += 1
    answers = [
        linear(np.maximum(linear(z, f"heads.{name}.0"), 0), f"heads.{name}.1")[:, 0]
        for name in ("kappa", "theta", "sigma", "rho", "v0")]
    free = tensors["scaling.parameter_mean"] + tensors["scaling.parameter_deviation"] * np.stack(answers, 1)
    parameters = np.exp(free)
    parameters[:, 3] = np.tanh(free[:, 3])
    logarithms = linear(np.maximum(linear(z, "surface.0"), 0), "surface.1").reshape(surfaces.shape) * deviation + mean
    return parameters, np.exp(0.5 * (logarithms - np.log(tau)))


def inverse(port, path):
    client = triton.InferenceServerClient(f"127.0.0.1:{port}")
    call = common("heston-inverter-service", port, client, ["heston_inverse"])
    metadata = client.get_model_metadata("heston_inverse")
    check("the network's input is described", list(metadata.inputs[0].shape) == [-1, 5, 6], metadata.inputs)
    properties = call("inference.GRPCInferenceService/ModelMetadata", name="heston_inverse").properties
    check("and where it comes from", properties["preset"] == "crypto", dict(properties))
    grid, maturities = np.array([-0.4, -0.2, 0, 0.2, 0.4]), np.array([0.05, 0.1, 0.25, 0.5, 1, 2])
    places = [(k, t) for k in grid for t in maturities]
    truths = [(2, 0.3, 1.2, -0.3, 0.25), (4, 0.5, 2, 0.1, 0.9), (1, 0.1, 0.8, -0.5, 0.15)]
    surfaces = []
    for truth in truths:
        prices = call(
            "vomma.v1.HestonInverter/Price", spot=1, strikes=[np.exp(k) for k, _ in places],
            tau=[t for _, t in places], parameters=dict(zip(("kappa", "theta", "sigma", "rho", "v0"), truth))).prices
        surfaces.append(call(
            "vomma.v1.HestonInverter/ImpliedVolatility", spot=1, prices=prices, strikes=[np.exp(k) for k, _ in places],
            tau=[t for _, t in places]).implied_volatility)
    surfaces = np.array(surfaces).reshape(3, 5, 6)
    surfaces[1, 0, 0] = surfaces[2, :, 5] = np.nan
    answer = client.infer("heston_inverse", [tensor("implied_volatility", surfaces)], client_timeout=60)
    parameters, redrawn = inverse_by_numpy(read_safetensors(path), surfaces)
    error = np.abs(answer.as_numpy("parameters") / parameters - 1).max()
    check("the network's parameters are NumPy's, from its file", error < 1e-5, error)
    error = np.abs(answer.as_numpy("reconstruction") / redrawn - 1).max()
    check("and so are its redrawn surfaces", error < 1e-5, error)
    check("deviations and novelty are positive",
          (answer.as_numpy("deviations") > 0).all() and (answer.as_numpy("novelty") > 0).all())
    for row, truth in enumerate(truths):
        cells = [1 if np.isnan(v) else 2 for v in surfaces[row].ravel()]
        surface = dict(
            log_moneyness=grid, tau=maturities, implied_volatility=surfaces[row].ravel(), cells=cells, spot=1,
            forwards=[1] * 6, method="model")
        polished = call("vomma.v1.HestonInverter/Invert", surface=surface)
        found = [getattr(polished.parameters, name) for name in ("kappa", "theta", "sigma", "rho", "v0")]
        check(f"surface {row}: the usual answer is polished and true",
              polished.method == 3 and np.abs(np.array(found) - truth).max() < 1e-4, found)
        said = [getattr(polished.network.parameters, name) for name in ("kappa", "theta", "sigma", "rho", "v0")]
        check(f"surface {row}: and has the network's beside it", np.allclose(said, answer.as_numpy("parameters")[row]))
        check(f"surface {row}: which is worse", polished.network.rmse_volatility > polished.rmse_volatility)
        raw = call("vomma.v1.HestonInverter/Invert", surface=surface, method=2)
        check(f"surface {row}: the network alone says the same",
              raw.model_version == "heston_inverse-1" and raw.parameters == polished.network.parameters)
    described = call("vomma.v1.HestonInverter/DescribeModel")
    check("the service tells its methods", list(described.methods) == [1, 2, 3] and described.default_method == 3)
    ended, text = refusal(lambda: client.infer(
        "heston_inverse", [tensor("implied_volatility", -np.ones((1, 5, 6)))], client_timeout=60))
    check("a negative volatility is refused", ended == "StatusCode.INVALID_ARGUMENT" and "batch 0" in text, text)


def embedding(port):
    client = triton.InferenceServerClient(f"127.0.0.1:{port}")
    random = np.random.default_rng(3)
    returns = np.stack([5e-4 * random.standard_normal(30), 5e-3 * random.standard_normal(30)])
    answer = client.infer("regime_embedding", [tensor("returns", returns)], client_timeout=60)
    found = answer.as_numpy("embedding")
    check("a regime embedding has five numbers", found.shape == (2, 5) and np.isfinite(found).all(), found.shape)
    check("and sees which half hour was wilder", found[1, 4] > found[0, 4] > 0, list(found[:, 4]))
    returns[1] = 0
    ended, text = refusal(lambda: client.infer("regime_embedding", [tensor("returns", returns)], client_timeout=60))
    check("returns that do not move are refused", ended == "StatusCode.INVALID_ARGUMENT" and "batch 1" in text, text)


def policy(port):
    client = triton.InferenceServerClient(f"127.0.0.1:{port}")
    call = common("policy-service", port, client, ["policy"])
    metadata = client.get_model_metadata("policy")
    shapes = {item.name: list(item.shape) for item in metadata.inputs}
    wanted = {"values": [-1, 2, 3], "mask": [-1, 3], "previous_exposure": [-1]}
    check("the policy's inputs are described", shapes == wanted and list(metadata.versions) == ["2"], shapes)
    check("the registered version is ready by its number", client.is_model_ready("policy", "2"))
    check("the version before is not", not client.is_model_ready("policy", "1"))
    random = np.random.default_rng(7)
    values = random.standard_normal((5, 2, 3)).astype(np.float32)
    mask = random.random((5, 3)) < 0.7
    previous = random.uniform(-1, 1, 5).astype(np.float32)
    inputs = [tensor("values", values), tensor("mask", mask), tensor("previous_exposure", previous)]
    answer = client.infer(
        "policy", inputs, model_version="2", parameters={"normaliser_id": "norm"}, client_timeout=60)
    described = call("vomma.v1.PolicyService/DescribePolicy")
    check("it is the policy of DescribePolicy", described.model_version == 2 and described.normaliser_id == "norm")
    check("the answer says its version", answer.get_response().model_version == "2")
    for row in range(5):
        decision = call(
            "vomma.v1.PolicyService/Decide", previous_exposure=previous[row], state=dict(
                stream="s", symbol="S", schema_version="schema", normaliser_id="norm", window=2, filled=2,
                values=values[row].ravel(), mask=bytes(3) + bytes(map(int, mask[row])))
        )
        same = all(
            answer.as_numpy(name)[row] == np.float32(getattr(decision, name))
            for name in ("target_exposure", "value", "confidence"))
        check(f"row {row} is what Decide answers, to the bit", same)
    check("contributions of 3 features and the exposure", answer.as_numpy("contributions").shape == (5, 4))
    ended, text = refusal(lambda: client.infer("policy", inputs, parameters={"normaliser_id": "x"}, client_timeout=60))
    check("states of another normaliser are refused", ended == "StatusCode.FAILED_PRECONDITION" and "norm" in text, text)
    ended, text = refusal(lambda: client.infer("policy", inputs, model_version="1", client_timeout=60))
    check("a retired version is NOT_FOUND", ended == "StatusCode.NOT_FOUND" and "2 is" in text, text)
    values[1, 0, 2] = np.nan
    ended, text = refusal(lambda: client.infer("policy", [tensor("values", values)] + inputs[1:], client_timeout=60))
    check("a state that is not finite is refused", ended == "StatusCode.INVALID_ARGUMENT" and "batch 1" in text, text)


def regimes(port):
    client = triton.InferenceServerClient(f"127.0.0.1:{port}")
    call = common("regime-sentiment-service", port, client, ["regime", "sentiment"])

    observations = np.array([[0.1], [-0.4], [7.0], [-5.0], [0.2]])
    expected = call("vomma.v1.RegimeSentiment/FilterRegime", observations=observations.ravel())
    answer = client.infer("regime", [tensor("observations", observations)], client_timeout=60)
    posteriors = answer.as_numpy("posteriors")
    check("posteriors are FilterRegime's, to the bit", (posteriors.ravel() == np.array(expected.posteriors)).all())
    check("each row adds up to 1", np.abs(posteriors.sum(axis=1) - 1).max() < 1e-12)
    check("a large move is the wilder state's", posteriors[2, 1] > 0.99 and posteriors[0, 1] < 0.5, posteriors[2, 1])
    rest = client.infer(
        "regime", [tensor("observations", observations[3:]), tensor("posterior", posteriors[2])], client_timeout=60)
    check("it goes on from a posterior, to the bit", (rest.as_numpy("posteriors") == posteriors[3:]).all())
    observations[1, 0] = np.nan
    ended, text = refusal(lambda: client.infer("regime", [tensor("observations", observations)], client_timeout=60))
    check("an observation that is not finite is refused", ended == "StatusCode.INVALID_ARGUMENT", text)
    ended, text = refusal(lambda: client.infer("regime", [tensor("observations", np.ones((2, 3)))], client_timeout=60))
    check("observations of three columns are refused", ended == "StatusCode.INVALID_ARGUMENT", text)

    texts = ["to the moon, very bullish", "crash, dump and panic", "", "naïve café ₿"]
    scored = call("vomma.v1.RegimeSentiment/ScoreText", messages=[dict(text=text) for text in texts])
    sentiment = client.infer(
        "sentiment", [tensor("text", np.array([text.encode() for text in texts], dtype=object))], client_timeout=60)
    same = all(
        sentiment.as_numpy(name)[row] == getattr(scored.scores[row], name)
        for row in range(len(texts)) for name in ("score", "bearish", "neutral", "bullish"))
    check("sentiment is ScoreText's, to the bit", same)
    scores = sentiment.as_numpy("score")
    check("and has the sign it should have", bool(scores[0] > 0 > scores[1]), list(scores[:2]))
    ended, text = refusal(lambda: client.infer(
        "sentiment", [tensor("text", np.array([b"\xff"], dtype=object))], client_timeout=60))
    check("a text that is not UTF-8 is refused", ended == "StatusCode.INVALID_ARGUMENT" and "0" in text, text)


heston(int(sys.argv[1]))
inverse(int(sys.argv[1]), sys.argv[4])
embedding(int(sys.argv[1]))
policy(int(sys.argv[2]))
regimes(int(sys.argv[3]))
sys.exit(1 if failures else 0)
