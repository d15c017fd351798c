"""Writes `feast-0.67.pb` with the real Feast: every kind of object that a registry of ours may meet.

    python -c "import runpy; runpy.run_path('write_with_feast.py')"

Two projects in one file. The result is committed; this script says what is in it. (Started this way, pickled
functions remember no folder of the machine.)
"""

from datetime import timedelta
from pathlib import Path

import pandas as pd
from feast import (
    BatchFeatureView, Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, KafkaSource, Project,
    PushSource, RepoConfig, RequestSource, StreamFeatureView, ValueType,
)
from feast.aggregation import Aggregation
from feast.data_format import JsonFormat, ParquetFormat
from feast.infra.offline_stores.bigquery_source import BigQuerySource
from feast.on_demand_feature_view import on_demand_feature_view
from feast.permissions.action import AuthzedAction
from feast.permissions.permission import Permission
from feast.permissions.policy import RoleBasedPolicy
from feast.transformation.python_transformation import PythonTransformation
from feast.types import Float32, Float64, Int64, String

target = Path("feast-0.67.pb").resolve()
target.unlink(missing_ok=True)


def store(project):
    return FeatureStore(config=RepoConfig(
        project=project, provider="local", registry=str(target), online_store=None,
        offline_store={"type": "dask"}, entity_key_serialization_version=3,
    ))


driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64, description="driver id")
customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING, owner="crm")
stats = FileSource(
    name="driver_stats_source", path="data/driver_stats.parquet", timestamp_field="event_timestamp",
    created_timestamp_column="created", description="Driver statistics", owner="stats@example.com",
    tags={"tier": "gold"},
)
s3_stats = FileSource(
    name="s3_stats", path="s3://bucket/stats/", timestamp_field="ts", s3_endpoint_override="http://127.0.0.1:9000",
    file_format=ParquetFormat(), field_mapping={"event": "ts", "drv": "driver_id"},
)
push_batch = FileSource(
    name="push_batch", path="data/push.parquet", timestamp_field="event_timestamp",
    field_mapping={"miles_driven": "miles"},
)
push = PushSource(name="driver_push", batch_source=push_batch)
kafka = KafkaSource(
    name="kf", kafka_bootstrap_servers="localhost:9092", topic="t", message_format=JsonFormat("a int"),
    timestamp_field="event_timestamp", batch_source=stats, watermark_delay_threshold=timedelta(minutes=5),
)
warehouse = BigQuerySource(name="bq", table="a.b.c", timestamp_field="event_timestamp")

hourly = FeatureView(
    name="driver_hourly_stats", entities=[driver], ttl=timedelta(days=100), online=True, source=stats,
    schema=[
        Field(name="conv_rate", dtype=Float32),
        Field(name="acc_rate", dtype=Float32, description="share of accepted trips", tags={"k": "v"}),
        Field(name="driver_id", dtype=Int64),
    ],
    tags={"production": "True"}, owner="ml@example.com", description="Hourly features",
)
mapped = FeatureView(
    name="mapped_stats", entities=[driver, customer], ttl=timedelta(milliseconds=1500), online=False, source=s3_stats,
    schema=[Field(name="score", dtype=Float64), Field(name="customer_id", dtype=String)],
)
everywhere = FeatureView(
    name="global_stats", entities=[], ttl=timedelta(hours=2), online=False, source=stats,
    schema=[Field(name="acc_rate", dtype=Float32)],
)
pushed = FeatureView(
    name="pushed", entities=[driver], source=push, schema=[Field(name="miles", dtype=Float64)], version="v3",
)
in_warehouse = FeatureView(
    name="in_warehouse", entities=[customer], source=warehouse, schema=[Field(name="spent", dtype=Float64)],
)
streamed = StreamFeatureView(
    name="streamed", entities=[driver], ttl=timedelta(days=30), mode="spark", timestamp_field="event_timestamp",
    schema=[Field(name="conv_rate", dtype=Float32)], source=kafka, online=True,
    aggregations=[Aggregation(column="conv_rate", function="sum", time_window=timedelta(hours=1))],
)
batch = BatchFeatureView(
    name="batched", entities=[driver], mode="python", source=stats, schema=[Field(name="conv_rate", dtype=Float32)],
    udf=lambda x: x, udf_string="lambda x: x",
)
values = RequestSource(name="vals", schema=[Field(name="val_to_add", dtype=Int64)])


@on_demand_feature_view(
    sources=[hourly, values], schema=[Field(name="conv_plus", dtype=Float64)], description="adds a value",
)
def transformed(inputs: pd.DataFrame) -> pd.DataFrame:
    out = pd.DataFrame()
    out["conv_plus"] = inputs["conv_rate"] + inputs["val_to_add"]
    return out


model_v1 = FeatureService(name="model_v1", features=[hourly[["conv_rate"]]], tags={"a": "b"}, owner="ml@example.com")
model_v2 = FeatureService(name="model_v2", features=[hourly, transformed], description="the whole view")
routes = FeatureService(name="routes", features=[
    hourly.with_name("origin").with_join_key_map({"driver_id": "origin_id"}),
    hourly[["acc_rate"]].with_name("dest").with_join_key_map({"driver_id": "dest_id"}),
    pushed,
])
reader = Permission(
    name="reader", types=[FeatureView], policy=RoleBasedPolicy(roles=["reader"]), actions=[AuthzedAction.DESCRIBE],
)

first = store("first")
first.apply([
    Project(name="first", description="everything", tags={"team": "ml"}, owner="ml@example.com"),
    driver, customer, stats, s3_stats, push_batch, push, kafka, warehouse, values,
    hourly, mapped, everywhere, pushed, in_warehouse, streamed, batch, transformed,
    model_v1, model_v2, routes, reader,
])
second = store("second")
second.apply([
    Project(name="second"), Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.STRING),
])
