//! What one document says, before anybody looked at the others: names are still names, and every name has its place.

use crate::model::{Field, SourceKind, Tags, Ttl, ValueType};
use crate::problem::Position;
use crate::yaml::Spanned;

/// Texts that every object has.
#[derive(Debug, Clone, Default)]
pub(super) struct Common {
    pub(super) description: String,
    pub(super) tags: Tags,
    pub(super) owner: String,
}

/// All documents of a repo, by kind, in the order of files and lines.
#[derive(Debug, Default)]
pub(super) struct Drafts {
    pub(super) projects: Vec<ProjectDraft>,
    pub(super) entities: Vec<EntityDraft>,
    pub(super) sources: Vec<SourceDraft>,
    pub(super) views: Vec<ViewDraft>,
    pub(super) on_demand_views: Vec<OnDemandDraft>,
    pub(super) services: Vec<ServiceDraft>,
    /// Texts in which objects may be defined that could not be read: a reference to a name that stands in one of
    /// them is not reported as unknown.
    pub(super) unread: Vec<String>,
}

#[derive(Debug)]
pub(super) struct ProjectDraft {
    pub(super) name: Spanned<String>,
    pub(super) common: Common,
}

#[derive(Debug)]
pub(super) struct EntityDraft {
    pub(super) name: Spanned<String>,
    pub(super) join_key: Spanned<String>,
    pub(super) value_type: Option<Spanned<ValueType>>,
    /// A value type was written but could not be read: do not ask for one.
    pub(super) type_is_broken: bool,
    pub(super) common: Common,
}

#[derive(Debug)]
pub(super) struct SourceDraft {
    pub(super) name: Spanned<String>,
    pub(super) kind: SourceKind,
    pub(super) timestamp_field: Option<Spanned<String>>,
    pub(super) created_timestamp_column: Option<Spanned<String>>,
    pub(super) date_partition_column: Option<Spanned<String>>,
    pub(super) field_mapping: Vec<(Spanned<String>, Spanned<String>)>,
    pub(super) common: Common,
}

/// A field whose type may not have been readable; it exists all the same.
#[derive(Debug, Clone)]
pub(super) struct FieldDraft {
    pub(super) field: Field,
    pub(super) position: Position,
    pub(super) type_is_broken: bool,
}

#[derive(Debug)]
pub(super) struct ViewDraft {
    pub(super) name: Spanned<String>,
    pub(super) entities: Vec<Spanned<String>>,
    pub(super) ttl: Option<Ttl>,
    pub(super) schema: Vec<FieldDraft>,
    /// The schema was readable as a list.
    pub(super) has_schema: bool,
    pub(super) source: Option<Spanned<String>>,
    pub(super) online: bool,
    /// Where `offline: true` was written.
    pub(super) offline_at: Option<Position>,
    pub(super) disabled: bool,
    pub(super) common: Common,
}

/// A part of a view, as feature services and on-demand views select it.
#[derive(Debug)]
pub(super) struct ProjectionDraft {
    pub(super) view: Spanned<String>,
    pub(super) alias: Option<Spanned<String>>,
    /// `None` is the whole view.
    pub(super) features: Option<Vec<Spanned<String>>>,
    pub(super) join_key_map: Vec<(Spanned<String>, Spanned<String>)>,
}

impl ProjectionDraft {
    /// The name under which its features are asked for.
    pub(super) fn name_to_use(&self) -> &Spanned<String> {
        self.alias.as_ref().unwrap_or(&self.view)
    }
}

#[derive(Debug)]
pub(super) enum InputDraft {
    /// A view or a request source, whichever has this name.
    Named(Spanned<String>),
    View(ProjectionDraft),
    Source(Spanned<String>),
}

#[derive(Debug)]
pub(super) struct OnDemandDraft {
    pub(super) name: Spanned<String>,
    pub(super) inputs: Vec<InputDraft>,
    pub(super) schema: Vec<FieldDraft>,
    pub(super) mode: String,
    pub(super) transformation: Option<(String, String)>,
    pub(super) common: Common,
}

#[derive(Debug)]
pub(super) struct ServiceDraft {
    pub(super) name: Spanned<String>,
    pub(super) projections: Vec<ProjectionDraft>,
    pub(super) common: Common,
}
