"""What Google's protobuf makes of bytes, for comparison with ours.

    messages.py DESCRIPTOR CASES ANSWERS SEED COUNT

DESCRIPTOR holds the FileDescriptorProto of vomma/testing/v1/testing.proto. A line of CASES is `type hex`; for each of
them, and for COUNT more that are drawn here (random messages, most of them damaged), ANSWERS gets `type hex answer`:
`refused`, `text` where it is refused for a text that is not UTF-8, or the message written again.
"""
import random
import struct
import sys
import warnings

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory
from google.protobuf.descriptor import FieldDescriptor as F

warnings.simplefilter("ignore")
descriptor, cases, answers, seed, count = sys.argv[1:]
source = random.Random(int(seed))
NAMES = ("Everything", "EveryKey", "Tree", "Nothing", "OldEverything")


def classes(proto):
    pool = descriptor_pool.DescriptorPool()
    pool.Add(proto)
    factory = message_factory.MessageFactory(pool)
    return {n: factory.GetPrototype(pool.FindMessageTypeByName("vomma.testing.v1." + n)) for n in NAMES}


def without_texts(messages):
    """The same wire form with bytes for texts, so that one sees what else is wrong."""
    for item in messages:
        item.options.Clear()
        for field in item.field:
            if field.type == field.TYPE_STRING:
                field.type = field.TYPE_BYTES
        without_texts(item.nested_type)


with open(descriptor, "rb") as file:
    proto = descriptor_pb2.FileDescriptorProto.FromString(file.read())
types = classes(proto)
without_texts(proto.message_type)
textless = classes(proto)

SUFFIX = b"\xf8\xff\xff\xff\x0f\x01"  # the greatest field number there is: unknown to all


def read(kind, data):
    """The message; None where it is refused."""
    value = kind()
    try:
        value.ParseFromString(data)
        # Where a field has the number 0, or a group ends that has not begun, it stops without an error. Then it does
        # not come to what is behind.
        return value if kind().ParseFromString(data + SUFFIX) == len(data) + len(SUFFIX) else None
    except (message.DecodeError, UnicodeDecodeError):
        return None


def answer(name, data):
    value = read(types[name], data)
    if value is None:
        return "refused" if read(textless[name], data) is None else "text"
    touch(value)
    return value.SerializeToString(deterministic=True).hex() or "empty"


def touch(value):
    """Has its maps be maps: until somebody looks they are lists of entries, with all that the entries hold."""
    for field, member in value.ListFields():
        if not field.message_type:
            continue
        if not field.message_type.GetOptions().map_entry:
            for item in member if field.label == F.LABEL_REPEATED else [member]:
                touch(item)
        elif field.message_type.fields_by_name["value"].message_type:
            for key in list(member):
                touch(member[key])
        else:
            for key in list(member):
                member[key] = member[key]


def draw(field):
    def bits(n):
        return source.getrandbits(source.choice([1, 7, 8, n - 1, n]))

    def signed(n):
        value = bits(n)
        return value - (1 << n) if value >> (n - 1) else value

    if field.type == F.TYPE_DOUBLE:
        return source.choice([0.0, -0.0, 1.5, float("inf"), float("nan"), source.uniform(-1e9, 1e9)])
    if field.type == F.TYPE_FLOAT:
        return source.choice([0.0, -0.0, 0.5, -3.25, float("inf")])
    if field.type in (F.TYPE_INT32, F.TYPE_SINT32, F.TYPE_SFIXED32):
        return signed(32)
    if field.type in (F.TYPE_INT64, F.TYPE_SINT64, F.TYPE_SFIXED64):
        return signed(64)
    if field.type in (F.TYPE_UINT32, F.TYPE_FIXED32):
        return bits(32)
    if field.type in (F.TYPE_UINT64, F.TYPE_FIXED64):
        return bits(64)
    if field.type == F.TYPE_BOOL:
        return source.random() < 0.5
    if field.type == F.TYPE_STRING:
        return "".join(source.choice("aB9 \0é€𝄞") for _ in range(source.randrange(6)))
    if field.type == F.TYPE_BYTES:
        return source.randbytes(source.randrange(8))
    return source.choice([v.number for v in field.enum_type.values] + [1000, -1000])


def fill(value, depth, share):
    for field in value.DESCRIPTOR.fields:
        if source.random() > share or (field.message_type and depth == 0):
            continue
        member = getattr(value, field.name)
        if field.message_type and field.message_type.GetOptions().map_entry:
            key, content = field.message_type.fields_by_name["key"], field.message_type.fields_by_name["value"]
            for _ in range(source.randrange(4)):
                if content.message_type:
                    fill(member[draw(key)], depth - 1, share)
                else:
                    member[draw(key)] = draw(content)
        elif field.label == F.LABEL_REPEATED and field.message_type:
            for _ in range(source.randrange(4)):
                fill(member.add(), depth - 1, share)
        elif field.label == F.LABEL_REPEATED:
            member.extend(draw(field) for _ in range(source.randrange(5)))
        elif field.message_type:
            member.SetInParent()
            fill(member, depth - 1, share)
        else:
            setattr(value, field.name, draw(field))
    return value


def damage(data):
    data = bytearray(data)
    for _ in range(source.randrange(4)):
        if not data:
            break
        place, other = source.randrange(len(data)), source.randrange(len(data))
        kind = source.randrange(7)
        if kind == 0:
            data[place] ^= 1 << source.randrange(8)
        elif kind == 1:
            data[place] = source.choice([0, 1, 0x7F, 0x80, 0xFF])
        elif kind == 2:
            del data[place:]
        elif kind == 3:
            del data[place]
        elif kind == 4:
            data[place] ^= source.choice([1, 2, 3, 5, 7])  # perhaps the wire type of a tag
        elif kind == 5:
            data += data[place : place + 16]
        else:
            data[place:place] = data[other : other + 12]
    return bytes(data)


with open(cases) as lines, open(answers, "w") as out:
    for line in lines:
        name, _, text = line.strip().partition(" ")
        out.write(f"{name} {text or 'empty'} {answer(name, bytes.fromhex(text))}\n")
    for index in range(int(count)):
        made = source.choice(["Everything", "EveryKey", "Tree"])
        data = fill(types[made](), 3, source.choice([0.03, 0.1, 0.3])).SerializeToString()
        # A second message of the type behind it: both together are one, merged.
        if source.random() < 0.3:
            data += fill(types[made](), 3, 0.1).SerializeToString()
        if index % 4:
            data = damage(data)
        # Now and then what reads it is another version, or another type altogether.
        name = source.choice([made, made, made, "OldEverything", "Nothing", "Tree", "Everything"])
        out.write(f"{name} {data.hex() or 'empty'} {answer(name, data)}\n")
