#!/usr/bin/env python3
"""Writes golden.csv: messages as Google's protobuf for Python (4.21.12) encodes them, one `label,type,hex` a line.

Usage, in this folder:  make-golden.py   (needs `pip install protobuf==4.21.12` and protoc 3.21)
Encoded by its C core with deterministic=True: map entries by key. That core sorts numbers downwards, and a text after
those that it is a prefix of: no map here has such keys. (The pure Python implementation sorts as one expects, but loses
the sign of -0.0.) Rows named `random…` are drawn from a fixed seed over all fields.
"""
import math
import pathlib
import random
import struct
import subprocess
import sys
import tempfile

here = pathlib.Path(__file__).resolve().parent
protos = here.parents[2] / "proto"
with tempfile.TemporaryDirectory() as folder:
    names = [str(p.relative_to(protos)) for p in protos.rglob("*.proto")]
    subprocess.run(["protoc", "-I", protos, f"--python_out={folder}", *names], check=True)
    sys.path.insert(0, folder)
    from grpc.reflection.v1 import reflection_pb2 as reflection
    from vomma.testing.v1 import testing_pb2 as t
from google.protobuf.descriptor import FieldDescriptor as F

rows = []


def add(label, message):
    rows.append((label, message.DESCRIPTOR.full_name, message.SerializeToString(deterministic=True)))


add("empty", t.Everything())
add("nothing", t.Nothing())
add("largest", t.Everything(
    a_double=1.7976931348623157e308, a_float=3.4028234663852886e38, an_int32=2**31 - 1, an_int64=2**63 - 1,
    a_uint32=2**32 - 1, a_uint64=2**64 - 1, a_sint32=2**31 - 1, a_sint64=2**63 - 1, a_fixed32=2**32 - 1,
    a_fixed64=2**64 - 1, an_sfixed32=2**31 - 1, an_sfixed64=2**63 - 1, a_bool=True, a_string="κθσρ 𝄞",
    some_bytes=bytes(range(256)), colour=t.COLOUR_GREEN, number=t.Number(value=2**63 - 1)))
add("smallest", t.Everything(
    a_double=5e-324, a_float=1e-45, an_int32=-2**31, an_int64=-2**63, a_sint32=-2**31, a_sint64=-2**63,
    an_sfixed32=-2**31, an_sfixed64=-2**63, colour=t.COLOUR_NEGATIVE, number=t.Number(value=-2**63)))
add("negative zero", t.Everything(
    a_double=-0.0, a_float=-0.0, doubles=[-0.0, 0.0], floats=[-0.0], maybe_double=-0.0, chosen_double=-0.0))
add("not finite", t.Everything(
    a_double=math.nan, a_float=math.inf, doubles=[math.nan, math.inf, -math.inf], floats=[-math.inf, math.nan]))
add("inner NUL", t.Everything(
    a_string="a\0b", strings=["\0", "", "x\0"], maybe_string="\0\0", chosen_string="c\0d",
    doubles_by_name={"k\0ey": 1}, inner=t.Everything.Inner(name="\0")))
add("present zeros", t.Everything(
    maybe_double=0, maybe_string="", maybe_bytes=b"", maybe_colour=0, maybe_number=t.Number(), maybe_int64=0,
    maybe_bool=False, number=t.Number(), inner=t.Everything.Inner()))
for name, value in {"double": 0, "string": "", "bytes": b"", "bool": False, "colour": 0}.items():
    add(f"chosen zero {name}", t.Everything(**{f"chosen_{name}": value}))
add("chosen nothing", t.Everything(chosen_nothing=t.Nothing()))
add("map defaults", t.Everything(
    doubles_by_name={"zz": 0.0, "b": 1.5, "a": -0.0, "é": 2, "𝄞": 3}, strings_by_number={0: ""},
    colours_by_bool={True: 0}, numbers_by_name={"": t.Number()},
    bytes_by_id={2**64 - 1: b"\0"}))
add("unknown enum", t.Everything(colour=77, colours=[0, 1, -3, 99], maybe_colour=-1, chosen_colour=12345))
add("unpacked", t.Everything(unpacked=[1, 0, -1, 2**31 - 1]))
add("bulk", t.Everything(
    doubles=[i * 0.1 for i in range(300)], floats=[i * 0.5 for i in range(100)], int32s=range(-50, 50),
    bools=[i % 3 == 0 for i in range(50)], sint64s=[(-3) ** i for i in range(40)], strings=[str(i) for i in range(40)],
    numbers=[t.Number(value=i) for i in range(-20, 20)], byte_arrays=[bytes(i) for i in range(10)]))
leaf = t.Tree(value=1, name="leaf")
add("tree", t.Tree(
    value=-1, left=t.Tree(left=t.Tree(left=leaf)), children=[leaf, t.Tree(), t.Tree(children=[leaf, leaf])],
    by_name={"x": leaf, "z": t.Tree(by_name={"": t.Tree()})}, chosen=t.Tree(chosen=t.Tree(name=""))))
add("forest", t.Forest(trees=[leaf, t.Tree(left=leaf)]))
awkward = t.Awkward(
    default=1, init=3, int=5, base=6, unknown_fields=7, values=[8], n_values=9, wire=10, arena=11,
    value=12, descriptor=13, job_id="14", URL="15", register=17, choice_case=18, union=19, template=0,
    operator={"+": 1, "-": -1}, event_value=t.Awkward.Event(Self="23"))
setattr(awkward, "class", 4)
add("awkward", awkward)
add("reflection", reflection.ServerReflectionResponse(
    valid_host="h", original_request=reflection.ServerReflectionRequest(file_containing_symbol="a.B"),
    file_descriptor_response=reflection.FileDescriptorResponse(file_descriptor_proto=[b"\n\1x", b""])))

source = random.Random(20260301)


def draw(field, depth):
    bits = lambda n: source.getrandbits(source.choice([1, 7, 8, n - 1, n]) if n > 8 else n)
    signed = lambda n: struct.unpack("<q", struct.pack("<Q", bits(n)))[0] if n == 64 else bits(n) - 2 ** (n - 1)
    if field.type == F.TYPE_DOUBLE:
        return struct.unpack("<d", source.randbytes(8))[0]
    if field.type == F.TYPE_FLOAT:
        value = struct.unpack("<f", source.randbytes(4))[0]
        return value if math.isfinite(value) else 0.5  # a NaN's payload may change between float and double
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
        return "".join(source.choice("aB9 \0é€𝄞") for _ in range(source.randrange(12)))
    if field.type == F.TYPE_BYTES:
        return source.randbytes(source.randrange(20))
    if field.type == F.TYPE_ENUM:
        return source.choice([v.number for v in field.enum_type.values] + [1000, -1000])
    raise ValueError(field.type)


def fill(message, depth):
    for field in message.DESCRIPTOR.fields:
        if source.random() < 0.5 or (field.message_type and depth == 0):
            continue
        repeated = field.label == F.LABEL_REPEATED
        if repeated and field.message_type and field.message_type.GetOptions().map_entry:
            key, value = field.message_type.fields_by_name["key"], field.message_type.fields_by_name["value"]
            if value.message_type:
                fill(getattr(message, field.name)[draw(key, depth)], depth - 1)
            else:
                getattr(message, field.name)[draw(key, depth)] = draw(value, depth)
        elif repeated and field.message_type:
            for _ in range(source.randrange(4)):
                fill(getattr(message, field.name).add(), depth - 1)
        elif repeated:
            getattr(message, field.name).extend(draw(field, depth) for _ in range(source.randrange(6)))
        elif field.message_type:
            getattr(message, field.name).SetInParent()
            fill(getattr(message, field.name), depth - 1)
        else:
            setattr(message, field.name, draw(field, depth))
    return message


for index in range(30):
    add(f"random {index}", fill(t.Everything(), 2))
for index in range(5):
    add(f"random tree {index}", fill(t.Tree(), 3))

with open(here / "golden.csv", "w") as out:
    out.write("# make-golden.py, protobuf for Python 4.21.12, protoc 3.21.12, 2026-11: label,type,hex\n")
    for label, kind, data in rows:
        out.write(f"{label},{kind},{data.hex()}\n")
