"""What do the scenarios work on? A feature repo, its data and spines, seeded, with the fault-free datasets.

Spine and sources lie in many row groups ordered by time, so that a retrieval is cut into several shards; keys are hot
enough that each stage takes a while. There are nulls in keys, instants and features, repeated rows, keys that nobody
knows, ties, and feature rows that come late. The expected datasets come from the embedded engine of the same binary,
without any fault and without a scheduler.
"""
import datetime
import json
import os
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy
import pyarrow
import pyarrow.parquet

from dataset import Output, check, compare, nothing_left, read_dataset, rows_of

FIRST = int(datetime.datetime(2026, 3, 1, tzinfo=datetime.timezone.utc).timestamp()) * 1_000_000
DAY = 86_400_000_000
DAYS = 40
SERVICE = "training"
EMBEDDED_SECONDS_MAX = 180
UPLOADS_SECONDS_MAX = 20
INSTANT = pyarrow.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class Size:
    """How much there is. Bigger makes stages longer."""

    spine_rows: int = 90_000
    spine_files: int = 3
    group_rows: int = 3_000
    stats_rows: int = 150_000
    stats_files: int = 4
    orders_rows: int = 80_000
    orders_files: int = 2
    drivers: int = 400
    customers: int = 5_000
    small_rows: int = 400


class World:
    """A repo with data, on the local disk or on S3."""

    def __init__(self, folder, backsight, seed=1, s3=None, size=Size(), projects=("chaos",)):
        self.folder, self.backsight, self.seed, self.s3, self.size = Path(folder), backsight, seed, s3, size
        self.projects = projects
        self.prefix = f"chaos-{os.getpid()}-{seed}-{self.folder.name}"
        self.repo = self.folder / "repo"
        self.expected = {}
        self._outputs = 0

    @property
    def kind(self):
        return "s3" if self.s3 else "local"

    def environment(self, endpoint=None):
        """The variables of a process that works on this world; `endpoint` puts a proxy between it and the store."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "BACKSIGHT"))}
        kept["NO_COLOR"] = "1"
        if self.s3:
            kept.update(
                AWS_ENDPOINT_URL=endpoint or self.s3.endpoint,
                AWS_ACCESS_KEY_ID=self.s3.access_key,
                AWS_SECRET_ACCESS_KEY=self.s3.secret_key,
                AWS_REGION=self.s3.region,
            )
        return kept

    def build(self):
        """Writes data and definitions, applies them, retrieves what is to be expected."""
        random = numpy.random.default_rng(self.seed)
        data = self.folder / "data"
        size = self.size
        write_files(data / "stats", driver_stats(random, size), size.stats_files, size.group_rows)
        write_files(data / "orders", customer_orders(random, size), size.orders_files, size.group_rows)
        spine = trips(random, size, size.spine_rows, DAYS)
        # A local spine is handed to a scheduler as one file; on S3 it is several.
        write_files(data / "spine", spine, size.spine_files if self.s3 else 1, size.group_rows)
        # A small one whose few instants need one or two row groups of each source.
        write_files(data / "small", trips(random, size, size.small_rows, 1), 1, size.small_rows)
        if self.s3:
            for path in sorted(data.rglob("*.parquet")):
                self.s3.put_file(f"{self.prefix}/data/{path.relative_to(data).as_posix()}", path)
        for project in self.projects:
            self._write_repo(project)
            self.embedded(project, "apply", "--yes")
        for name in ("spine", "small"):
            output = Output.local(self.folder / "expected" / name)
            self.embedded(self.projects[0], *self.retrieve(name, output))
            table, _ = read_dataset(output)
            rows = size.spine_rows if name == "spine" else size.small_rows
            check(table.num_rows == rows, f"the embedded engine made {table.num_rows} rows of {rows}")
            matched = len(table) - table.column("conv_rate").null_count
            check(matched > rows // 3, f"only {matched} of {rows} rows match: this world proves little")
            self.expected[name] = rows_of(table)
        return self

    def where(self, name):
        """The location of data, as a definition or command line names it."""
        if self.s3:
            return f"s3://{self.s3.bucket}/{self.prefix}/data/{name}"
        path = self.folder / "data" / name
        return str(path / "part-0.parquet") if name in ("spine", "small") else str(path)

    def keys(self, name):
        """The names of the data's files as a store knows them."""
        return [item.key for item in self.s3.list(f"{self.prefix}/data/{name}/")]

    def repo_of(self, project=None):
        return self.repo / (project or self.projects[0])

    def output(self, name="out"):
        """A new output."""
        self._outputs += 1
        name = f"{name}-{self._outputs}"
        if self.s3:
            return Output.remote(self.s3, f"{self.prefix}/out/{name}")
        return Output.local(self.folder / "out" / name)

    def retrieve(self, spine, output):
        """The arguments of a retrieval."""
        return ["retrieve", "--feature-service", SERVICE, "--spine", self.where(spine), "--output", output.uri]

    def embedded(self, project, *arguments, environment=None, expect=0):
        """Runs the binary without a scheduler and without faults."""
        command = [str(self.backsight), "-c", str(self.repo_of(project)), *arguments]
        done = subprocess.run(
            command, env=environment or self.environment(), capture_output=True, text=True, timeout=EMBEDDED_SECONDS_MAX
        )
        check(done.returncode == expect, f"`{' '.join(command)}` ended with {done.returncode}:\n{done.stderr[-3000:]}")
        return done

    def check_dataset(self, output, spine="spine"):
        """The dataset must be exactly the fault-free one; pending uploads of it are counted, not judged."""
        manifest = compare(output, self.expected[spine])
        return {"parts": len(manifest["parts"]), "uploads_pending": len(output.pending_uploads())}

    def check_nothing(self, output, after_kill=False):
        if not after_kill:
            # Executors learn within a second or two what nobody waits for, and abort it then.
            deadline = time.monotonic() + UPLOADS_SECONDS_MAX
            while output.pending_uploads() and time.monotonic() < deadline:
                time.sleep(0.3)
        return {"uploads_pending": nothing_left(output, after_kill)}

    def remove(self):
        if self.s3:
            self.s3.delete_all(self.prefix + "/")

    def _write_repo(self, project):
        repo = self.repo_of(project)
        repo.mkdir(parents=True)
        registry = f"s3://{self.s3.bucket}/{self.prefix}/registry.pb" if self.s3 else str(self.folder / "registry.pb")
        (repo / "feature_store.yaml").write_text(
            f"project: {project}\nprovider: local\nregistry: {json.dumps(registry)}\n"
            "offline_store: {type: file}\nentity_key_serialization_version: 3\n"
        )
        (repo / "features.yaml").write_text(
            DEFINITIONS.format(stats=json.dumps(self.where("stats")), orders=json.dumps(self.where("orders")), service=SERVICE)
        )


DEFINITIONS = """\
kind: Entity
name: driver
join_keys: [driver_id]
value_type: INT64
---
kind: Entity
name: customer
join_keys: [customer_id]
value_type: INT64
---
kind: FileSource
name: stats
path: {stats}
timestamp_field: event_timestamp
created_timestamp_column: created
---
kind: FileSource
name: orders
path: {orders}
timestamp_field: event_timestamp
---
kind: FeatureView
name: driver_stats
entities: [driver]
ttl: 12h
schema:
  - {{name: conv_rate, dtype: Float32}}
  - {{name: acc_rate, dtype: Float64}}
  - {{name: trips_today, dtype: Int64}}
  - {{name: grade, dtype: String}}
source: stats
---
kind: FeatureView
name: customer_orders
entities: [customer]
ttl: 2d
schema:
  - {{name: spent, dtype: Float64}}
  - {{name: segment, dtype: String}}
source: orders
---
kind: FeatureService
name: {service}
features: [driver_stats, customer_orders]
"""


def instants(random, rows, days):
    """Instants in order, some of them equal."""
    return numpy.sort(random.integers(FIRST, FIRST + days * DAY, rows) // 1_000_000 * 1_000_000)


def some_null(random, values, share, kind):
    return pyarrow.array(values, type=kind, mask=random.random(len(values)) < share)


def driver_stats(random, size):
    rows = size.stats_rows
    times = instants(random, rows, DAYS)
    # Every hundredth row repeats the keys and times of the one before: a tie, decided by value.
    drivers = random.integers(0, size.drivers, rows)
    again = numpy.arange(100, rows, 100)
    times[again], drivers[again] = times[again - 1], drivers[again - 1]
    created = times + random.integers(0, 3_600, rows) * 1_000_000
    created[again] = created[again - 1]
    grades = numpy.array(["a", "b", "c", "longer than a view holds inline"])[random.integers(0, 4, rows)]
    return pyarrow.table(
        {
            "event_timestamp": some_null(random, times, 0.001, INSTANT),
            "created": pyarrow.array(created, type=INSTANT),
            "driver_id": some_null(random, drivers, 0.001, pyarrow.int64()),
            "conv_rate": some_null(random, random.random(rows, dtype=numpy.float32), 0.05, pyarrow.float32()),
            "acc_rate": pyarrow.array(random.random(rows)),
            "trips_today": some_null(random, random.integers(0, 50, rows), 0.05, pyarrow.int64()),
            "grade": pyarrow.array(grades),
        }
    )


def customer_orders(random, size):
    rows = size.orders_rows
    return pyarrow.table(
        {
            "event_timestamp": pyarrow.array(instants(random, rows, DAYS), type=INSTANT),
            "customer_id": pyarrow.array(random.integers(0, size.customers, rows)),
            "spent": some_null(random, random.random(rows) * 1000, 0.02, pyarrow.float64()),
            "segment": pyarrow.array([f"segment {number}" for number in random.integers(0, 30, rows)]),
        }
    )


def trips(random, size, rows, days):
    """A spine: ordered by time, some rows twice, some keys unknown."""
    times = instants(random, rows, days)
    trip = numpy.arange(rows)
    drivers = random.integers(0, size.drivers + size.drivers // 50, rows)
    customers = random.integers(0, size.customers, rows)
    twice = numpy.arange(50, rows, 50)
    for column in (times, trip, drivers, customers):
        column[twice] = column[twice - 1]
    distance = random.random(rows) * 100
    distance[twice] = distance[twice - 1]
    return pyarrow.table(
        {
            "trip_id": pyarrow.array(trip),
            "driver_id": some_null(random, drivers, 0.01, pyarrow.int64()),
            "customer_id": some_null(random, customers, 0.01, pyarrow.int64()),
            "event_timestamp": some_null(random, times, 0.002, INSTANT),
            "distance": pyarrow.array(distance),
        }
    )


def write_files(folder, table, files, group_rows):
    """A table as files of row groups, in order."""
    folder.mkdir(parents=True)
    step = -(-table.num_rows // files)
    for number in range(files):
        part = table.slice(number * step, step)
        pyarrow.parquet.write_table(part, folder / f"part-{number}.parquet", row_group_size=group_rows, compression="snappy")
