"""The messages of vomma/testing/v1/interop.proto, from its descriptor: a file with a serialized FileDescriptorProto."""

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "vomma.testing.v1."
SERVICE = f"/{PACKAGE}Interop/"
DETAILS = "grpc-status-details-bin"


def message_class(pool, descriptor):
    # protobuf 4.22 and later, or before.
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(descriptor)
    return message_factory.MessageFactory(pool).GetPrototype(descriptor)


def rich_status():
    """google.rpc.Status, described by hand: Debian's protobuf does not bring it."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="rich.proto", package="google.rpc", syntax="proto3")
    file.dependency.append(any_pb2.DESCRIPTOR.name)
    status = file.message_type.add(name="Status")
    status.field.add(name="code", number=1, label=field.LABEL_OPTIONAL, type=field.TYPE_INT32)
    status.field.add(name="message", number=2, label=field.LABEL_OPTIONAL, type=field.TYPE_STRING)
    status.field.add(
        name="details", number=3, label=field.LABEL_REPEATED, type=field.TYPE_MESSAGE,
        type_name=".google.protobuf.Any")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(any_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_class(pool, pool.FindMessageTypeByName("google.rpc.Status"))


class Messages:
    """Each message of the file by its name: `messages.UnaryRequest(response_size=7)`."""

    def __init__(self, path):
        self.Rich = rich_status()
        pool = descriptor_pool.DescriptorPool()
        with open(path, "rb") as file:
            description = descriptor_pb2.FileDescriptorProto.FromString(file.read())
        pool.Add(description)
        for message in description.message_type:
            descriptor = pool.FindMessageTypeByName(PACKAGE + message.name)
            setattr(self, message.name, message_class(pool, descriptor))

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
