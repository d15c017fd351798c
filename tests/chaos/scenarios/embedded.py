"""Does a retrieval without a scheduler meet the same faults as well? One process, the same checks.

These need no cluster, and they show that the tools make the faults that they are said to make.
"""
import json
import signal
import subprocess
import sys
import time

import pyarrow
import pyarrow.compute
import pyarrow.parquet

from client import Running
from dataset import Output, Wrong, check
from faults import SOURCES, fill, hiccups
from processes import until
from scenario import scenario


def _start(lab, world, output, spine="spine", via="embedded", more=()):
    environment = world.environment(lab.proxy.listen(via) if world.s3 else None)
    command = [world.backsight, "-c", world.repo_of(), "--no-progress", *world.retrieve(spine, output), *more]
    return Running(command, environment)


@scenario(120, "ci", "s3", "embedded")
def embedded_s3_hiccups(lab):
    """Passing faults of the store, at random in all phases: the dataset is exact."""
    world = lab.world("s3")
    output = world.output()
    hiccups(lab, times=6)
    _start(lab, world, output).wait(100).expect(0)
    lab.note(**world.check_dataset(output))
    return "exact dataset"


@scenario(90, "ci", "s3", "embedded")
def embedded_s3_permanent_faults(lab):
    """404, 403 and corrupt bytes for good: soon, the right exit code, the object's name, nothing left."""
    world, seen = lab.world("s3"), []
    for codes, fault in (((4, 5), dict(action="status", status=404)), ((6,), dict(action="status", status=403)), ((5,), dict(action="corrupt"))):
        output = world.output()
        # The footers are read well: the fault comes when rows are read.
        rule = lab.fault(key=SOURCES, operation="GetObject", skip=3, **fault)
        outcome = _start(lab, world, output).wait(40).expect(*codes)
        check(rule.hits > 0, "the object was not read after the fault was made")
        check("orders/part-1.parquet" in outcome.err, f"the message does not name the object: {outcome.err}")
        lab.proxy.clear()
        world.check_nothing(output)
        seen.append(outcome.code)
    return f"exits {seen}, object named, nothing left"


@scenario(90, "ci", "s3", "embedded")
def embedded_killed_after_intent(lab):
    """SIGKILL once the intent is durable: whoever opens the output next finishes that very dataset."""
    world = lab.world("s3")
    output = world.output()
    held = lab.fault("hold_answer", operation="PutObject", key=r"/_backsight/intent\.json$", times=1)
    more = ["--request-id", f"killed-{time.time_ns()}"]
    command = _start(lab, world, output, "small", more=more)
    check(held.wait(60), "the commit never came to its intent")
    command.kill()
    held.release(drop=True)
    check("_SUCCESS" not in output.files(), "there is _SUCCESS before the manifest")
    _start(lab, world, output, "small", more=more).wait(40).expect(0)
    lab.note(**world.check_dataset(output, "small"))
    return "exact dataset"


@scenario(60, "ci", "local", "embedded")
def embedded_interrupted(lab):
    """SIGTERM in the middle: 7, in time, nothing left."""
    world = lab.world("local")
    output = world.output()
    command = _start(lab, world, output)
    until(lambda: list(output.folder.glob("_backsight/**/*.staged")), 40, "a part is being written", 0.01)
    command.signal(signal.SIGTERM)
    command.wait(20).expect(7)
    lab.note(**world.check_nothing(output))
    return "exit 7, nothing left"


@scenario(60, "ci", "local", "embedded")
def embedded_output_disk_full(lab):
    """The disk of the output is full: 10, and nothing left."""
    world = lab.world("local")
    place = lab.small_disk(1)
    ballast = fill(place, 256 << 10)
    output = Output.local(place / "out")
    _start(lab, world, output).wait(60).expect(10)
    lab.note(**world.check_nothing(output))
    ballast.unlink()
    return "exit 10, nothing left"


@scenario(60, "ci", "s3", "embedded")
def checks_can_fail(lab):
    """A dataset with a row lost, doubled or changed, a part more, a file more, or a part less: is each of them found?"""
    world = lab.world("local")
    spoilt = {
        "row lost": lambda table: table.slice(1),
        "row doubled": lambda table: pyarrow.concat_tables([table, table.slice(0, 1)]),
        "row twice, another lost": lambda table: pyarrow.concat_tables([table.slice(2), table.slice(2, 2)]),
        "value changed": lambda table: table.set_column(4, "distance", pyarrow.compute.add(table["distance"], 1e-9)),
        "no column": lambda table: table.drop_columns(["segment"]),
    }
    for name, spoil in spoilt.items():
        _must_be_found(world, name, lambda folder: _rewrite(next(folder.glob("part-*.parquet")), spoil))
    _must_be_found(world, "file more", lambda folder: (folder / "part-stray.parquet").write_bytes(b"x"))
    _must_be_found(world, "part less", lambda folder: next(folder.glob("part-*.parquet")).unlink())
    _must_be_found(world, "leftover", lambda folder: (folder / "_backsight" / "claim").write_bytes(b"{}"))
    _must_be_found(world, "no mark", lambda folder: (folder / "_SUCCESS").unlink())
    return f"{len(spoilt) + 4} kinds of damage found"


def _must_be_found(world, name, damage):
    output = world.output("spoilt")
    world.embedded(None, *world.retrieve("small", output))
    world.check_dataset(output, "small")
    damage(output.folder)
    try:
        world.check_dataset(output, "small")
    except Wrong:
        return
    raise Wrong(f"`{name}` was not found")


def _rewrite(path, spoil):
    """Spoils a part and makes the manifest agree with it, so that only the rows can tell."""
    table = spoil(pyarrow.parquet.read_table(path))
    pyarrow.parquet.write_table(table, path)
    place = path.parent / "_backsight" / "manifest.json"
    manifest = json.loads(place.read_text())
    for part in manifest["parts"]:
        if part["path"] == path.name:
            manifest["rows"] += table.num_rows - part["rows"]
            part.update(rows=table.num_rows, bytes=path.stat().st_size)
    place.write_text(json.dumps(manifest))


@scenario(60, "ci", "net", "embedded")
def network_can_be_broken(lab):
    """Do cuts and silences between namespaces stop packets, and only those, until they are healed?"""
    network = lab.network(("one", "two", "three"))

    def reaches(here, there):
        address = network.node(there).address
        command = [*network.node(here).prefix(), sys.executable, "-c", f"import socket; socket.create_connection(('{address}', 9000), 1.5)"]
        return subprocess.run(command, capture_output=True).returncode == 0

    servers = []
    for name in ("one", "two", "three"):
        node = network.node(name)
        servers.append(Running([*node.prefix(), sys.executable, "-m", "http.server", "--bind", node.address, "9000"], None))
    everybody = [("one", "two"), ("two", "one"), ("three", "one"), ("two", "three")]
    until(lambda: all(reaches(*pair) for pair in everybody), 20, "everybody reaches everybody")
    for harm, broken in (
        (lambda: network.cut("one"), {("one", "two"), ("two", "one"), ("three", "one")}),
        (lambda: network.mute("one", "two"), {("one", "two"), ("two", "one")}),
    ):
        harm()
        for pair in everybody:
            check(reaches(*pair) == (pair not in broken), f"{pair} {'reaches' if pair in broken else 'does not reach'} each other")
        network.heal()
        until(lambda: all(reaches(*pair) for pair in everybody), 10, "everybody reaches everybody again")
    for server in servers:
        server.kill()
    return "cut, silenced, healed"
