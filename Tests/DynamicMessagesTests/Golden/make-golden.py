#!/usr/bin/env python3
"""Writes golden.txt and descriptors.txt: messages as Google's protobuf for Python (4.21.12) translates them to JSON and
from JSON (google.protobuf.json_format).

Usage, in this folder:  make-golden.py   (needs `pip install protobuf==4.21.12` and protoc 3.21)
golden.txt has a case a line, tabs between: kind, label, type, hex of the wire form, JSON. Kinds:
  both     the bytes and the JSON are each other's translation
  read     the JSON, as a person may write it, gives the bytes; they give another JSON
  refuse   the JSON has no wire form (json_format.ParseError)
Members of objects are sorted by name, so that the order of maps doesn't matter. descriptors.txt has a file a line: its
name, a tab, and the hex of its FileDescriptorProto.
"""
import json
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
    subprocess.run(
        ["protoc", "-I", protos, "-I", here, f"--python_out={folder}", "vomma/testing/v1/testing.proto", "known.proto"],
        check=True)
    sys.path.insert(0, folder)
    import known_pb2 as k
    from vomma.testing.v1 import testing_pb2 as t
from google.protobuf import any_pb2, descriptor_pb2, json_format, struct_pb2
from google.protobuf.descriptor import FieldDescriptor as F

lines = []


def add(kind, label, message, text):
    assert "\t" not in text and "\n" not in text, label
    lines.append("\t".join([kind, label, message.DESCRIPTOR.full_name, wire(message), text]))


def wire(message):
    return message.SerializePartialToString(deterministic=True).hex()


def both(label, message):
    text = json.dumps(json_format.MessageToDict(message), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    again = json_format.Parse(text, type(message)())
    assert again.SerializePartialToString(deterministic=True).hex() == wire(message), label
    add("both", label, message, text)


def read(label, text, kind=t.Everything):
    add("read", label, json_format.Parse(text, kind()), text)


def refuse(label, text, kind=t.Everything):
    try:
        json_format.Parse(text, kind())
    except json_format.ParseError:
        lines.append("\t".join(["refuse", label, kind.DESCRIPTOR.full_name, "", text]))
    else:
        raise AssertionError(f"{label} is accepted")


both("empty", t.Everything())
both("nothing", t.Nothing())
both("largest", t.Everything(
    a_double=1.7976931348623157e308, a_float=3.4028232635611926e38, an_int32=2**31 - 1, an_int64=2**63 - 1,
    a_uint32=2**32 - 1, a_uint64=2**64 - 1, a_sint32=2**31 - 1, a_sint64=2**63 - 1, a_fixed32=2**32 - 1,
    a_fixed64=2**64 - 1, an_sfixed32=2**31 - 1, an_sfixed64=2**63 - 1, a_bool=True, a_string="κθσρ 𝄞",
    some_bytes=bytes(range(256)), colour=t.COLOUR_GREEN, number=t.Number(value=2**63 - 1)))
both("smallest", t.Everything(
    a_double=5e-324, a_float=-3.4028232635611926e38, an_int32=-2**31, an_int64=-2**63, a_sint32=-2**31, a_sint64=-2**63,
    an_sfixed32=-2**31, an_sfixed64=-2**63, colour=t.COLOUR_NEGATIVE, number=t.Number(value=-2**63)))
both("negative zero", t.Everything(
    a_double=-0.0, a_float=-0.0, doubles=[-0.0, 0.0], floats=[-0.0], maybe_double=-0.0, chosen_double=-0.0))
both("not finite", t.Everything(
    a_double=math.nan, a_float=math.inf, doubles=[math.nan, math.inf, -math.inf], floats=[-math.inf, math.nan]))
both("awkward text", t.Everything(
    a_string="a\0b\t\n\r\"\\/\b\f\x1f\x7f\u2028", strings=["", "é", "e\u0301"],
    doubles_by_name={"": 1, "a b.c[\"d\"]": 2, "é": 3, "e\u0301": 4}))
both("present zeros", t.Everything(
    maybe_double=0, maybe_string="", maybe_bytes=b"", maybe_colour=0, maybe_number=t.Number(), maybe_int64=0,
    maybe_bool=False, number=t.Number(), inner=t.Everything.Inner()))
for name, value in {"double": 0, "string": "", "bytes": b"", "bool": False, "colour": 0}.items():
    both(f"chosen zero {name}", t.Everything(**{f"chosen_{name}": value}))
both("chosen nothing", t.Everything(chosen_nothing=t.Nothing()))
both("maps", t.Everything(
    doubles_by_name={"zz": 0.0, "b": 1.5, "a": math.nan}, strings_by_number={0: "", -5: "x"},
    colours_by_bool={True: 0, False: 7}, numbers_by_name={"": t.Number(), "n": t.Number(value=-1)},
    bytes_by_id={2**64 - 1: b"\0", 0: b""}))
both("unknown enum", t.Everything(colour=77, colours=[0, 1, -3, 99], maybe_colour=-1, chosen_colour=12345))
both("alias", t.Everything(aliased=1))
both("nested types", t.Everything(inner=t.Everything.Inner(kind=1, name="n")))
both("unpacked", t.Everything(unpacked=[1, 0, -1, 2**31 - 1]))
both("floats", t.Everything(floats=[0.1, 1e10, 16777217, 1.17549435e-38, 3.14159274, 1e-7, 33554430, 1e20]))
both("doubles", t.Everything(doubles=[0.1, 1e15, 1e16, 1e17, 123456789012345680, 1e-5, 1e-4, 2**53 + 2, 1 / 3, 1e22]))
leaf = t.Tree(value=1, name="leaf")
both("tree", t.Tree(
    value=-1, left=t.Tree(left=t.Tree(left=leaf)), children=[leaf, t.Tree(), t.Tree(children=[leaf, leaf])],
    by_name={"x": leaf, "z": t.Tree(by_name={"": t.Tree()})}, chosen=t.Tree(chosen=t.Tree(name=""))))
awkward = t.Awkward(
    default=1, unknown_fields=7, values=[8], job_id="14", URL="15", register=17, choice_case=18, union=19, template=0,
    operator={"+": 1, "-": -1}, event_value=t.Awkward.Event(Self="23"))
setattr(awkward, "class", 4)
both("awkward names", awkward)

source = random.Random(20261121)


def draw(field):
    bits = lambda n: source.getrandbits(source.choice([1, 7, 8, n - 1, n]))
    signed = lambda n: source.choice([0, 0, -2**n]) // 2 + bits(n - 1)
    if field.type == F.TYPE_DOUBLE:
        return struct.unpack("<d", source.randbytes(8))[0]
    if field.type == F.TYPE_FLOAT:
        value = struct.unpack("<f", source.randbytes(4))[0]
        return value if math.isfinite(value) else 0.5
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
        return "".join(source.choice("aB9\"\\\0é€𝄞") for _ in range(source.randrange(12)))
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
                fill(getattr(message, field.name)[draw(key)], depth - 1)
            else:
                getattr(message, field.name)[draw(key)] = draw(value)
        elif repeated and field.message_type:
            for _ in range(source.randrange(4)):
                fill(getattr(message, field.name).add(), depth - 1)
        elif repeated:
            getattr(message, field.name).extend(draw(field) for _ in range(source.randrange(6)))
        elif field.message_type:
            getattr(message, field.name).SetInParent()
            fill(getattr(message, field.name), depth - 1)
        else:
            setattr(message, field.name, draw(field))
    return message


for index in range(20):
    both(f"random {index}", fill(t.Everything(), 2))
for index in range(5):
    both(f"random tree {index}", fill(t.Tree(), 3))

read("proto names", '{"a_double":1,"an_int32":2,"a_string":"x","doubles_by_name":{"a":1},"maybe_int64":"3"}')
read(
    "numbers as text",
    '{"aDouble":"1.5","anInt32":"-7","aUint64":"18446744073709551615","aFloat":"-Infinity","doubles":["NaN","1e3"]}')
read("whole numbers with points", '{"anInt32":1.0,"aUint32":1e3,"anInt64":-2.50e1,"aSint32":100e-2}')
read("long numbers", '{"anInt64":9223372036854775807,"aUint64":18446744073709551615,"aFixed64":9007199254740993}')
read(
    "nulls",
    '{"aDouble":null,"number":null,"doubles":null,"doublesByName":null,"maybeDouble":null,'
    '"chosenBool":null,"chosenString":"x"}')
read(
    "defaults written",
    '{"aDouble":0,"anInt64":"0","aString":"","aBool":false,"colour":"COLOUR_UNSPECIFIED","doubles":[]}')
read("base64", '{"someBytes":"-_8","byteArrays":["AA","AA==","+/8=","AAE",""]}')
read(
    "enum numbers",
    '{"colour":2,"colours":["COLOUR_RED",1,-3,0],"aliased":"ALIASED_ALSO_FIRST"}')
read("escapes", r'{"aString":"\u00e9\ud834\udd1e\/\b","strings":["\n\u0000"]}')
read("white space", ' { "number" : { "value" : 1 } , "int32s" : [ 1 , 2 ] } ')
read("empty map, enum in map", '{"doublesByName":{},"coloursByBool":{"true":"COLOUR_GREEN"}}')

refuse("unknown field", '{"aTriple":1}')
refuse("unknown nested field", '{"number":{"walue":1}}')
refuse("unknown enum name", '{"colour":"COLOUR_BLUE"}')
refuse("fraction", '{"anInt32":1.5}')
refuse("fraction as text", '{"anInt32":"1.5"}')
refuse("too large", '{"anInt32":2147483648}')
refuse("too small", '{"aSint32":-2147483649}')
refuse("negative", '{"aUint32":-1}')
refuse("negative 64", '{"aUint64":"-1"}')
refuse("too large 64", '{"aUint64":18446744073709551616}')
refuse("double too large", '{"aDouble":1e999}')
refuse("float too large", '{"aFloat":1e39}')
refuse("number for boolean", '{"aBool":1}')
refuse("text for boolean", '{"aBool":"true"}')
refuse("boolean for number", '{"anInt32":true}')
refuse("text for number", '{"aDouble":"x"}')
refuse("spaces in number", '{"anInt32":" 1"}')
refuse("nan", '{"aDouble":"nan"}')
refuse("object for list", '{"doubles":{}}')
refuse("number for list", '{"doubles":1}')
refuse("list for map", '{"doublesByName":[]}')
refuse("number for message", '{"number":1}')
refuse("null element", '{"doubles":[null]}')
refuse("null message element", '{"numbers":[null]}')
refuse("null map value", '{"doublesByName":{"a":null}}')
refuse("bad key", '{"stringsByNumber":{"x":""}}')
refuse("bad boolean key", '{"coloursByBool":{"1":0}}')
refuse("two of a choice", '{"chosenDouble":1,"chosenBool":true}')
refuse("name twice", '{"aDouble":1,"aDouble":2}')
refuse("broken", '{"aDouble":1')
refuse("comma", '{"aDouble":1,}')

known = lambda text: json_format.Parse(text, k.Known())
for label, text in {
    "times": '{"time":"2026-03-01T12:34:56.789Z","times":["1970-01-01T00:00:00Z","0001-01-01T00:00:00Z",'
             '"9999-12-31T23:59:59.999999999Z","1969-12-31T23:59:59.000001Z","2000-02-29T00:00:00Z"]}',
    "durations": '{"duration":"-1.500s"}',
    "zero duration": '{"duration":"0s"}', "small duration": '{"duration":"-0.000000001s"}',
    "long duration": '{"duration":"315576000000s"}', "mask": '{"mask":"fooBar,a.bC"}', "empty mask": '{"mask":""}',
    "structure": '{"structure":{"a":1,"b":[true,null,"x",{"c":[]}],"":{}}}', "list": '{"list":[1.5,[],{}]}',
    "null value": '{"value":null}', "number value": '{"value":-1}', "object value": '{"value":{"a":{"b":1}}}',
    "wrappers": '{"doubleValue":1.5,"floatValue":0.1,"int64Value":"-9","uint64Value":"9",'
                '"int32Value":0,"uint32Value":1,"boolValue":false,"stringValue":"","bytesValue":"AA=="}',
    "null enum": '{"null":null}', "values": '{"values":{"a":null,"b":[1]}}', "empty": '{"empty":{}}',
    "any": '{"any":{"@type":"type.googleapis.com/golden.Old","id":1,"kind":"SECOND"}}',
    "any of a known": '{"any":{"@type":"type.googleapis.com/google.protobuf.Duration","value":"3s"}}',
    "any of any":
        '{"any":{"@type":"type.googleapis.com/google.protobuf.Any","value":{"@type":"x/golden.Old","id":2}}}'
}.items():
    if label == "any of any":
        inner = any_pb2.Any(type_url="x/golden.Old", value=k.Old(id=2).SerializeToString())
        outer = any_pb2.Any(type_url="type.googleapis.com/google.protobuf.Any", value=inner.SerializeToString())
        add("both", label, k.Known(any=outer), text)
    else:
        both(label, known(text))
read("time with offset", '{"time":"2026-03-01T01:30:00+02:00"}', k.Known)
read("time with digits", '{"time":"2026-03-01T01:30:00.1Z"}', k.Known)
for label, text in {
    "no zone": '{"time":"2026-03-01T00:00:00"}', "no such day": '{"time":"2026-02-29T00:00:00Z"}',
    "number for time": '{"time":1}', "no unit": '{"duration":"1"}',
    "too long": '{"duration":"315576000001s"}', "mask with underscore": '{"mask":"foo_bar"}',
    "any without type": '{"any":{"id":1}}', "any of unknown type": '{"any":{"@type":"x/golden.None"}}',
}.items():
    refuse(label, text, k.Known)

old = k.Old(id=0, unpacked=[1, -1], packed=[-3, 3], renamed=5, kind=2, name="")
old.point.x = -0.5
old.point.inner.id = 3
old.item.add().text = "a"
old.item.add()
both("proto2", old)

with open(here / "golden.txt", "w") as out:
    out.write("# make-golden.py, protobuf for Python 4.21.12, protoc 3.21.12, 2026-11\n")
    out.writelines(line + "\n" for line in lines)


def files(descriptor, seen):
    for dependency in descriptor.dependencies:
        files(dependency, seen)
    seen[descriptor.name] = descriptor.serialized_pb
    return seen


with open(here / "descriptors.txt", "w") as out:
    out.write("# make-golden.py, protoc 3.21.12, 2026-11\n")
    for name, data in files(k.DESCRIPTOR, {}).items():
        out.write(f"{name}\t{data.hex()}\n")
