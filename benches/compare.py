"""Compare two results as multisets of rows, whatever the order of rows and columns. usage: compare.py A B

A and B are files or folders of Parquet. Prints one JSON object: rows and fingerprint of each, and what differs. Exits
with 1 when anything does: a column that only one of them has, a number of nulls, a row.
"""
import json, os, sys, duckdb


def source(path):
    return f"read_parquet('{path}/*.parquet')" if os.path.isdir(path) else f"read_parquet('{path}')"


def comparable(column, kind):
    """One representation for types that engines widen or label differently."""
    if "TIMESTAMP" in kind:
        return f"epoch_us({column}::TIMESTAMPTZ)"
    if "INT" in kind:
        return f"{column}::BIGINT"
    if kind in ("FLOAT", "DOUBLE"):
        return f"{column}::DOUBLE"
    return column


def fingerprint(connection, path, columns, kinds):
    values = ", ".join(comparable(f'"{column}"', kinds[column]) for column in columns)
    counts = ", ".join(f'count("{column}")' for column in columns)
    query = f"SELECT count(*), coalesce(sum(hash({values})::HUGEINT), 0), {counts} FROM {source(path)}"
    rows, checksum, *present = connection.execute(query).fetchone()
    return {"rows": rows, "checksum": str(checksum), "present": dict(zip(columns, present))}


def main(a, b):
    connection = duckdb.connect()
    connection.execute("SET TimeZone='UTC'")
    kinds = [
        {row[0]: row[1] for row in connection.execute(f"DESCRIBE SELECT * FROM {source(path)}").fetchall()}
        for path in (a, b)
    ]
    shared = [column for column in kinds[0] if column in kinds[1]]
    found = [fingerprint(connection, path, shared, kind) for path, kind in zip((a, b), kinds)]
    differences = [f"column `{column}` is only in the first" for column in kinds[0] if column not in kinds[1]]
    differences += [f"column `{column}` is only in the second" for column in kinds[1] if column not in kinds[0]]
    for column in shared:
        x, y = (result["present"][column] for result in found)
        if x != y:
            differences.append(f"column `{column}` has {x} and {y} values that are not null")
    if found[0]["rows"] != found[1]["rows"]:
        differences.append(f"there are {found[0]['rows']} and {found[1]['rows']} rows")
    if not differences and found[0]["checksum"] != found[1]["checksum"]:
        differences.append("rows differ: equal numbers of rows and nulls, unequal checksums")
    for result in found:
        result.pop("present")
    print(json.dumps({"a": found[0], "b": found[1], "differences": differences}))
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
