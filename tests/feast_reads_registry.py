"""Feast reads, describes and retrieves from a registry that Backsight wrote, and Backsight keeps what Feast rewrites.

    python tests/feast_reads_registry.py --apply 'backsight --chdir {repo} apply --yes'

Run it with a Python that has Feast (0.67) and DuckDB; with another one it says so and exits with 0. `{repo}` is the
folder of a feature repo that this script makes; `{registry}` and `{project}` stand for what its feature_store.yaml
says. Retrievals are compared with a loop that follows the definition of a point-in-time join word by word.
"""
import hashlib
import shlex
import subprocess
import sys
from datetime import datetime, timedelta, timezone

from feast_checks import check, run_with  # first: ends here without Feast

import feast
import pandas as pd

PROJECT = "checked"
FEATURE_STORE = """\
project: checked
provider: local
registry: registry.pb
online_store: null
offline_store:
  type: {store}
entity_key_serialization_version: 3
"""
DEFINITIONS = """\
kind: Project
name: checked
description: what Feast should see
owner: ml@example.com
---
kind: Entity
name: driver
join_keys: [driver_id]
value_type: INT64
description: a driver
tags: {tier: gold}
---
kind: Entity
name: city
join_keys: [city]
value_type: STRING
---
kind: FileSource
name: hourly
path: {data}/hourly
timestamp_field: event_timestamp
created_timestamp_column: created
field_mapping: {drv: driver_id, event: event_timestamp}
description: one row an hour
---
kind: FileSource
name: weather
path: {data}/weather.parquet
timestamp_field: event_timestamp
---
kind: RequestSource
name: asked
schema: [{name: offset, dtype: Int64}]
---
kind: FeatureView
name: stats
entities: [driver]
ttl: 3h
schema:
  - {name: conv_rate, dtype: Float64}
  - {name: trips, dtype: Int64, description: trips of the day, tags: {unit: trips}}
source: hourly
tags: {production: "True"}
owner: stats@example.com
description: by the hour
---
kind: FeatureView
name: rain
entities: [city]
schema: [{name: mm, dtype: Float64}]
source: weather
online: false
---
kind: FeatureView
name: worldwide
entities: []
schema: [{name: trips, dtype: Int64}]
source: hourly
---
kind: OnDemandFeatureView
name: adjusted
sources: [stats, asked]
schema: [{name: rate_plus, dtype: Float64}]
mode: pandas
udf: |
  def adjust(inputs):
      out = pd.DataFrame()
      out["rate_plus"] = inputs["conv_rate"] + inputs["offset"]
      return out
---
kind: FeatureService
name: whole
features: [stats, rain]
tags: {a: b}
description: two views
---
kind: FeatureService
name: routes
features:
  - {view: stats, name: origin, join_key_map: {driver_id: origin_id}}
  - {view: stats, name: dest, features: [trips], join_key_map: {driver_id: dest_id}}
"""

START = datetime(2026, 1, 1, tzinfo=timezone.utc)


def write_data(folder):
    """Sources as people have them: a folder of files, other column names, repeated instants, late rows."""
    hourly = []
    for hour in range(48):
        for driver in range(1, 5):
            instant = START + timedelta(hours=hour)
            for version in range(2 if hour % 5 == 0 else 1):
                hourly.append({
                    "drv": driver, "event": instant, "created": instant + timedelta(minutes=version),
                    "conv_rate": driver + hour / 100 + version / 1000, "trips": driver * 1000 + hour * 10 + version,
                })
    frame = pd.DataFrame(hourly)
    (folder / "hourly").mkdir(parents=True)
    frame.iloc[::2].to_parquet(folder / "hourly" / "a.parquet", index=False)
    frame.iloc[1::2].to_parquet(folder / "hourly" / "b.parquet", index=False)
    weather = pd.DataFrame([
        {"city": city, "event_timestamp": START + timedelta(hours=hour), "mm": hour + shift}
        for hour in range(0, 48, 6) for city, shift in (("Oslo", 0.5), ("Lima", 0.25))
    ])
    weather.to_parquet(folder / "weather.parquet", index=False)
    frame = frame.rename(columns={"drv": "driver_id", "event": "event_timestamp"})
    return frame, weather


def as_of(rows, keys, instant, ttl, feature):
    """The value of the eligible row with the greatest event time, then the greatest created time."""
    best = None
    for row in rows.to_dict("records"):
        time = row["event_timestamp"]
        if any(row[key] != value for key, value in keys.items()) or time > instant:
            continue
        if ttl is not None and time < instant - ttl:
            continue
        rank = (time, row.get("created", time))
        if best is None or rank > best[0]:
            best = (rank, row[feature])
    return None if best is None else best[1]


def same(found, wanted):
    if wanted is None:
        return pd.isna(found)
    return not pd.isna(found) and abs(float(found) - float(wanted)) < 1e-9


def compare(store, name, frame, service, spine, wanted):
    """`wanted`: output column -> function of a spine row."""
    result = store.get_historical_features(entity_df=spine, features=service, full_feature_names=True).to_df()
    check(len(result) == len(spine), f"{name}: one row out for each row in")
    result = result.sort_values("row").reset_index(drop=True)
    for column, value in wanted.items():
        rows = [row for _, row in spine.iterrows()]
        wrong = [i for i, row in enumerate(rows) if not same(result[column][i], value(row))]
        check(not wrong, f"{name}: `{column}` is right in all {len(rows)} rows")


def main():
    run_with("--apply", "backsight --chdir {repo} apply --yes", "the command that applies", run, __doc__)


def run(repo, command):
    hourly, weather = write_data(repo / "data")
    (repo / "definitions.yaml").write_text(DEFINITIONS.replace("{data}", str(repo / "data")))
    registry = repo / "registry.pb"
    parts = shlex.split(command)
    apply = [part.format(repo=repo, registry=registry, project=PROJECT) for part in parts]

    def open_store(kind):
        (repo / "feature_store.yaml").write_text(FEATURE_STORE.format(store=kind))
        return feast.FeatureStore(repo_path=str(repo))

    (repo / "feature_store.yaml").write_text(FEATURE_STORE.format(store="duckdb"))
    subprocess.run(apply, check=True)
    written = registry.read_bytes()
    for kind in ("duckdb", "dask"):
        store = open_store(kind)
        print(f"offline store {kind}")
        if kind == "duckdb":
            look(store)
        retrieve(store, kind, hourly, weather)
    check(registry.read_bytes() == written, "reading with Feast changes nothing")
    rewrite(open_store("duckdb"), registry, apply)


def look(store):
    """Lists and describes what the definitions say."""
    check([p.name for p in store.list_projects()] == [PROJECT], "Feast lists the project")
    check(store.get_project(PROJECT).owner == "ml@example.com", "the project has its owner")
    entities = {entity.name: entity for entity in store.list_entities()}
    check(sorted(set(entities) - {"__dummy"}) == ["city", "driver"], "Feast lists the entities")
    driver = store.get_entity("driver")
    check(driver.join_key == "driver_id" and driver.tags == {"tier": "gold"}, "the entity has key and tags")
    sources = {source.name: source for source in store.list_data_sources()}
    check(sorted(sources) == ["asked", "hourly", "weather"], "Feast lists the sources")
    check(sources["hourly"].field_mapping == {"drv": "driver_id", "event": "event_timestamp"}, "with their mapping")
    check([f.name for f in sources["asked"].schema] == ["offset"], "and the fields of a request")
    views = {view.name: view for view in store.list_batch_feature_views()}
    check(sorted(views) == ["rain", "stats", "worldwide"], "Feast lists the views")
    stats = store.get_feature_view("stats")
    check(stats.ttl == timedelta(hours=3) and stats.online and stats.tags == {"production": "True"}, "a view is whole")
    check([f.name for f in stats.features] == ["conv_rate", "trips"], "its features are in order")
    check(stats.features[1].description == "trips of the day" and stats.features[1].tags == {"unit": "trips"},
          "a feature has its words and tags")
    check([c.name for c in stats.entity_columns] == ["driver_id"], "it joins by its key")
    check(not store.get_feature_view("rain").online, "a view that is not online says so")
    check('"stats"' in str(stats) and '"10800s"' in str(stats), "Feast describes the view")
    versions = store.registry.list_feature_view_versions("stats", PROJECT)
    check([v["version_number"] for v in versions] == [0], "Feast lists the version of the view")
    on_demand = store.get_on_demand_feature_view("adjusted")
    check(sorted(on_demand.source_request_sources) == ["asked"], "the on-demand view has its request")
    services = {service.name: service for service in store.list_feature_services()}
    check(sorted(services) == ["routes", "whole"], "Feast lists the services")
    aliases = [part.name_alias for part in services["routes"].feature_view_projections]
    check(aliases == ["origin", "dest"], "aliases are there, in order")


def retrieve(store, kind, hourly, weather):
    """Every retrieval that the registry must carry. The dask store of Feast drops rows without a match and decides by
    chance between feature rows of one instant (feast-dev/feast#3360), so it gets rows that have one answer each."""
    hours = [hour for hour in range(0, 47, 3) if kind == "duckdb" or hour % 5 != 0]
    spine = pd.DataFrame([
        {"row": i, "driver_id": 1 + i % 4, "city": ("Oslo", "Lima")[i % 2], "offset": i,
         "origin_id": 1 + i % 4, "dest_id": 4 - i % 4,
         "event_timestamp": START + timedelta(hours=hour, minutes=30)}
        for i, hour in enumerate(hours)
    ])
    if kind == "duckdb":
        late = spine.tail(2).copy()
        late["row"] += 2
        late["event_timestamp"] += timedelta(hours=6)
        spine = pd.concat([spine, late], ignore_index=True)
    ttl = timedelta(hours=3)

    def of_stats(key, feature):
        return lambda row: as_of(hourly, {"driver_id": row[key]}, row["event_timestamp"], ttl, feature)

    compare(store, "a service of two views", hourly, store.get_feature_service("whole"), spine, {
        "stats__conv_rate": of_stats("driver_id", "conv_rate"),
        "stats__trips": of_stats("driver_id", "trips"),
        "rain__mm": lambda row: as_of(weather, {"city": row["city"]}, row["event_timestamp"], None, "mm"),
    })
    compare(store, "aliases and key maps", hourly, store.get_feature_service("routes"), spine, {
        "origin__conv_rate": of_stats("origin_id", "conv_rate"),
        "dest__trips": of_stats("dest_id", "trips"),
    })
    compare(store, "an on-demand view", hourly, ["stats:conv_rate", "adjusted:rate_plus"], spine, {
        "adjusted__rate_plus": lambda row: (
            None if of_stats("driver_id", "conv_rate")(row) is None
            else of_stats("driver_id", "conv_rate")(row) + row["offset"]
        ),
    })
    newest = hourly.groupby("event_timestamp")["trips"].apply(set)
    result = store.get_historical_features(entity_df=spine, features=["worldwide:trips"]).to_df()
    check(len(result) == len(spine), "an entity-less view: one row out for each row in")
    for _, row in result.iterrows():
        instant = newest.index[newest.index <= row["event_timestamp"]].max()
        if row["trips"] not in newest[instant]:
            sys.exit(f"FAILED: an entity-less view gives {row['trips']}, none of the newest rows at {instant}")
    check(True, "an entity-less view gives one of the newest rows")


def rewrite(store, registry, apply):
    """Feast applies what it has read, unchanged; then Backsight applies and must find nothing to do."""
    objects = [store.get_project(PROJECT)]
    # Views from the registry itself: the store hides the entity that Feast wants to see in an entity-less view.
    objects += store.list_entities() + store.list_data_sources() + store.registry.list_feature_views(PROJECT)
    objects += store.list_on_demand_feature_views() + store.list_feature_services()
    for _ in range(2):
        before = registry.read_bytes()
        store.apply(objects)
        check(registry.read_bytes() != before, "Feast rewrites the registry")
    rewritten = hashlib.sha256(registry.read_bytes()).hexdigest()
    subprocess.run(apply, check=True)
    check(hashlib.sha256(registry.read_bytes()).hexdigest() == rewritten, "Backsight finds nothing to change in it")


if __name__ == "__main__":
    main()
