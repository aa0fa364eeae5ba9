"""Judges a running RPC server by Python's grpcio, as a client that knows nothing of us.

    python3 check.py PORT

The server has a service `peer.Echo` whose messages are plain bytes: Unary (echo), Stream (the request for ever),
Bidi (echo), Collect (total byte count as text), Fail (NOT_FOUND, "nö €", trailer t=1), Hang (never answers).
Prints one line a check and exits 1 if one fails. Needs grpcio only.
"""

import concurrent.futures
import sys
import time

import grpc

SERVICE = "/peer.Echo/"
failures = 0


def check(name, ok, detail=""):
    global failures
    failures += not ok
    print(("ok   " if ok else "FAIL ") + name, detail if not ok else "", flush=True)


def code(call):
    try:
        call()
        return grpc.StatusCode.OK
    except grpc.RpcError as error:
        return error.code()


def main(port):
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=options)
    unary = channel.unary_unary(SERVICE + "Unary")
    for size in (0, 1, 100, 16384, 65536, 1 << 20, (4 << 20)):
        message = bytes(range(256)) * (size // 256) + bytes(size % 256)
        check(f"unary {size} bytes", unary(message, timeout=20) == message)
    check("message over 4 MiB", code(lambda: unary(bytes((4 << 20) + 1))) == grpc.StatusCode.RESOURCE_EXHAUSTED)

    futures = [unary.future(str(i).encode()) for i in range(3000)]
    check("3000 concurrent calls", [f.result() for f in futures] == [str(i).encode() for i in range(3000)])

    bidi = channel.stream_stream(SERVICE + "Bidi")
    sent = [bytes([i % 256]) * (i * 37 % 5000) for i in range(1000)]
    check("bidirectional, 1000 messages", list(bidi(iter(sent))) == sent)
    check("bidirectional, none", list(bidi(iter([]))) == [])
    collect = channel.stream_unary(SERVICE + "Collect")
    check("client streaming", collect(iter(sent)) == str(sum(map(len, sent))).encode())

    stream = channel.unary_stream(SERVICE + "Stream")(bytes(10000))
    first = [next(stream) for _ in range(500)]
    stream.cancel()
    check("server streaming, then cancelled", all(m == bytes(10000) for m in first))

    try:
        channel.unary_unary(SERVICE + "Fail")(b"")
        check("failure", False, "no error")
    except grpc.RpcError as error:
        check("failure", (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "nö €"), repr(error))
        check("trailing metadata", ("t", "1") in [tuple(t) for t in error.trailing_metadata()])
    check("unknown method", code(lambda: channel.unary_unary(SERVICE + "None")(b"")) == grpc.StatusCode.UNIMPLEMENTED)
    check("unknown service", code(lambda: channel.unary_unary("/x/Y")(b"")) == grpc.StatusCode.UNIMPLEMENTED)
    gzipped = lambda: unary(bytes(1000), compression=grpc.Compression.Gzip)
    check("gzip is refused", code(gzipped) == grpc.StatusCode.UNIMPLEMENTED)

    hang = channel.unary_unary(SERVICE + "Hang")
    begun = time.monotonic()
    check("deadline", code(lambda: hang(b"", timeout=0.05)) == grpc.StatusCode.DEADLINE_EXCEEDED)
    check("deadline is prompt", time.monotonic() - begun < 5)
    for _ in range(200):
        hang.future(b"").cancel()
    check("a call after 200 cancellations", unary(b"after", timeout=20) == b"after")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda i: unary(bytes(i)), range(2000)))
    check("calls of 8 threads", [len(r) for r in results] == list(range(2000)))
    channel.close()
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
