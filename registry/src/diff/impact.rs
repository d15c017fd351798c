//! What a change does to those who use what changes: which of them lose something, which only see other values.

use std::collections::{BTreeMap, BTreeSet};

use super::attributes::name_to_use;
use super::lost::{Lost, Part, lost_of_part, lost_request_values};
use super::plan::{Action, Break, Effect, FieldChange, ObjectChange, ObjectRef, Usage};
use super::state::State;
use crate::kind::Kind;
use crate::model::{OnDemandInput, SourceKind};

/// The tag of a source that says what its integers count.
const UNIT_TAG: &str = "backsight.timestamp_unit";

/// Breaks by the object whose change causes them.
type Breaks = BTreeMap<ObjectRef, BTreeSet<Break>>;

/// Every break between two states. What a service or an on-demand view drops by its own change, while the view still
/// has it, is no break: nobody took it away.
pub(super) fn breaks_of(before: &State<'_>, after: &State<'_>) -> Breaks {
    let mut breaks = Breaks::new();
    breaks_of_services(before, after, &mut breaks);
    breaks_of_on_demand_views(before, after, &mut breaks);
    breaks_of_datasets(before, after, &mut breaks);
    breaks_through_others(before, after, &mut breaks);
    breaks
}

fn note(user: &ObjectRef, lost: impl IntoIterator<Item = Lost>, breaks: &mut Breaks) {
    for Lost { cause, reason } in lost {
        breaks.entry(cause).or_default().insert(Break { user: user.clone(), reason });
    }
}

fn breaks_of_services(before: &State<'_>, after: &State<'_>, breaks: &mut Breaks) {
    for (name, service) in &before.services {
        let Some(now) = after.services.get(name) else { continue };
        let user = ObjectRef { kind: Kind::FeatureService, name: (*name).to_owned() };
        for projection in &service.projections {
            let prefix = name_to_use(projection);
            let same = now.projections.iter().find(|now| name_to_use(now) == prefix);
            let part = Part { prefix, projection, now: same };
            note(&user, lost_of_part(part, before, after), breaks);
        }
    }
}

fn breaks_of_on_demand_views(before: &State<'_>, after: &State<'_>, breaks: &mut Breaks) {
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
                    let part = Part { prefix: input, projection, now: same };
                    note(&user, lost_of_part(part, before, after), breaks);
                }
                (OnDemandInput::Request(old), Some(OnDemandInput::Request(new))) => {
                    if let (SourceKind::Request { schema: old }, SourceKind::Request { schema: new }) =
                        (&old.kind, &new.kind)
                    {
                        note(&user, lost_request_values(input, old, new), breaks);
                    }
                }
                (OnDemandInput::Request(_), _) => {}
            }
        }
    }
}

/// The rows of a saved dataset are where they are; it breaks in that it cannot be made again.
fn breaks_of_datasets(before: &State<'_>, after: &State<'_>, breaks: &mut Breaks) {
    for (name, dataset) in &before.datasets {
        let user = ObjectRef { kind: Kind::SavedDataset, name: (*name).to_owned() };
        for part in before.parts_of(dataset) {
            let part = Part { prefix: name_to_use(&part), projection: &part, now: Some(&part) };
            note(&user, lost_of_part(part, before, after), breaks);
        }
        let gone = dataset
            .feature_service
            .as_deref()
            .filter(|service| before.services.contains_key(service) && !after.services.contains_key(service));
        note(
            &user,
            gone.map(|service| Lost {
                cause: ObjectRef { kind: Kind::FeatureService, name: service.to_owned() },
                reason: format!("feature service `{service}` is gone"),
            }),
            breaks,
        );
    }
}

/// Whoever uses an on-demand view that breaks breaks with it, unless the same change breaks it already by itself.
fn breaks_through_others(before: &State<'_>, after: &State<'_>, breaks: &mut Breaks) {
    for found in breaks.values_mut() {
        let of_themselves: BTreeSet<ObjectRef> = found.iter().map(|it| it.user.clone()).collect();
        let mut open: Vec<Break> =
            found.iter().filter(|it| it.user.kind == Kind::OnDemandFeatureView).cloned().collect();
        while let Some(Break { user: broken, reason }) = open.pop() {
            for user in after.direct_users_of(&broken) {
                if of_themselves.contains(user) || !before.has(user) {
                    continue;
                }
                // A reason that came a long way names the view nearest to where it began.
                let reason = match reason.starts_with("through ") {
                    true => reason.clone(),
                    false => format!("through {} `{}`: {reason}", broken.kind, broken.name),
                };
                let through = Break { user: user.clone(), reason };
                if found.insert(through.clone()) && user.kind == Kind::OnDemandFeatureView {
                    open.push(through);
                }
            }
        }
    }
}

/// The users of what changes, each with what the change does to it.
pub(super) fn usages(change: &ObjectChange, users: BTreeSet<ObjectRef>) -> Vec<Usage> {
    let is_felt = is_felt(change);
    let broken: BTreeSet<&ObjectRef> = change.breaks.iter().map(|found| &found.user).collect();
    let usage = |object: ObjectRef| {
        let effect = match is_felt {
            _ if broken.contains(&object) => Effect::Breaks,
            true => Effect::Changes,
            false => Effect::Nothing,
        };
        Usage { object, effect }
    };
    users.into_iter().map(usage).collect()
}

/// Whether a change can give other values to those who use the object and do not break.
fn is_felt(change: &ObjectChange) -> bool {
    match change.action {
        Action::Create => false,
        // Who stays without breaking has turned to something else.
        Action::Delete => true,
        Action::Update => change.fields.iter().any(|field| is_field_felt(change.object.kind, field)),
    }
}

fn is_field_felt(kind: Kind, field: &FieldChange) -> bool {
    let attribute = field.attribute.as_deref().unwrap_or_default();
    match field.field {
        "tags" => field.key.as_deref() == Some(UNIT_TAG),
        "description" | "owner" => false,
        "source" if attribute.starts_with("tags.") => attribute == format!("tags.{UNIT_TAG}"),
        _ if matches!(attribute, "description" | "owner") || attribute.starts_with("tags.") => false,
        // Who selects a feature of a view that goes or changes its type breaks; others do not see it.
        "features" | "feature_order" => kind == Kind::FeatureService,
        _ => true,
    }
}
