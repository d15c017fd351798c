"""Is what lies in an output exactly the fault-free dataset, or nothing at all?

`Output` reads a folder on disk or below an S3 prefix, past Backsight. `compare` wants the very rows (as a multiset), a
manifest that agrees with the files, and no file besides. `nothing_left` wants no file at all, or, where a process was
killed before it could clear up, none that anybody would take for data.
"""
import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pyarrow
import pyarrow.parquet

OWN = "_backsight/"
COMMITTED = {"_SUCCESS", "_backsight/manifest.json", "_backsight/registry.pb"}
# What a killed process may leave until the output is next opened: never listed as data.
LEFTOVERS = ("_backsight/claim", "_backsight/registry.pb.next", "_backsight/staging/", "_backsight/.")


class Wrong(Exception):
    """What was found is not what must be."""


def check(condition, message):
    if not condition:
        raise Wrong(message)


@dataclass(frozen=True)
class Output:
    """Where a dataset goes: a folder, or a prefix of a bucket."""

    uri: str
    folder: Path = None
    s3: object = None
    prefix: str = ""

    @classmethod
    def local(cls, folder):
        return cls(str(folder), folder=Path(folder))

    @classmethod
    def remote(cls, s3, prefix):
        prefix = prefix.rstrip("/") + "/"
        return cls(f"s3://{s3.bucket}/{prefix.rstrip('/')}", s3=s3, prefix=prefix)

    def files(self):
        """Relative name and bytes of every file, hidden ones too."""
        if self.s3:
            return {item.key[len(self.prefix) :]: item.bytes for item in self.s3.list(self.prefix)}
        if not self.folder.exists():
            return {}
        found = (path for path in self.folder.rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix(): path.stat().st_size for path in found}

    def read(self, name):
        """The bytes of a file; `None` when it is not there."""
        if self.s3:
            return self.s3.get(self.prefix + name)
        path = self.folder / name
        return path.read_bytes() if path.is_file() else None

    def pending_uploads(self):
        """Uploads that were begun and neither completed nor aborted."""
        return self.s3.uploads(self.prefix) if self.s3 else []

    def remove(self):
        """Makes room on the disk of a small machine."""
        if self.s3:
            self.s3.delete_all(self.prefix)
            for key, upload in self.pending_uploads():
                self.s3.abort(key, upload)
        elif self.folder.exists():
            shutil.rmtree(self.folder)


def rows_of(table):
    """A table in an order that depends on its rows alone."""
    table = table.combine_chunks()
    return table.sort_by([(name, "ascending") for name in table.column_names])


def read_dataset(output):
    """All rows of a committed dataset, by its listed files, and its manifest."""
    files = output.files()
    check("_SUCCESS" in files, f"`{output.uri}` has no _SUCCESS; it holds {shown(files)}")
    check("_backsight/manifest.json" in files, f"`{output.uri}` has _SUCCESS and no manifest")
    manifest = json.loads(output.read("_backsight/manifest.json"))
    parts = {part["path"]: part for part in manifest["parts"]}
    data = {name for name in files if name not in COMMITTED}
    check(data == set(parts), f"files and manifest differ: only listed {shown(data - set(parts))}, only in the manifest {shown(set(parts) - data)}")
    tables = []
    for name, part in sorted(parts.items()):
        check(files[name] == part["bytes"], f"part {name} has {files[name]} bytes, the manifest says {part['bytes']}")
        table = pyarrow.parquet.read_table(io.BytesIO(output.read(name)))
        check(table.num_rows == part["rows"], f"part {name} has {table.num_rows} rows, the manifest says {part['rows']}")
        check(not tables or table.schema.equals(tables[0].schema), f"part {name} has another schema than the parts before: {table.schema}")
        tables.append(table)
    check(tables, f"`{output.uri}` was committed without parts")
    return pyarrow.concat_tables(tables), manifest


def compare(output, expected):
    """Raises `Wrong` unless `output` holds exactly the rows of `expected` (in the order of `rows_of`)."""
    table, manifest = read_dataset(output)
    check(manifest["rows"] == expected.num_rows, f"the manifest says {manifest['rows']} rows, expected {expected.num_rows}")
    check(table.num_rows == expected.num_rows, f"{table.num_rows} rows, expected {expected.num_rows}")
    check(table.schema.equals(expected.schema), f"the schema is {table.schema}, expected {expected.schema}")
    found = rows_of(table)
    if not found.equals(expected):
        raise Wrong(f"rows differ: {first_difference(found, expected)}")
    return manifest


def first_difference(found, expected):
    for name in expected.column_names:
        left, right = found.column(name), expected.column(name)
        if not left.equals(right):
            for row, (one, other) in enumerate(zip(left.to_pylist(), right.to_pylist())):
                if one != other:
                    return f"first in `{name}`, sorted row {row}: {found.slice(row, 1).to_pylist()} instead of {expected.slice(row, 1).to_pylist()}"
    return "somewhere"


def is_committed(output):
    return "_SUCCESS" in output.files()


def nothing_left(output, after_kill=False):
    """Raises `Wrong` when an output that has no dataset holds something."""
    files = output.files()
    check("_SUCCESS" not in files, f"`{output.uri}` has _SUCCESS although there must be no dataset")
    check("_backsight/manifest.json" not in files, f"`{output.uri}` has a manifest although there must be no dataset")
    stray = {name for name in files if not (after_kill and name.startswith(LEFTOVERS))}
    check(not stray, f"`{output.uri}` was left with {shown(stray)}")
    pending = output.pending_uploads()
    check(after_kill or not pending, f"`{output.uri}` was left with {len(pending)} pending uploads: {pending[:3]}")
    return len(pending)


def shown(names, most=6):
    names = sorted(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(f"`{name}`" for name in names[:most]) or "nothing") + more
