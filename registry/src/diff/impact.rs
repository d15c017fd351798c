//! Which changes take something away from services and on-demand views that stay.

use std::collections::{BTreeMap, BTreeSet};

use super::attributes::name_to_use;
use super::plan::{Break, ObjectRef};
use super::state::State;
use crate::dtype::dtype_name;
use crate::kind::Kind;
use crate::model::{Field, OnDemandInput, Projection, SourceKind};

/// Breaks by the object whose change causes them.
type Breaks = BTreeMap<ObjectRef, BTreeSet<Break>>;

/// Every break between two states. What a service or an on-demand view drops by its own change, while the view still
/// has it, is no break: nobody took it away.
pub(super) fn breaks_of(before: &State<'_>, after: &State<'_>) -> Breaks {
    let mut breaks = Breaks::new();
    for (name, service) in &before.services {
        let Some(now) = after.services.get(name) else { continue };
        let user = ObjectRef { kind: Kind::FeatureService, name: (*name).to_owned() };
        for projection in &service.projections {
            let prefix = name_to_use(projection);
            let same = now.projections.iter().find(|now| name_to_use(now) == prefix);
            lost_features(prefix, projection, same, before, after, &user, &mut breaks);
            lost_spine(prefix, projection, same, before, after, &user, &mut breaks);
        }
    }
    for (name, view) in &before.on_demand {
        let Some(now) = after.on_demand.get(name) else { continue };
        let user = ObjectRef { kind: Kind::OnDemandFeatureView, name: (*name).to_owned() };
        for (input, value) in &view.inputs {
            match (value, now.inputs.get(input)) {
                (OnDemandInput::View(projection), now) => {
                    let same = match now {
                        Some(OnDemandInput::View(now)) => Some(now),
                        _ => None,
                    };
                    lost_features(input, projection, same, before, after, &user, &mut breaks);
                }
                (OnDemandInput::Request(old), Some(OnDemandInput::Request(new))) => {
                    if let (SourceKind::Request { schema: old }, SourceKind::Request { schema: new }) =
                        (&old.kind, &new.kind)
                    {
                        lost_request_values(input, old, new, &user, &mut breaks);
                    }
                }
                (OnDemandInput::Request(_), _) => {}
            }
        }
    }
    breaks
}

fn note(cause: ObjectRef, user: &ObjectRef, reason: String, breaks: &mut Breaks) {
    breaks.entry(cause).or_default().insert(Break { user: user.clone(), reason });
}

/// Features that the view had and has no more, or has under another type and that are still selected.
fn lost_features(
    prefix: &str,
    projection: &Projection,
    now: Option<&Projection>,
    before: &State<'_>,
    after: &State<'_>,
    user: &ObjectRef,
    breaks: &mut Breaks,
) {
    let view = projection.view.as_str();
    let kind =
        if before.on_demand.contains_key(view) { Kind::OnDemandFeatureView } else { Kind::FeatureView };
    let cause = || ObjectRef { kind, name: view.to_owned() };
    let is_selected =
        |feature: &str| now.is_some_and(|now| now.features.iter().any(|selected| selected.name == feature));
    for stored in &projection.features {
        // What the registry says of the view counts; a copy may be old.
        let Some(old) = before.feature(view, &stored.name) else { continue };
        let reference = format!("{prefix}:{}", stored.name);
        match after.feature(view, &stored.name) {
            None => note(cause(), user, format!("feature `{reference}` is gone"), breaks),
            Some(new) if is_selected(&stored.name) && dtype_name(new) != dtype_name(old) => {
                let reason =
                    format!("feature `{reference}` becomes {}, it was {}", dtype_name(new), dtype_name(old));
                note(cause(), user, reason, breaks);
            }
            Some(_) => {}
        }
    }
}

/// Columns that a spine must bring now and had not to bring before, or must bring as another type.
fn lost_spine(
    prefix: &str,
    projection: &Projection,
    now: Option<&Projection>,
    before: &State<'_>,
    after: &State<'_>,
    user: &ObjectRef,
    breaks: &mut Breaks,
) {
    let Some(now) = now.filter(|now| now.view == projection.view) else { return };
    let column = |projection: &Projection, key: &Field| {
        projection.join_key_map.get(&key.name).cloned().unwrap_or_else(|| key.name.clone())
    };
    let view = projection.view.as_str();
    let (old_keys, new_keys) = (before.join_keys(view), after.join_keys(view));
    for key in new_keys {
        let name = column(now, key);
        let cause = ObjectRef { kind: Kind::FeatureView, name: view.to_owned() };
        match old_keys.iter().find(|old| old.name == key.name) {
            None => note(cause, user, format!("`{prefix}` needs the spine column `{name}`"), breaks),
            Some(old) if dtype_name(old) != dtype_name(key) => {
                let reason =
                    format!("spine column `{name}` becomes {}, it was {}", dtype_name(key), dtype_name(old));
                note(cause, user, reason, breaks);
            }
            Some(_) => {}
        }
    }
}

/// Values that a request must bring now, brings in vain, or brings as another type.
fn lost_request_values(source: &str, old: &[Field], new: &[Field], user: &ObjectRef, breaks: &mut Breaks) {
    let cause = || ObjectRef { kind: Kind::DataSource, name: source.to_owned() };
    for field in old {
        let reason = match new.iter().find(|new| new.name == field.name) {
            None => format!("request value `{}` is gone", field.name),
            Some(new) if dtype_name(new) != dtype_name(field) => {
                format!(
                    "request value `{}` becomes {}, it was {}",
                    field.name,
                    dtype_name(new),
                    dtype_name(field)
                )
            }
            Some(_) => continue,
        };
        note(cause(), user, reason, breaks);
    }
    for field in new.iter().filter(|field| old.iter().all(|old| old.name != field.name)) {
        note(cause(), user, format!("needs the request value `{}`", field.name), breaks);
    }
}
