"""DuckDB: one ASOF LEFT JOIN a view, ttl by CASE, Parquet in, Parquet out. usage: peer_duckdb.py DIR OUT"""
import json, os, sys, duckdb
d, out = sys.argv[1:3]
w = json.load(open(f"{d}/workload.json"))
c = duckdb.connect()
c.execute(f"SET threads={len(os.sched_getaffinity(0))}; SET preserve_insertion_order=false; SET TimeZone='UTC'; SET memory_limit='16GB'; SET temp_directory='{out}.tmp'")
sel, joins = ["s.*"], []
for v, m, e, f, ttl, z, files in w["views"]:
    ok = f"s.event_timestamp <= {v}.event_timestamp + INTERVAL {ttl} HOUR" if ttl else "true"
    sel += [f"CASE WHEN {ok} THEN {v}.{v}_f{q} END AS {v}_f{q}" for q in range(f)]
    joins.append(f"ASOF LEFT JOIN read_parquet('{d}/{v}/*.parquet') {v} ON s.entity_id = {v}.entity_id AND s.event_timestamp >= {v}.event_timestamp")
c.execute(f"COPY (SELECT {', '.join(sel)} FROM read_parquet('{d}/spine/*.parquet') s {' '.join(joins)}) TO '{out}' (FORMAT parquet, COMPRESSION zstd)")
