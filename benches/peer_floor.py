"""A floor for the same work: decode every needed feature column once, then re-encode a finished result of the same content (DuckDB).
usage: peer_floor.py DIR OUT  (needs the finished result of peer_duckdb beside OUT)"""
import json, os, sys, duckdb
d, out = sys.argv[1:3]
w = json.load(open(f"{d}/workload.json"))
c = duckdb.connect(); c.execute(f"SET threads={len(os.sched_getaffinity(0))}; SET preserve_insertion_order=false; SET TimeZone='UTC'; SET memory_limit='16GB'")
for v, m, e, f, ttl, z, files in w["views"]:
    c.execute(f"SELECT max(entity_id), epoch_us(max(event_timestamp)), {', '.join(f'max({v}_f{q})' for q in range(f))} FROM read_parquet('{d}/{v}/*.parquet')").fetchall()
c.execute(f"COPY (SELECT * FROM read_parquet('{out.replace('_floor', '_duckdb')}')) TO '{out}' (FORMAT parquet, COMPRESSION zstd)")
