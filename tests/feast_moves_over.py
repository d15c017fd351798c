"""A registry that Feast's Python wrote becomes definitions, and Feast still reads it after a rollback.

    python tests/feast_moves_over.py --backsight target/debug/backsight

Run it with a Python that has Feast (0.67); with another one it says so and exits with 0. What is checked:

- `registry export` of a repo that Feast applied gives YAML, and `plan` on it finds nothing to change;
- the same YAML applied to an empty registry gives Feast the same objects;
- after changes, foreign writes and `registry rollback`, Feast reads every object as it was.
"""
import json
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

from feast_checks import check, run_with  # first: ends here without Feast

import feast
import pandas as pd
from feast import Entity, FeatureService, FeatureView, Field, FileSource, Project, RequestSource, ValueType
from feast.data_format import ParquetFormat
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Bool, Float32, Float64, Int64, String, UnixTimestamp

PROJECT = "moving"
FEATURE_STORE = """\
project: moving
provider: local
registry: {registry}
online_store: null
offline_store: {{type: dask}}
entity_key_serialization_version: 3
"""


class Backsight:
    def __init__(self, command):
        self.command = str(Path(command).resolve())

    def __call__(self, repo, *arguments, status=0):
        line = [self.command, "--chdir", str(repo), "--output-format", "json", *arguments]
        done = subprocess.run(line, capture_output=True, text=True)
        if done.returncode != status:
            sys.exit(f"FAILED: {line} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
        return json.loads(done.stdout if status == 0 else done.stderr), done.stderr


def write_sources(folder):
    (folder / "data").mkdir()
    frame = pd.DataFrame({
        "driver_id": [1, 2], "event_timestamp": pd.to_datetime(["2026-01-01", "2026-01-02"], utc=True),
        "created": pd.to_datetime(["2026-01-01", "2026-01-02"], utc=True),
        "conv_rate": pd.Series([0.5, 0.25], dtype="float32"), "trips": [3, 4], "zone": ["a", "b"],
    })
    frame.to_parquet(folder / "data" / "stats.parquet", index=False)


def adjust(inputs: pd.DataFrame) -> pd.DataFrame:
    out = pd.DataFrame()
    # An odd line: "quotes", 'quotes' and \\ backslashes
    out["plus"] = inputs["conv_rate"] + inputs["offset"]

    out["big"] = out["plus"] > 1
    return out


def objects(description="by the hour", with_zone=True):
    """Everything that definitions can say, with texts that YAML would take for something else."""
    driver = Entity(
        name="driver", join_keys=["driver_id"], value_type=ValueType.INT64, description="no",
        tags={"1": "0x1F", "yes": "null", "": "", "a: b": "- c # d"}, owner="a@example.com",
    )
    zone = Entity(name="zone", join_keys=["zone"], value_type=ValueType.STRING, description="first line\nsecond: line\n")
    stats = FileSource(
        name="stats_source", path="data/stats.parquet", timestamp_field="event_timestamp",
        created_timestamp_column="created", description="Driver's statistics, 100% real: \"yes\"", tags={"tier": "2024-01-01"},
    )
    mapped = FileSource(
        name="mapped_source", path="data/stats.parquet", timestamp_field="event_timestamp", file_format=ParquetFormat(),
        field_mapping={"conv_rate": "rate", "trips": "no"}, owner="~",
    )
    unnamed = FileSource(path="data/stats.parquet", timestamp_field="event_timestamp")
    asked = RequestSource(name="asked", schema=[Field(name="offset", dtype=Int64), Field(name="when", dtype=UnixTimestamp)])
    hourly = FeatureView(
        name="hourly", entities=[driver], ttl=timedelta(days=1, hours=12), source=stats, online=True,
        schema=[
            Field(name="conv_rate", dtype=Float32, description="share: of all", tags={"unit": "%"}),
            Field(name="trips", dtype=Int64), Field(name="driver_id", dtype=Int64, description="who drives"),
        ],
        tags={"production": "True", "on": "off"}, owner="ml@example.com", description=description,
    )
    areas = FeatureView(
        name="areas", entities=[zone], ttl=timedelta(milliseconds=1500), source=mapped, online=False,
        schema=[Field(name="rate", dtype=Float32), Field(name="zone", dtype=String)],
    )
    both = FeatureView(
        name="both", entities=[driver, zone], ttl=timedelta(0), source=unnamed,
        schema=[Field(name="trips", dtype=Int64), Field(name="conv_rate", dtype=Float32)],
    )
    everywhere = FeatureView(
        name="everywhere", entities=[], ttl=timedelta(hours=2), source=stats,
        schema=[Field(name="trips", dtype=Int64)], tags={"tags": "[]"},
    )

    adjusted = on_demand_feature_view(
        sources=[hourly, asked], schema=[Field(name="plus", dtype=Float64), Field(name="big", dtype=Bool)],
        description="adds: a value", tags={"x": "1e3"},
    )(adjust)
    whole = FeatureService(name="whole", features=[hourly, adjusted], tags={"a": "y"}, description="no")
    routes = FeatureService(name="routes", features=[
        hourly.with_name("origin").with_join_key_map({"driver_id": "origin_id"}),
        hourly[["trips"]].with_name("dest").with_join_key_map({"driver_id": "dest_id"}),
        areas[["rate"]],
    ])
    found = [
        Project(name=PROJECT, description="all: of it", tags={"team": "0o17"}, owner="ml@example.com"),
        driver, stats, unnamed, asked, hourly, both, everywhere, adjusted, whole, zone, mapped, areas, routes,
    ]
    return found if with_zone else [it for it in found if getattr(it, "name", "") not in ("areas", "routes", "mapped_source")]


def store(repo):
    return feast.FeatureStore(repo_path=str(repo))


def said(opened):
    """Everything that Feast's own objects say, without times."""
    registry = opened.registry
    lists = {
        "project": [opened.get_project(PROJECT)],
        "entities": [it for it in registry.list_entities(PROJECT) if it.name != "__dummy"],
        "sources": registry.list_data_sources(PROJECT),
        "views": registry.list_feature_views(PROJECT),
        "on demand": registry.list_on_demand_feature_views(PROJECT),
        "services": registry.list_feature_services(PROJECT),
    }
    return {kind: {it.name: stripped(it.to_proto()) for it in found} for kind, found in lists.items()}


def stripped(message):
    """A message as text without what says nothing: times, states, class names, pickled functions, formats."""
    from google.protobuf.json_format import MessageToDict

    silent = {
        "meta", "createdTimestamp", "lastUpdatedTimestamp", "dataSourceClassType", "body", "fileFormat", "project",
        "timestampField", "viewType", "versionTag", "version", "bodyText",
    }

    def clean(value):
        if isinstance(value, dict):
            return {key: clean(inner) for key, inner in sorted(value.items()) if key not in silent}
        if isinstance(value, list):
            return [clean(inner) for inner in value]
        return value

    return clean(MessageToDict(message))


def main():
    run_with("--backsight", "backsight", "the binary", run, __doc__)


def run(folder, command):
    backsight = Backsight(command)
    python = folder / "python"
    python.mkdir()
    write_sources(python)
    registry = folder / "registry.pb"
    (python / "feature_store.yaml").write_text(FEATURE_STORE.format(registry=registry))
    store(python).apply(objects())
    by_feast = said(store(python))
    moved = move_over(folder, python, registry, backsight)
    from_nothing(folder, moved, by_feast, backsight)
    go_back(python, registry, by_feast, backsight)


def move_over(folder, python, registry, backsight):
    """Export to a new folder, with the same feature_store.yaml: nothing to change."""
    before = registry.read_bytes()
    moved = folder / "moved"
    moved.mkdir()
    shutil.copy(python / "feature_store.yaml", moved)
    shutil.copytree(python / "data", folder / "kept_data")
    written, notes = backsight(python, "registry", "export", "--output", str(moved))
    check(written["not_managed"] == [] and written["not_expressed"] == [] and written["inexact"] == [],
          f"everything can be said by definitions {notes}")
    check(written["objects"] == 14, f"and is: {written['objects']} objects")
    plan, _ = backsight(moved, "plan", "--detailed-exitcode", "--no-source-check")
    check(not plan["has_changes"] and plan["summary"]["unchanged"] == 14, "plan finds nothing to change")
    applied, _ = backsight(moved, "apply", "--yes", "--no-source-check")
    check(not applied["applied"] and registry.read_bytes() == before, "apply writes nothing")
    again, _ = backsight(python, "registry", "export")
    texts = [Path(moved, file["path"]).read_text() for file in again["files"]]
    check(texts == [file["text"] for file in again["files"]], "a second export is the same")
    return moved


def from_nothing(folder, moved, by_feast, backsight):
    """The definitions alone make a registry in which Feast reads the same."""
    fresh = folder / "fresh"
    shutil.copytree(moved, fresh)
    shutil.copytree(folder / "kept_data", fresh / "data")
    (fresh / "feature_store.yaml").write_text(FEATURE_STORE.format(registry=folder / "fresh.pb"))
    backsight(fresh, "apply", "--yes", "--no-source-check")
    ours = said(store(fresh))
    for kind, expected in by_feast.items():
        differing = [name for name in expected if ours[kind].get(name) != expected[name]]
        shown = "".join(f"\n    {expected[name]}\n    {ours[kind].get(name)}" for name in differing)
        check(sorted(ours[kind]) == sorted(expected) and not differing, f"Feast reads the same {kind} {shown}")


def go_back(python, registry, by_feast, backsight):
    """Backsight's and Feast's writes in turn, then back to what was."""
    definitions = python / "definitions"
    backsight(python, "registry", "export", "--output", str(definitions))
    views = definitions / "feature_views.yaml"
    views.write_text(views.read_text().replace("by the hour", "changed here"))
    backsight(python, "apply", "--yes", "--no-source-check")
    check(store(python).get_feature_view("hourly").description == "changed here", "Feast sees what Backsight changed")
    # Feast writes over it: another description, and three objects less.
    store(python).apply(objects("changed by Feast", with_zone=False), partial=False, objects_to_delete=[
        it for it in objects() if getattr(it, "name", "") in ("areas", "routes", "mapped_source")
    ])
    history, _ = backsight(python, "registry", "history")
    newest = history["versions"][0]
    check(newest["is_current"] and newest["is_foreign"] and newest["number"] is None, "the foreign write is marked")
    check([it["number"] for it in history["versions"]] == [None, 2, 1], "the versions before it are kept")
    difference, _ = backsight(python, "registry", "diff", "1")
    changes = {(it["action"], it["name"]) for it in difference["changes"]}
    check({("update", "hourly"), ("delete", "areas"), ("delete", "routes")} <= changes, f"diff tells it {changes}")
    backsight(python, "registry", "rollback", "1", status=2)
    back, _ = backsight(python, "registry", "rollback", "1", "--yes")
    check(back["rolled_back"], "the project goes back to what Feast applied first")
    check(said(store(python)) == by_feast, "Feast reads every object as it was")
    history, _ = backsight(python, "registry", "history")
    check([it["number"] for it in history["versions"]] == [4, 3, 2, 1], "as a new version")
    check([it["is_foreign"] for it in history["versions"]] == [False, True, False, False], "Feast's own is kept, marked")
    spine = pd.DataFrame({
        "origin_id": [2], "dest_id": [2], "zone": ["b"], "event_timestamp": pd.to_datetime(["2026-01-02"], utc=True),
    })
    opened = store(python)
    frame = opened.get_historical_features(
        entity_df=spine, features=opened.get_feature_service("routes"), full_feature_names=True
    ).to_df()
    check(frame["dest__trips"].tolist() == [4], "and retrieves with a service that was gone")
    store(python).apply(objects("Feast again"))
    check(store(python).get_feature_view("hourly").description == "Feast again", "Feast applies on top of it")


if __name__ == "__main__":
    main()
