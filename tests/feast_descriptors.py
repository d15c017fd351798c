"""Compares our list of Feast's wire fields with the Feast that is installed.

    python tests/feast_descriptors.py            # exits with 1 and says what differs
    python tests/feast_descriptors.py --write    # writes the list anew

The list, `proto/testdata/feast-fields.txt`, is what the unit tests of `proto` hold our own `.proto` files against. Run
this with a Python that has Feast 0.67; with another one it says so and exits with 0.
"""
import difflib
import sys
from pathlib import Path

try:
    from feast.protos.feast.core import Registry_pb2
except ImportError as missing:
    print(f"SKIPPED: {missing}: this Python has no Feast, so nothing was compared", file=sys.stderr)
    sys.exit(0)

LIST = Path(__file__).resolve().parent.parent / "proto" / "testdata" / "feast-fields.txt"
TYPES = {
    1: "double", 2: "float", 3: "int64", 4: "uint64", 5: "int32", 6: "fixed64", 7: "fixed32", 8: "bool", 9: "string",
    11: "message", 12: "bytes", 13: "uint32", 14: "enum", 15: "sfixed32", 16: "sfixed64", 17: "sint32", 18: "sint64",
}


def lines_of(root):
    """One line for each field and enum value that a message reaches; well-known types are only named."""
    lines, seen, todo = set(), set(), [root]
    while todo:
        message = todo.pop()
        if message.full_name in seen or not message.full_name.startswith("feast."):
            continue
        seen.add(message.full_name)
        for field in message.fields:
            label = "repeated" if field.is_repeated else "singular"
            target = field.message_type or field.enum_type
            kind = f"{TYPES[field.type]} {target.full_name}" if target else TYPES[field.type]
            # A proto3 `optional` is a oneof of one member with a made-up name.
            real = field.containing_oneof and not field.containing_oneof.name.startswith("_")
            oneof = f" in {field.containing_oneof.name}" if real else ""
            lines.add(f"{message.full_name} {field.number} {field.name} {label} {kind}{oneof}")
            if field.message_type:
                todo.append(field.message_type)
            if field.enum_type:
                for value in field.enum_type.values:
                    lines.add(f"{field.enum_type.full_name} = {value.number} {value.name}")
    return sorted(lines)


found = lines_of(Registry_pb2.Registry.DESCRIPTOR)
if sys.argv[1:] == ["--write"]:
    LIST.parent.mkdir(exist_ok=True)
    LIST.write_text("\n".join(found) + "\n")
    print(f"{len(found)} lines written")
else:
    known = LIST.read_text().splitlines()
    if found != known:
        print("\n".join(difflib.unified_diff(known, found, "our list", "the installed Feast", lineterm="")))
        sys.exit(1)
    print(f"{len(found)} fields and values are the same")
