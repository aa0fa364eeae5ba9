"""Judges a server that offers vomma.testing.v1.Interop by Python's grpcio, in the manner of gRPC's interop client.

    /usr/bin/python3 interop_client.py PORT DESCRIPTOR [--limit BYTES] [--gzip]

DESCRIPTOR is a file with the serialized FileDescriptorProto of interop.proto; --limit is the longest request that the
server accepts, --gzip compresses what is sent. Prints one line a check, and exits 1 if one fails. Needs grpcio and
protobuf (Debian's, or PyPI's of any version since).
"""

import argparse
import concurrent.futures
import queue
import sys
import time

import grpc

import interop_messages

OK = grpc.StatusCode.OK
UNICODE = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"
failures = 0


def check(name, ok, detail=""):
    global failures
    failures += not ok
    print(("ok " if ok else "FAIL ") + name + (f": {detail}" if detail != "" else ""), flush=True)


def status(call):
    """How a call ends: code and message."""
    try:
        call()
        return OK, ""
    except grpc.RpcError as error:
        return error.code(), error.details()


class Peer:
    def __init__(self, port, messages, compression):
        limits = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self.messages = messages
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=limits, compression=compression)

        def stub(kind, name):
            request, response = messages.of(name)
            return kind(
                interop_messages.SERVICE + name, request_serializer=request.SerializeToString,
                response_deserializer=response.FromString)

        self.empty = stub(self.channel.unary_unary, "EmptyCall")
        self.unary = stub(self.channel.unary_unary, "UnaryCall")
        self.output = stub(self.channel.unary_stream, "StreamingOutputCall")
        self.input = stub(self.channel.stream_unary, "StreamingInputCall")
        self.duplex = stub(self.channel.stream_stream, "FullDuplexCall")
        self.unimplemented = stub(self.channel.unary_unary, "UnimplementedCall")

    def payload(self, body):
        return self.messages.InteropPayload(body=body)

    def order(self, *sizes, interval=0, **others):
        """A request for responses of these sizes, with a pause before each, in microseconds."""
        parameters = [self.messages.ResponseParameters(size=size, interval_microseconds=interval) for size in sizes]
        return self.messages.OutputRequest(responses=parameters, **others)


class Requests:
    """A stream of requests that goes on as long as its owner says."""

    def __init__(self):
        self.queue = queue.Queue()

    def send(self, request):
        self.queue.put(request)

    def end(self):
        self.queue.put(None)

    def __iter__(self):
        return iter(self.queue.get, None)


# ------------------------------------------------------------------------------------- the cases of gRPC's own client

def empty_unary(peer):
    answer = peer.empty(peer.messages.InteropEmpty(), timeout=20)
    check("empty_unary", answer == peer.messages.InteropEmpty())


def large_unary(peer):
    answer = peer.unary(
        peer.messages.UnaryRequest(response_size=314159, payload=peer.payload(bytes(271828))), timeout=20)
    check("large_unary", answer.payload.body == bytes(314159) and answer.request_size == 271828)


def client_streaming(peer):
    sizes = (27182, 8, 1828, 45904)
    requests = [peer.messages.InputRequest(payload=peer.payload(bytes(size))) for size in sizes]
    check("client_streaming", peer.input(iter(requests), timeout=20).total_size == 74922)


def server_streaming(peer):
    sizes = [31415, 9, 2653, 58979]
    answers = peer.output(peer.order(*sizes), timeout=20)
    check("server_streaming", [answer.payload.body for answer in answers] == [bytes(size) for size in sizes])


def ping_pong(peer):
    requests = Requests()
    answers = peer.duplex(iter(requests), timeout=20)
    right = True
    for asked, sent in ((31415, 27182), (9, 8), (2653, 1828), (58979, 45904)):
        requests.send(peer.order(asked, payload=peer.payload(bytes(sent))))
        right &= next(answers).payload.body == bytes(asked)
    requests.end()
    check("ping_pong", right and list(answers) == [] and answers.code() == OK)


def empty_stream(peer):
    answers = peer.duplex(iter([]), timeout=20)
    check("empty_stream", list(answers) == [] and answers.code() == OK)


def cancel_after_begin(peer):
    call = peer.input.future(iter(Requests()))
    call.cancel()
    check("cancel_after_begin", call.cancelled() and call.code() == grpc.StatusCode.CANCELLED, call.code())


def cancel_after_first_response(peer):
    requests = Requests()
    answers = peer.duplex(iter(requests), timeout=20)
    requests.send(peer.order(31415, payload=peer.payload(bytes(27182))))
    first = next(answers).payload.body
    answers.cancel()
    ended = status(lambda: next(answers))[0]
    requests.end()
    check("cancel_after_first_response", first == bytes(31415) and ended == grpc.StatusCode.CANCELLED, ended)


def timeout_on_sleeping_server(peer):
    requests = Requests()
    answers = peer.duplex(iter(requests), timeout=0.001)
    requests.send(peer.order(9, interval=50_000, payload=peer.payload(bytes(27182))))
    ended = status(lambda: next(answers))[0]
    requests.end()
    check("timeout_on_sleeping_server", ended == grpc.StatusCode.DEADLINE_EXCEEDED, ended)


def custom_metadata(peer):
    sent = (("x-echo-initial", "test_initial_metadata_value"), ("x-echo-trailing-bin", b"\x0a\x0b\x0a\x0b\xff\x00"))

    def right(call):
        return (dict(call.initial_metadata()).get(sent[0][0]) == sent[0][1]
                and dict(call.trailing_metadata()).get(sent[1][0]) == sent[1][1])

    request = peer.messages.UnaryRequest(response_size=314159, payload=peer.payload(bytes(271828)))
    _, call = peer.unary.with_call(request, metadata=sent, timeout=20)
    check("custom_metadata of a unary call", right(call), (call.initial_metadata(), call.trailing_metadata()))
    call = peer.duplex(iter([peer.order(314159, payload=peer.payload(bytes(271828)))]), metadata=sent, timeout=20)
    sizes = [len(answer.payload.body) for answer in call]
    check("custom_metadata of a stream", right(call) and sizes == [314159], sizes)
    for length in range(7):
        value = bytes(range(250, 250 + length)) if length < 6 else bytes(1000)
        _, call = peer.unary.with_call(
            peer.messages.UnaryRequest(), metadata=(("x-echo-trailing-bin", value),), timeout=20)
        echoed = dict(call.trailing_metadata()).get("x-echo-trailing-bin")
        check(f"binary metadata, {len(value)} bytes", echoed == value, echoed)


def status_code_and_message(peer):
    ordered = peer.messages.InteropStatus(code=2, message="test status message")
    wanted = (grpc.StatusCode.UNKNOWN, "test status message")
    ended = status(lambda: peer.unary(peer.messages.UnaryRequest(status=ordered), timeout=20))
    check("status_code_and_message of a unary call", ended == wanted, ended)
    ended = status(lambda: list(peer.duplex(iter([peer.order(status=ordered)]), timeout=20)))
    check("status_code_and_message of a stream", ended == wanted, ended)


def special_status_message(peer):
    for code in grpc.StatusCode:
        if code == OK:
            continue
        for message in (UNICODE, "", "100 % %41 %zz"):
            ordered = peer.messages.InteropStatus(code=code.value[0], message=message)
            ended = status(lambda: peer.unary(peer.messages.UnaryRequest(status=ordered), timeout=20))
            check(f"special_status_message, {code.name} {message!r}", ended == (code, message), ended)


def status_details(peer):
    """google.rpc.Status beside the status, as grpcio-status reads it: of a unary call, and after responses."""
    for count in (0, 1, 40):
        rich = peer.messages.Rich(code=9, message=UNICODE)
        for index in range(count):
            rich.details.add(type_url=f"type.googleapis.com/google.rpc.Help{index}", value=bytes(range(index, 60)))
        ordered = peer.messages.InteropStatus(code=9, message=UNICODE, details=rich.SerializeToString())
        for name, call in (
                ("a unary call", lambda: peer.unary(peer.messages.UnaryRequest(status=ordered), timeout=20)),
                ("a stream", lambda: list(peer.duplex(iter([peer.order(3, status=ordered)]), timeout=20)))):
            try:
                call()
                check(f"status_details of {name}", False, "no error")
            except grpc.RpcError as error:
                came = dict(error.trailing_metadata()).get(interop_messages.DETAILS)
                right = came is not None and peer.messages.Rich.FromString(came) == rich
                check(f"status_details of {name}, {count} of them", right and error.details() == UNICODE, came)


def unimplemented_method(peer):
    ended = status(lambda: peer.unimplemented(peer.messages.InteropEmpty(), timeout=20))[0]
    check("unimplemented_method", ended == grpc.StatusCode.UNIMPLEMENTED, ended)


def unimplemented_service(peer):
    stub = peer.channel.unary_unary(f"/{interop_messages.PACKAGE}UnimplementedInterop/UnimplementedCall")
    ended = status(lambda: stub(b"", timeout=20))[0]
    check("unimplemented_service", ended == grpc.StatusCode.UNIMPLEMENTED, ended)


# --------------------------------------------------------------------------------------------------- and more of ours

def compression(peer):
    """client_compressed_unary, client_compressed_streaming and their opposites; who asks for them sees the traffic."""
    gzip = grpc.Compression.Gzip
    body = b"the price of an option " * 20_000
    request = peer.messages.UnaryRequest(payload=peer.payload(body))
    for chosen in (gzip, grpc.Compression.NoCompression, grpc.Compression.Deflate):
        try:
            answer = peer.unary(request, compression=chosen, timeout=20)
            check(f"client_compressed_unary, {chosen.name}", answer.payload.body == body)
        except grpc.RpcError as error:
            refused = chosen == grpc.Compression.Deflate and error.code() == grpc.StatusCode.UNIMPLEMENTED
            check(f"client_compressed_unary, {chosen.name}", refused, error)
    asked = peer.messages.UnaryRequest(response_size=314159)
    check("server_compressed_unary", peer.unary(asked, timeout=20).payload.body == bytes(314159))
    requests = [peer.messages.InputRequest(payload=peer.payload(bytes(size))) for size in (27182, 8, 1828, 45904)]
    check("client_compressed_streaming", peer.input(iter(requests), compression=gzip, timeout=20).total_size == 74922)
    answers = [len(answer.payload.body) for answer in peer.output(peer.order(31415, 0, 92653), timeout=20)]
    check("server_compressed_streaming", answers == [31415, 0, 92653], answers)
    orders = [peer.order(size, payload=peer.payload(body)) for size in (58979, 1, 31415)]
    answers = [len(answer.payload.body) for answer in peer.duplex(iter(orders), compression=gzip, timeout=20)]
    check("compressed both ways in one stream", answers == [58979, 1, 31415], answers)


def sizes(peer):
    for size in (0, 1, 100, 16384, 65536, 1 << 20, (4 << 20) - 100):
        body = bytes(range(256)) * (size // 256) + bytes(size % 256)
        answer = peer.unary(peer.messages.UnaryRequest(payload=peer.payload(body)), timeout=20)
        check(f"{size} bytes come back", answer.payload.body == body)


def long_streams(peer):
    requests = [peer.order(i * 37 % 5000, payload=peer.payload(bytes(i * 31 % 5000))) for i in range(1000)]
    answers = [len(answer.payload.body) for answer in peer.duplex(iter(requests), timeout=60)]
    check("1000 requests and 1000 answers", answers == [i * 37 % 5000 for i in range(1000)])
    answers = [len(answer.payload.body) for answer in peer.output(peer.order(*range(2000)), timeout=60)]
    check("2000 answers", answers == list(range(2000)))
    call = peer.output(peer.order(*([60_000] * 2000)), timeout=60)
    first = [len(next(call).payload.body) for _ in range(50)]
    call.cancel()
    check("120 MB that nobody reads, then cancelled", first == [60_000] * 50)


def many_calls(peer):
    bodies = [str(i).encode() for i in range(2000)]
    futures = [peer.unary.future(peer.messages.UnaryRequest(payload=peer.payload(body))) for body in bodies]
    check("2000 calls at once", [future.result().payload.body for future in futures] == bodies)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: peer.unary(peer.messages.UnaryRequest(response_size=i)), range(1, 1000)))
    check("calls of 8 threads", [len(answer.payload.body) for answer in answers] == list(range(1, 1000)))


def cancellations(peer):
    for _ in range(200):
        peer.input.future(iter([])).cancel()
        requests = Requests()
        peer.input.future(iter(requests)).cancel()
        requests.end()
    ended = status(lambda: peer.empty(peer.messages.InteropEmpty(), timeout=20))[0]
    check("a call after 400 cancellations", ended == OK, ended)


def deadlines(peer):
    begun = time.monotonic()
    ended = status(lambda: list(peer.output(peer.order(1, interval=60_000_000), timeout=0.05)))[0]
    check("a deadline ends a waiting call", ended == grpc.StatusCode.DEADLINE_EXCEEDED, ended)
    check("and does so in time", time.monotonic() - begun < 30)


def limit(peer, longest):
    # Field 15 is none of the message's: one byte of tag, four of length, then so many.
    def ended(size):
        length = size - 5
        head = bytes((length >> shift) & 0x7F | (0x80 if shift < 21 else 0) for shift in (0, 7, 14, 21))
        stub = peer.channel.unary_unary(interop_messages.SERVICE + "EmptyCall")
        return status(lambda: stub(b"\x7a" + head + bytes(length), timeout=60))[0]

    check("a request of the limit is read", ended(longest) == OK)
    check("one byte more is RESOURCE_EXHAUSTED", ended(longest + 1) == grpc.StatusCode.RESOURCE_EXHAUSTED)


def main(port, descriptor, longest=None, gzip=False):
    compression_of_all = grpc.Compression.Gzip if gzip else grpc.Compression.NoCompression
    peer = Peer(port, interop_messages.Messages(descriptor), compression_of_all)
    for case in (
            empty_unary, large_unary, client_streaming, server_streaming, ping_pong, empty_stream, cancel_after_begin,
            cancel_after_first_response, timeout_on_sleeping_server, custom_metadata, status_code_and_message,
            special_status_message, status_details, unimplemented_method, unimplemented_service, compression, sizes,
            long_streams, many_calls, cancellations, deadlines):
        try:
            case(peer)
        except Exception as error:  # pylint: disable=broad-except
            check(case.__name__, False, repr(error))
    if longest:
        limit(peer, longest)
    peer.channel.close()
    print(f"grpcio {grpc.__version__}")
    return 1 if failures else 0


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("port", type=int)
    arguments.add_argument("descriptor")
    arguments.add_argument("--limit", type=int)
    arguments.add_argument("--gzip", action="store_true")
    given = arguments.parse_args()
    sys.exit(main(given.port, given.descriptor, given.limit, given.gzip))
