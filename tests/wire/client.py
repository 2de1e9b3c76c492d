"""A gRPC client made from tables.md alone: none of our protos, none of our code.

Messages are built at run time, so that this client knows exactly what the tables say. Every call of a table is a method:

    client = Client("localhost:50055", "fleet.orchestrator.v1")
    answer = client.Deliberate({"task_description": "…", "role": "DEV"})

From a shell, one JSON object per answer and a last one with the status:

    python client.py localhost:50055 fleet.orchestrator.v1 GetStatus '{"include_stats": true}'
"""

import argparse
import json
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory, timestamp_pb2

TABLES = Path(__file__).with_name("tables.md")
SCALARS = {"string", "bool", "int32", "int64", "float", "double"}
FieldProto = descriptor_pb2.FieldDescriptorProto
TIMESTAMP = timestamp_pb2.Timestamp.DESCRIPTOR


@dataclass
class Rpc:
    name: str
    request: str
    response: str
    streams: bool


@dataclass
class Package:
    name: str
    service: str
    rpcs: list = field(default_factory=list)
    messages: dict = field(default_factory=dict)  # name -> [(field, number, type)]
    enums: dict = field(default_factory=dict)  # name -> [(value, number)]


def read_tables(text=None):
    """All packages of the tables, by name."""
    packages, package = {}, None
    for line in (text or TABLES.read_text(encoding="utf-8")).splitlines():
        if found := re.fullmatch(r"service `(.+)\.(\w+)`", line):
            package = packages[found[1]] = Package(found[1], found[2])
        elif found := re.fullmatch(r"\| (\w+) \| (\w+) \| (stream )?(\w+) \|", line):
            if found[1] != "rpc":
                package.rpcs.append(Rpc(found[1], found[2], found[4], bool(found[3])))
        elif found := re.fullmatch(r"- enum \*\*(\w+)\*\*: (.+)", line):
            values = (value.rsplit(" ", 1) for value in found[2].split(", "))
            package.enums[found[1]] = [(name, int(number)) for name, number in values]
        elif found := re.fullmatch(r"- \*\*(\w+)\*\*: (.+)", line):
            fields = (entry.split(" ", 2) for entry in found[2].split("; "))
            entries = [] if found[2] == "(empty)" else [(name, int(number), kind) for name, number, kind in fields]
            package.messages[found[1]] = entries
    return packages


def describe(package):
    """The package as a proto3 file."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{package.name}.tables", package=package.name, syntax="proto3")
    file.dependency.append(TIMESTAMP.file.name)
    for name, values in package.enums.items():
        kind = file.enum_type.add(name=name)
        for value, number in values:
            kind.value.add(name=value, number=number)
    for name, fields in package.messages.items():
        message = file.message_type.add(name=name)
        for entry in fields:
            add_field(package, message, *entry)
    return file


def add_field(package, message, name, number, kind):
    label = FieldProto.LABEL_OPTIONAL
    if found := re.fullmatch(r"map<(\w+),(\w+)>", kind):
        entry = message.nested_type.add(name="".join(part.capitalize() for part in name.split("_")) + "Entry")
        entry.options.map_entry = True
        add_field(package, entry, "key", 1, found[1])
        add_field(package, entry, "value", 2, found[2])
        type_name = f".{package.name}.{message.name}.{entry.name}"
        message.field.add(
            name=name, number=number, label=FieldProto.LABEL_REPEATED, type=FieldProto.TYPE_MESSAGE, type_name=type_name
        )
        return
    if kind.startswith("repeated "):
        label, kind = FieldProto.LABEL_REPEATED, kind.removeprefix("repeated ")
    one = message.field.add(name=name, number=number, label=label)
    if kind in SCALARS:
        one.type = FieldProto.Type.Value(f"TYPE_{kind.upper()}")
    else:
        one.type = FieldProto.TYPE_ENUM if kind in package.enums else FieldProto.TYPE_MESSAGE
        one.type_name = f".{kind}" if kind == TIMESTAMP.full_name else f".{package.name}.{kind}"


class Client:
    """One method per rpc of a package. A request is a dict or a message; answers are messages, or a stream of them."""

    def __init__(self, target, package="fleet.orchestrator.v1", options=()):
        self.package = read_tables()[package]
        self.channel = grpc.insecure_channel(target, options=options)
        pool = descriptor_pool.DescriptorPool()
        pool.AddSerializedFile(TIMESTAMP.file.serialized_pb)
        pool.Add(describe(self.package))
        self.classes = {
            name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
            for name in self.package.messages
        }
        self.calls = {rpc.name: self._callable(rpc) for rpc in self.package.rpcs}

    def _callable(self, rpc):
        kind = self.channel.unary_stream if rpc.streams else self.channel.unary_unary
        return kind(
            f"/{self.package.name}.{self.package.service}/{rpc.name}",
            request_serializer=self.classes[rpc.request].SerializeToString,
            response_deserializer=self.classes[rpc.response].FromString,
        )

    def request(self, rpc, request):
        if not isinstance(request, dict):
            return request
        name = next(entry.request for entry in self.package.rpcs if entry.name == rpc)
        return json_format.ParseDict(request, self.classes[name]())

    def __getattr__(self, rpc):
        if rpc not in self.__dict__.get("calls", {}):
            raise AttributeError(rpc)
        call = self.calls[rpc]
        return lambda request=None, **options: call(self.request(rpc, request or {}), **options)

    def start(self, rpc, request, **options):
        """The running call itself, for its metadata and for cancelling it."""
        call = self.calls[rpc]
        run = call if rpc in self.streams() else call.future
        return run(self.request(rpc, request), **options)

    def streams(self):
        return {rpc.name for rpc in self.package.rpcs if rpc.streams}

    def close(self):
        self.channel.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def shown(message):
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target")
    parser.add_argument("package")
    parser.add_argument("rpc")
    parser.add_argument("request", nargs="?", default="{}", help="JSON")
    parser.add_argument("--timeout", type=float)
    parser.add_argument("--metadata", action="append", default=[], metavar="KEY=VALUE")
    given = parser.parse_args()
    metadata = [tuple(entry.split("=", 1)) for entry in given.metadata]
    with Client(given.target, given.package) as client:
        call = client.start(given.rpc, json.loads(given.request), timeout=given.timeout, metadata=metadata)
        try:
            for answer in call if given.rpc in client.streams() else [call.result()]:
                print(json.dumps(shown(answer)), flush=True)
        except grpc.RpcError:
            pass
        initial = {entry.key: entry.value for entry in call.initial_metadata() if isinstance(entry.value, str)}
        print(json.dumps({"code": call.code().name, "details": call.details(), "initial_metadata": initial}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
