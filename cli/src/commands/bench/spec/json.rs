//! A workload as JSON: what `bench.json` keeps, and what `--spec` takes again.

use serde_json::{Value, json};

use super::{Skew, Spec};

impl Spec {
    /// All keys, defaults included.
    pub(crate) fn json(&self) -> Value {
        let spine = &self.spine;
        let entities = self.entities.iter().map(|entity| {
            json!({
                "name": entity.name,
                "keys": entity.keys,
                "columns": entity.columns,
                "key_type": entity.key_type.name(),
                "skew": entity.skew.json(),
            })
        });
        let views = self.views.iter().map(|view| {
            json!({
                "name": view.name,
                "entity": self.entities.get(view.entity).map(|entity| entity.name.as_str()),
                "rows": view.rows,
                "keys": view.keys,
                "skew": view.skew.json(),
                "features": view.features,
                "types": view.types.iter().map(|kind| kind.name()).collect::<Vec<_>>(),
                "ttl_hours": view.ttl_hours,
                "files": view.files,
                "layout": view.layout.name(),
                "disorder": view.disorder,
                "late": view.late,
                "late_hours": view.late_hours,
                "ties": view.ties,
                "null_keys": view.null_keys,
                "null_values": view.null_values,
                "row_group_rows": view.row_group_rows,
                "page_rows": view.page_rows,
            })
        });
        json!({
            "name": self.name,
            "seed": self.seed,
            "spine": {
                "rows": spine.rows,
                "days": spine.days,
                "files": spine.files,
                "null_keys": spine.null_keys,
                "null_instants": spine.null_instants,
                "ties": spine.ties,
                "row_group_rows": spine.row_group_rows,
            },
            "entities": entities.collect::<Vec<_>>(),
            "views": views.collect::<Vec<_>>(),
        })
    }
}

impl Skew {
    fn json(self) -> Value {
        match self {
            Self::Uniform => json!("uniform"),
            Self::Zipf(exponent) => json!({ "zipf": exponent }),
            Self::Hot(share) => json!({ "hot": share }),
        }
    }
}
