//! A plan as JSON: a stable contract, described in `docs/definitions.md`.

use serde_json::{Value, json};

use super::plan::{FieldChange, ObjectChange, ObjectRef, Plan};

/// The plan as JSON. Keys are only ever added.
pub fn plan_json(plan: &Plan) -> Value {
    let counts = plan.counts();
    json!({
        "project": plan.project,
        "has_changes": plan.has_changes(),
        "summary": {
            "created": counts.created,
            "updated": counts.updated,
            "deleted": counts.deleted,
            "unchanged": counts.unchanged,
            "breaking": counts.breaking,
            "broken": counts.broken,
        },
        "changes": plan.changes.iter().map(change).collect::<Vec<_>>(),
        "unchanged": plan.unchanged.iter().map(object).collect::<Vec<_>>(),
        "not_managed": plan
            .not_managed
            .iter()
            .map(|(kind, name)| json!({"kind": kind, "name": name}))
            .collect::<Vec<_>>(),
        "conflicts": plan.conflicts,
    })
}

fn object(object: &ObjectRef) -> Value {
    json!({"kind": object.kind.key(), "name": object.name})
}

fn change(change: &ObjectChange) -> Value {
    json!({
        "action": change.action.key(),
        "kind": change.object.kind.key(),
        "name": change.object.name,
        "fields": change.fields.iter().map(field).collect::<Vec<_>>(),
        "used_by": change
            .used_by
            .iter()
            .map(|usage| {
                json!({
                    "kind": usage.object.kind.key(),
                    "name": usage.object.name,
                    "effect": usage.effect.key(),
                })
            })
            .collect::<Vec<_>>(),
        "breaks": change
            .breaks
            .iter()
            .map(|found| {
                json!({"kind": found.user.kind.key(), "name": found.user.name, "reason": found.reason})
            })
            .collect::<Vec<_>>(),
    })
}

fn field(field: &FieldChange) -> Value {
    json!({
        "field": field.field,
        "key": field.key,
        "attribute": field.attribute,
        "old": field.old,
        "new": field.new,
    })
}
