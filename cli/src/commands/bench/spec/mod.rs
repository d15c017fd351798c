//! What a workload is: rows, keys and their skew, times, layout of files. Plain values, checked as a whole.

mod json;
mod preset;
mod read;

pub(crate) use preset::{PRESETS, preset};
pub(crate) use read::{read, read_value};

/// A workload.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Spec {
    /// What reports call it.
    pub(crate) name: String,
    /// All rows follow from it.
    pub(crate) seed: u64,
    /// The rows to fetch features for.
    pub(crate) spine: SpineSpec,
    /// The sets of join keys.
    pub(crate) entities: Vec<EntitySpec>,
    /// The feature views.
    pub(crate) views: Vec<ViewSpec>,
}

/// The spine. It has the join keys of every entity, an instant and a label.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SpineSpec {
    pub(crate) rows: u64,
    /// Days that spine and views stretch over; the spine begins after a tenth of them.
    pub(crate) days: u64,
    pub(crate) files: u64,
    /// Share of rows whose first entity has no key.
    pub(crate) null_keys: f64,
    /// Share of rows without an instant.
    pub(crate) null_instants: f64,
    /// Share of rows with the keys and the instant of the row before.
    pub(crate) ties: f64,
    pub(crate) row_group_rows: u64,
}

/// A set of join keys.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EntitySpec {
    pub(crate) name: String,
    /// Distinct keys in the spine, and in views that say nothing else.
    pub(crate) keys: u64,
    /// Join key columns.
    pub(crate) columns: u64,
    pub(crate) key_type: KeyType,
    pub(crate) skew: Skew,
}

/// The type of a join key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyType {
    Int64,
    String,
}

/// How rows are spread over keys.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Skew {
    Uniform,
    /// A heavy head, with this exponent.
    Zipf(f64),
    /// One key has this share of all rows.
    Hot(f64),
}

/// A feature view and its files.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ViewSpec {
    pub(crate) name: String,
    /// Position of its entity.
    pub(crate) entity: usize,
    pub(crate) rows: u64,
    pub(crate) keys: u64,
    pub(crate) skew: Skew,
    pub(crate) features: u64,
    /// Types of the features, in turn.
    pub(crate) types: Vec<FeatureType>,
    /// 0 is none.
    pub(crate) ttl_hours: u64,
    pub(crate) files: u64,
    pub(crate) layout: Layout,
    /// Share of rows that stand anywhere in the file instead of in the order of time.
    pub(crate) disorder: f64,
    /// Share of rows that were created late.
    pub(crate) late: f64,
    /// How late at most.
    pub(crate) late_hours: u64,
    /// Share of rows with key, event and created time of the row before.
    pub(crate) ties: f64,
    /// Share of rows without a key.
    pub(crate) null_keys: f64,
    /// Share of nulls among the values of features.
    pub(crate) null_values: f64,
    pub(crate) row_group_rows: u64,
    /// Rows of a data page at most.
    pub(crate) page_rows: u64,
}

/// The type of a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FeatureType {
    Float32,
    Float64,
    Int32,
    Int64,
    Bool,
    String,
}

/// How the rows of a view are spread over files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Each file holds a slice of time.
    Slices,
    /// Folders `event_date=…`, with so many files in each.
    Hive,
}

/// Rows of a row group unless told.
pub(crate) const ROW_GROUP_ROWS: u64 = 262_144;
/// Rows of a data page unless told: what parquet-rs does by itself.
pub(crate) const PAGE_ROWS: u64 = 20_000;
/// Types of features unless told.
pub(crate) const TYPES: [FeatureType; 3] = [FeatureType::Float64, FeatureType::Float32, FeatureType::Float32];

impl KeyType {
    pub(crate) const NAMES: [&'static str; 2] = ["int64", "string"];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Int64 => "int64",
            Self::String => "string",
        }
    }

    pub(crate) fn of(name: &str) -> Option<Self> {
        [Self::Int64, Self::String].into_iter().find(|kind| kind.name() == name)
    }
}

impl FeatureType {
    pub(crate) const ALL: [Self; 6] =
        [Self::Float32, Self::Float64, Self::Int32, Self::Int64, Self::Bool, Self::String];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Float32 => "float32",
            Self::Float64 => "float64",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Bool => "bool",
            Self::String => "string",
        }
    }

    pub(crate) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl Layout {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Slices => "slices",
            Self::Hive => "hive",
        }
    }

    pub(crate) fn of(name: &str) -> Option<Self> {
        [Self::Slices, Self::Hive].into_iter().find(|layout| layout.name() == name)
    }
}

impl EntitySpec {
    /// Names of its join keys.
    pub(crate) fn join_keys(&self) -> Vec<String> {
        let name = &self.name;
        (1..=self.columns)
            .map(|number| if number == 1 { format!("{name}_id") } else { format!("{name}_id_{number}") })
            .collect()
    }
}

impl ViewSpec {
    /// A view of an entity, all else as it is unless told.
    pub(crate) fn new(name: &str, entity: usize, of: &EntitySpec) -> Self {
        Self {
            name: name.to_owned(),
            entity,
            rows: 1_000_000,
            keys: of.keys,
            skew: of.skew,
            features: 5,
            types: TYPES.to_vec(),
            ttl_hours: 168,
            files: 4,
            layout: Layout::Slices,
            disorder: 1.0,
            late: 0.0,
            late_hours: 24,
            ties: 0.0,
            null_keys: 0.0,
            null_values: 0.0,
            row_group_rows: ROW_GROUP_ROWS,
            page_rows: PAGE_ROWS,
        }
    }

    /// Names and types of its features.
    pub(crate) fn feature_columns(&self) -> impl Iterator<Item = (String, FeatureType)> + '_ {
        let types = self.types.iter().copied().cycle();
        (0..self.features).zip(types).map(|(number, kind)| (format!("{}_f{number}", self.name), kind))
    }
}

impl Spec {
    /// All rows, those of the views and those of the spine.
    pub(crate) fn rows(&self) -> u64 {
        self.spine.rows + self.views.iter().map(|view| view.rows).sum::<u64>()
    }

    /// The same for a try: all rows and keys times `factor`, at least one of each.
    pub(crate) fn scaled(mut self, factor: f64) -> Self {
        let scale = |number: &mut u64| {
            #[expect(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a size is rounded anyway"
            )]
            let scaled = (*number as f64 * factor).round() as u64;
            *number = scaled.max(1);
        };
        scale(&mut self.spine.rows);
        self.entities.iter_mut().for_each(|entity| scale(&mut entity.keys));
        for view in &mut self.views {
            scale(&mut view.rows);
            scale(&mut view.keys);
        }
        self
    }

    /// Everything that cannot be, each with the part of the workload that it is about.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut at_least = |what: &str, value: u64, least: u64, most: u64| {
            if value < least || value > most {
                found.push(format!("{what} must be {least} to {most}, got {value}"));
            }
        };
        const MANY: u64 = 1 << 42;
        at_least("`rows` of the spine", self.spine.rows, 1, MANY);
        at_least("`days` of the spine", self.spine.days, 1, 36_500);
        at_least("`files` of the spine", self.spine.files, 1, 100_000);
        at_least("`row_group_rows` of the spine", self.spine.row_group_rows, 1, MANY);
        for entity in &self.entities {
            at_least(&format!("`keys` of entity `{}`", entity.name), entity.keys, 1, MANY);
            at_least(&format!("`columns` of entity `{}`", entity.name), entity.columns, 1, 8);
        }
        for view in &self.views {
            let of = |key: &str| format!("`{key}` of view `{}`", view.name);
            at_least(&of("rows"), view.rows, 1, MANY);
            at_least(&of("keys"), view.keys, 1, MANY);
            at_least(&of("features"), view.features, 1, 10_000);
            at_least(&of("files"), view.files, 1, 100_000);
            at_least(&of("ttl_hours"), view.ttl_hours, 0, 876_000);
            at_least(&of("late_hours"), view.late_hours, 0, 876_000);
            at_least(&of("row_group_rows"), view.row_group_rows, 1, MANY);
            at_least(&of("page_rows"), view.page_rows, 1, MANY);
        }
        self.shares(&mut found);
        self.names(&mut found);
        found
    }

    fn shares(&self, found: &mut Vec<String>) {
        let mut share = |what: String, value: f64, most: f64| {
            if !(0.0..=most).contains(&value) {
                found.push(format!("{what} must be a share from 0 to {most}, got {value}"));
            }
        };
        share("`null_keys` of the spine".to_owned(), self.spine.null_keys, 1.0);
        share("`null_instants` of the spine".to_owned(), self.spine.null_instants, 1.0);
        share("`ties` of the spine".to_owned(), self.spine.ties, 0.5);
        let mut skews = Vec::new();
        for entity in &self.entities {
            skews.push((format!("`skew` of entity `{}`", entity.name), entity.skew));
        }
        for view in &self.views {
            let of = |key: &str| format!("`{key}` of view `{}`", view.name);
            share(of("disorder"), view.disorder, 1.0);
            share(of("late"), view.late, 1.0);
            share(of("ties"), view.ties, 0.5);
            share(of("null_keys"), view.null_keys, 1.0);
            share(of("null_values"), view.null_values, 1.0);
            skews.push((of("skew"), view.skew));
        }
        for (what, skew) in skews {
            match skew {
                Skew::Hot(of_all) if !(0.0..1.0).contains(&of_all) => {
                    found.push(format!("{what}: `hot` must be a share below 1, got {of_all}"));
                }
                Skew::Zipf(exponent) if exponent <= 0.0 => {
                    found.push(format!("{what}: `zipf` must be greater than 0, got {exponent}"));
                }
                _ => {}
            }
        }
    }

    fn names(&self, found: &mut Vec<String>) {
        for (what, list) in [("entities", self.entities.len()), ("views", self.views.len())] {
            if list == 0 {
                found.push(format!("`{what}` must not be empty"));
            }
        }
        let names = self.entities.iter().map(|entity| ("entity", &entity.name));
        let mut seen = vec![("entity", "event_timestamp"), ("view", "spine")];
        for (kind, name) in names.chain(self.views.iter().map(|view| ("view", &view.name))) {
            let is_plain = name.starts_with(|first: char| first.is_ascii_lowercase())
                && name.len() <= 40
                && name
                    .chars()
                    .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_');
            if !is_plain {
                found.push(format!("{kind} `{name}`: a name has a to z, 0 to 9 and `_`, 40 at most"));
            }
            if seen.contains(&(kind, name)) {
                found.push(format!("{kind} `{name}` is there twice, or the name is taken"));
            }
            seen.push((kind, name));
        }
        for view in self.views.iter().filter(|view| view.types.is_empty()) {
            found.push(format!("`types` of view `{}` must not be empty", view.name));
        }
    }
}
