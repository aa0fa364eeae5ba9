"""The messages of vomma/testing/v1/interop.proto, from its descriptor: a file with a serialized FileDescriptorProto."""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "vomma.testing.v1."
SERVICE = f"/{PACKAGE}Interop/"


class Messages:
    """Each message of the file by its name: `messages.UnaryRequest(response_size=7)`."""

    def __init__(self, path):
        pool = descriptor_pool.DescriptorPool()
        with open(path, "rb") as file:
            description = descriptor_pb2.FileDescriptorProto.FromString(file.read())
        pool.Add(description)
        for message in description.message_type:
            descriptor = pool.FindMessageTypeByName(PACKAGE + message.name)
            # protobuf 4.22 and later, or before.
            if hasattr(message_factory, "GetMessageClass"):
                made = message_factory.GetMessageClass(descriptor)
            else:
                made = message_factory.MessageFactory(pool).GetPrototype(descriptor)
            setattr(self, message.name, made)

    def of(self, method):
        """Request and response of a method."""
        return {
            "EmptyCall": (self.InteropEmpty, self.InteropEmpty),
            "UnaryCall": (self.UnaryRequest, self.UnaryResponse),
            "StreamingOutputCall": (self.OutputRequest, self.OutputResponse),
            "StreamingInputCall": (self.InputRequest, self.InputResponse),
            "FullDuplexCall": (self.OutputRequest, self.OutputResponse),
            "UnimplementedCall": (self.InteropEmpty, self.InteropEmpty),
        }[method]
