"""Python's grpcio as the other end of mutual TLS, with bare bytes in place of messages.

    tls.py client <folder> <port>     calls the health service of a server on loopback with several identities
    tls.py server <folder>            is a health service itself, prints its port and serves until its input ends

The folder is one of TestCertificates (Sources/TestKit).
"""
import sys
from concurrent import futures

import grpc

CHECK = "/grpc.health.v1.Health/Check"
SERVING = b"\x08\x01"


def read(folder, name):
    with open(f"{folder}/{name}", "rb") as file:
        return file.read()


def check(address, credentials):
    """The health service's answer, or the call's status."""
    with grpc.secure_channel(address, credentials) as channel:
        try:
            return channel.unary_unary(CHECK)(b"", timeout=10)
        except grpc.RpcError as error:
            return error.code()


def client(folder, port):
    def credentials(identity, authority="ca"):
        return grpc.ssl_channel_credentials(
            read(folder, f"{authority}.pem"), identity and read(folder, f"{identity}.key"),
            identity and read(folder, f"{identity}.pem"))

    unavailable = grpc.StatusCode.UNAVAILABLE
    for what, address, used, wanted in [
        ("by name", f"localhost:{port}", credentials("client"), SERVING),
        ("by address", f"127.0.0.1:{port}", credentials("client"), SERVING),
        ("without a certificate", f"localhost:{port}", credentials(None), unavailable),
        ("with another authority's", f"localhost:{port}", credentials("foreign"), unavailable),
        ("trusting another authority", f"localhost:{port}", credentials("client", "foreign-ca"), unavailable),
    ]:
        got = check(address, used)
        if got != wanted:
            sys.exit(f"{what}: {got}, {wanted} is wanted")
        print("ok", what)


def server(folder):
    handler = grpc.method_handlers_generic_handler(
        "grpc.health.v1.Health", {"Check": grpc.unary_unary_rpc_method_handler(lambda request, context: SERVING)})
    running = grpc.server(futures.ThreadPoolExecutor(2))
    running.add_generic_rpc_handlers((handler,))
    port = running.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials(
        [(read(folder, "server.key"), read(folder, "server.pem"))], read(folder, "ca.pem"),
        require_client_auth=True))
    running.start()
    print("listening", f"port={port}", flush=True)
    sys.stdin.read()
    running.stop(None).wait()


if sys.argv[1] == "client":
    client(sys.argv[2], sys.argv[3])
else:
    server(sys.argv[2])
