"""vomma.testing.v1.Interop by Python's grpcio, for our client to judge and be judged by.

    /usr/bin/python3 interop_server.py DESCRIPTOR

Prints "listening port=…", and ends with its standard input. Needs grpcio and protobuf.
"""

import concurrent.futures
import sys
import threading

import grpc

import interop_messages


class Handlers(grpc.GenericRpcHandler):
    """Compresses its answers by gzip for who sends `x-compress`."""

    def __init__(self, messages):
        self.messages = messages
        self.kinds = {
            "EmptyCall": (grpc.unary_unary_rpc_method_handler, self.empty),
            "UnaryCall": (grpc.unary_unary_rpc_method_handler, self.unary),
            "StreamingOutputCall": (grpc.unary_stream_rpc_method_handler, self.output),
            "StreamingInputCall": (grpc.stream_unary_rpc_method_handler, self.input),
            "FullDuplexCall": (grpc.stream_stream_rpc_method_handler, self.duplex),
        }

    def service(self, details):
        if not details.method.startswith(interop_messages.SERVICE):
            return None
        name = details.method[len(interop_messages.SERVICE):]
        if name not in self.kinds:
            return None
        kind, body = self.kinds[name]
        request, response = self.messages.of(name)

        def handle(input, context):
            received = dict(context.invocation_metadata())
            if "x-echo-initial" in received:
                context.send_initial_metadata((("x-echo-initial", received["x-echo-initial"]),))
            if "x-echo-trailing-bin" in received:
                context.set_trailing_metadata((("x-echo-trailing-bin", received["x-echo-trailing-bin"]),))
            if "x-compress" in received:
                context.set_compression(grpc.Compression.Gzip)
            return body(input, context)

        return kind(
            handle, request_deserializer=request.FromString,
            response_serializer=lambda message: response.SerializeToString(message))

    def empty(self, request, context):
        return self.messages.InteropEmpty()

    def unary(self, request, context):
        self.end(request.status, context)
        body = bytes(request.response_size) if request.response_size else request.payload.body
        return self.messages.UnaryResponse(
            payload=self.messages.InteropPayload(body=body), request_size=len(request.payload.body))

    def output(self, request, context):
        over = threading.Event()
        context.add_callback(over.set)
        for order in request.responses:
            if order.interval_microseconds:
                over.wait(order.interval_microseconds / 1e6)
            yield self.messages.OutputResponse(payload=self.messages.InteropPayload(body=bytes(order.size)))
        self.end(request.status, context)

    def input(self, requests, context):
        return self.messages.InputResponse(total_size=sum(len(request.payload.body) for request in requests))

    def duplex(self, requests, context):
        for request in requests:
            yield from self.output(request, context)

    def end(self, status, context):
        if status.details:
            # As grpcio-status does it, beside what was set before.
            before = context.trailing_metadata() or ()
            context.set_trailing_metadata((*before, (interop_messages.DETAILS, status.details)))
        if status.code:
            context.abort(next(code for code in grpc.StatusCode if code.value[0] == status.code), status.message)


def main(descriptor):
    limits = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1), ("grpc.so_reuseport", 0)]
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(32), options=limits)
    server.add_generic_rpc_handlers((Handlers(interop_messages.Messages(descriptor)),))
    print(f"listening port={server.add_insecure_port('127.0.0.1:0')}", flush=True)
    server.start()
    sys.stdin.read()
    server.stop(None)


if __name__ == "__main__":
    main(sys.argv[1])
