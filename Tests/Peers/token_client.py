"""Shows a running heston-inverter-service a bearer token, and none, by Python's grpcio.

    /usr/bin/python3 token_client.py PORT TOKEN

The service knows TOKEN (VOMMA_TOKENS_FILE). Requests are empty messages, so that no .proto file is needed: what a call
with a token gets is the handler's INVALID_ARGUMENT. Prints one line a check, and exits 1 if one fails.
"""

import sys

import grpc

port, token = sys.argv[1:]
failures = 0
channel = grpc.insecure_channel(f"127.0.0.1:{port}")


def check(name, ok, detail):
    global failures
    failures += not ok
    print(("ok   " if ok else "FAIL ") + f"{name}: {detail}", flush=True)


def call(method, *metadata):
    """Code, message and bytes of a unary call with an empty request."""
    stub = channel.unary_unary(method, request_serializer=bytes, response_deserializer=bytes)
    try:
        return grpc.StatusCode.OK, "", stub(b"", timeout=10, metadata=metadata)
    except grpc.RpcError as error:
        return error.code(), error.details(), b""


def reflect(*metadata):
    """The code of a call that lists the services by reflection, and what came."""
    stub = channel.stream_stream(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", request_serializer=bytes,
        response_deserializer=bytes)
    try:
        return grpc.StatusCode.OK, b"".join(stub(iter([b"\x3a\x00"]), timeout=10, metadata=metadata))
    except grpc.RpcError as error:
        return error.code(), b""


price, health = "/vomma.v1.HestonInverter/Price", "/grpc.health.v1.Health/Check"
shown = ("authorization", "Bearer " + token)
for name, metadata in [
    ("no token", []), ("another token", [("authorization", "Bearer " + token[:-1] + "x")]),
    ("another scheme", [("authorization", "Basic " + token)]),
    ("another key", [("x-authorization", "Bearer " + token)]),
]:
    code, message, _ = call(price, *metadata)
    check(name, code == grpc.StatusCode.UNAUTHENTICATED and "Bearer <token>" in message, f"{code.name}: {message}")
    check(f"{name}: nothing told of a method that is not there",
          call("/vomma.v1.HestonInverter/Nothing", *metadata)[0] == grpc.StatusCode.UNAUTHENTICATED, "")
    check(f"{name}: no reflection", reflect(*metadata)[0] == grpc.StatusCode.UNAUTHENTICATED, "")
    code, _, answer = call(health, *metadata)
    check(f"{name}: health", code == grpc.StatusCode.OK and answer == b"\x08\x01", answer)

code, message, _ = call(price, shown)
check("the token", code == grpc.StatusCode.INVALID_ARGUMENT, f"{code.name}: {message}")
code, _, _ = call("/vomma.v1.HestonInverter/Nothing", shown)
check("the token: a method that is not there", code == grpc.StatusCode.UNIMPLEMENTED, code.name)
code, answer = reflect(shown)
check("the token: reflection", b"vomma.v1.HestonInverter" in answer, code.name)
check("the token: health", call(health, shown)[2] == b"\x08\x01", "")
sys.exit(failures > 0)
