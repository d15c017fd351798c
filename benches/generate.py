"""Generate a point-in-time retrieval workload as Parquet with DuckDB.

usage: generate.py NAME OUT_DIR [SEED]   -> OUT_DIR/{spine/*.parquet, <view>/*.parquet, workload.json}
Feature files are laid out as a lake would have them: one file per time slice, unsorted inside.
Timestamps are unique per (entity, view) with overwhelming probability (microseconds), so engines
without a created-timestamp tie-break give the same answer.
"""
import json, os, sys, duckdb
name, out = sys.argv[1], sys.argv[2]
seed = int(sys.argv[3]) if len(sys.argv) > 3 else 7
w = json.load(open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "workloads.json")))[name]
rows, ents, days = w["spine"]
c = duckdb.connect()
c.execute(f"SET preserve_insertion_order=false; SET memory_limit='10GB'; SET threads={len(os.sched_getaffinity(0))}; SET TimeZone='UTC'")
span = days * 86400 * 1000000
base = "TIMESTAMPTZ '2026-01-01 00:00:00+00'"
def key(n, zipf, s):
    u = f"((hash(i*2654435761+{s}) % 9007199254740881)::DOUBLE/9007199254740881)"
    if zipf < 0:  # one hot key holds this share of all rows
        return f"(CASE WHEN {u} < {-zipf} THEN 0 ELSE floor((({u} - {-zipf}) / {1 + zipf}) * {n})::BIGINT END)"
    if zipf:  # bounded Pareto: heavy head
        return f"least({n-1}, floor(pow(1-{u}, -1.0/{zipf-1 if zipf>1 else zipf})-1))::BIGINT"
    return f"floor({u}*{n})::BIGINT"
def ts(lo, hi, s):
    return f"{base} + to_microseconds(({lo} + ((hash(i*40503+{s}) % 9007199254740881)::DOUBLE/9007199254740881)*({hi}-{lo}))::BIGINT)"
os.makedirs(f"{out}/spine", exist_ok=True)
z = next((v[5] for v in w["views"] if v[5]), 0)
nf = max(1, rows // 4000000)
for k in range(nf):
    a, b = rows * k // nf, rows * (k + 1) // nf
    c.execute(f"""COPY (SELECT {key(ents, z, seed)} AS entity_id, {ts(span//10, span, seed+1)} AS event_timestamp,
        (hash(i+{seed})%2)::INT AS label FROM range({a},{b}) t(i)) TO '{out}/spine/part-{k:03d}.parquet' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 262144)""")
for j, (v, m, e, f, ttl, zipf, files) in enumerate(w["views"]):
    os.makedirs(f"{out}/{v}", exist_ok=True)
    feats = ", ".join(f"((hash(i*31+{q*97+j*1009+seed})%1000000)/1000.0)::{'FLOAT' if q%3 else 'DOUBLE'} AS {v}_f{q}" for q in range(f))
    for k in range(files):
        a, b = m * k // files, m * (k + 1) // files
        lo, hi = span * k // files, span * (k + 1) // files
        c.execute(f"""COPY (SELECT entity_id, event_timestamp, event_timestamp + to_seconds((hash(entity_id)%600)::BIGINT) AS created, * EXCLUDE (entity_id, event_timestamp)
            FROM (SELECT {key(e, zipf, seed+11+j)} AS entity_id, {ts(lo, hi, seed+23+j)} AS event_timestamp, {feats} FROM range({a},{b}) t(i)))
            TO '{out}/{v}/part-{k:03d}.parquet' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 262144)""")
json.dump({"name": name, "seed": seed, **w}, open(f"{out}/workload.json", "w"))
