//! A plan: every change of every object, field by field, with what it touches.

use crate::kind::Kind;

/// What apply would do to one project of a registry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// The project.
    pub project: String,
    /// Objects that change, by kind, then by name.
    pub changes: Vec<ObjectChange>,
    /// Objects that stay as they are, by kind, then by name.
    pub unchanged: Vec<ObjectRef>,
    /// Objects that definitions do not manage, and what those need: (kind as Feast names it, name). They are kept.
    pub not_managed: Vec<(String, String)>,
    /// Names that are taken by objects which are kept: apply would refuse.
    pub conflicts: Vec<String>,
}

/// Which object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

/// What happens to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// It is new.
    Create,
    /// It is there and will differ.
    Update,
    /// It is there and no longer defined.
    Delete,
}

/// The change of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectChange {
    /// Which object.
    pub object: ObjectRef,
    /// What happens to it.
    pub action: Action,
    /// What differs; for a new object all that it has, for a deleted one all that it had.
    pub fields: Vec<FieldChange>,
    /// Objects that use it, directly or through others, and stay or come.
    pub used_by: Vec<ObjectRef>,
    /// Objects that stay and lose something by this change.
    pub breaks: Vec<Break>,
}

/// One difference of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldChange {
    /// Which property: `ttl`, `features`, `tags`.
    pub field: &'static str,
    /// Which entry of it: the name of a feature, the key of a tag.
    pub key: Option<String>,
    /// What of that entry, when not the entry itself: `description`, `tags.k`.
    pub attribute: Option<String>,
    /// What it was; `None` when it was not there.
    pub old: Option<String>,
    /// What it will be; `None` when it will not be there.
    pub new: Option<String>,
}

impl FieldChange {
    /// `features.conv_rate.description`
    pub fn path(&self) -> String {
        [Some(self.field), self.key.as_deref(), self.attribute.as_deref()]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(".")
    }
}

/// An object that loses something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Break {
    /// Who loses.
    pub user: ObjectRef,
    /// What it loses.
    pub reason: String,
}

/// How many objects a plan is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// New ones.
    pub created: usize,
    /// Changed ones.
    pub updated: usize,
    /// Deleted ones.
    pub deleted: usize,
    /// Those that stay.
    pub unchanged: usize,
    /// Changes that break something.
    pub breaking: usize,
}

impl Plan {
    /// Whether apply would change anything.
    pub fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    /// How many objects are created, updated, deleted and left.
    pub fn counts(&self) -> Counts {
        let with = |action| self.changes.iter().filter(|change| change.action == action).count();
        Counts {
            created: with(Action::Create),
            updated: with(Action::Update),
            deleted: with(Action::Delete),
            unchanged: self.unchanged.len(),
            breaking: self.changes.iter().filter(|change| !change.breaks.is_empty()).count(),
        }
    }
}

impl Action {
    /// As JSON says it.
    pub fn key(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}
