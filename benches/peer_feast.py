"""Feast's own duckdb store, by its definitions and `get_historical_features`. usage: peer_feast.py DIR OUT"""
import datetime, json, pathlib, sys, tempfile
import pyarrow.parquet as pq
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float32, Float64
d, out = sys.argv[1:3]
w = json.load(open(f"{d}/workload.json"))
with tempfile.TemporaryDirectory() as scratch:
    config = RepoConfig(
        project="bench", provider="local", registry=f"{scratch}/registry.db", online_store=None,
        offline_store={"type": "duckdb"}, entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    entity = Entity(name="entity", join_keys=["entity_id"], value_type=ValueType.INT64)
    views, features = [], []
    for name, _, _, count, ttl, _, _ in w["views"]:
        names = [f"{name}_f{number}" for number in range(count)]
        views.append(FeatureView(
            name=name, entities=[entity], ttl=datetime.timedelta(hours=ttl),
            schema=[Field(name=f, dtype=Float32 if i % 3 else Float64) for i, f in enumerate(names)],
            source=FileSource(
                name=f"{name}_source", path=f"{d}/{name}/*.parquet", timestamp_field="event_timestamp",
                created_timestamp_column="created",
            ),
        ))
        features += [f"{name}:{f}" for f in names]
    store.apply([entity, *views])
    spine = pq.read_table(pathlib.Path(d) / "spine").to_pandas()
    pq.write_table(store.get_historical_features(entity_df=spine, features=features).to_arrow(), out, compression="zstd")
