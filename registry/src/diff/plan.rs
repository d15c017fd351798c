//! A plan: every change of every object, field by field, with what it touches.

use std::collections::BTreeSet;

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
    /// Objects that use it, directly or through others, and stay or come; each with what the change does to it.
    pub used_by: Vec<Usage>,
    /// Objects that stay and lose something by this change, with what they lose.
    pub breaks: Vec<Break>,
}

/// Who uses what changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// The user.
    pub object: ObjectRef,
    /// What the change does to it.
    pub effect: Effect,
}

/// What a change does to somebody who uses the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It loses something: whoever asks for it as before gets an error, or other columns or types.
    Breaks,
    /// It stands as before, its values may differ: another source, ttl, code.
    Changes,
    /// It is the same: words changed, or a part that it does not use.
    Nothing,
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
    /// Objects that break, whatever number of changes does it.
    pub broken: usize,
}

impl Plan {
    /// Whether apply would change anything.
    pub fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    /// Whether it changes the same objects in the same way, and breaks the same. Who else uses them may differ.
    pub fn makes_the_changes_of(&self, other: &Self) -> bool {
        let what = |change: &ObjectChange| ObjectChange { used_by: Vec::new(), ..change.clone() };
        self.changes.iter().map(what).eq(other.changes.iter().map(what))
    }

    /// Whether a saved dataset breaks, which then cannot be made again.
    pub fn breaks_saved_datasets(&self) -> bool {
        let mut users = self.changes.iter().flat_map(|change| &change.breaks).map(|found| &found.user);
        users.any(|user| user.kind == Kind::SavedDataset)
    }

    /// What breaks, each once.
    pub fn broken(&self) -> BTreeSet<&ObjectRef> {
        self.changes.iter().flat_map(|change| &change.breaks).map(|found| &found.user).collect()
    }

    /// How many objects are created, updated, deleted and left.
    pub fn counts(&self) -> Counts {
        let with = |action| self.changes.iter().filter(|change| change.action == action).count();
        Counts {
            created: with(Action::Create),
            updated: with(Action::Update),
            deleted: with(Action::Delete),
            unchanged: self.unchanged.len(),
            broken: self.broken().len(),
            breaking: self.changes.iter().filter(|change| !change.breaks.is_empty()).count(),
        }
    }
}

impl Effect {
    /// As JSON says it.
    pub fn key(self) -> &'static str {
        match self {
            Self::Breaks => "breaks",
            Self::Changes => "changes",
            Self::Nothing => "nothing",
        }
    }
}

impl ObjectChange {
    /// Users that meet this effect.
    pub fn users_with(&self, effect: Effect) -> impl Iterator<Item = &ObjectRef> {
        self.used_by.iter().filter(move |usage| usage.effect == effect).map(|usage| &usage.object)
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
