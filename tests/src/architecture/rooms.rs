//! The import table as data. A new room, or a new arrow, needs a decision record: see `docs/adr`.

/// One room of the house: a folder that is a crate.
pub(super) struct Room {
    pub(super) folder: &'static str,
    pub(super) package: &'static str,
    /// The folders whose crates it may use.
    pub(super) imports: &'static [&'static str],
}

/// Top to bottom: a room uses rooms above it only, and of those only the ones it names.
pub(super) const ROOMS: &[Room] = &[
    Room { folder: "proto", package: "backsight-proto", imports: &[] },
    // Only for the codes of errors, see docs/adr/0001.
    Room { folder: "storage", package: "backsight-storage", imports: &["proto"] },
    Room { folder: "registry", package: "backsight-registry", imports: &["proto", "storage"] },
    Room { folder: "asof", package: "backsight-asof", imports: &["proto"] },
    Room {
        folder: "retrieval",
        package: "backsight-retrieval",
        imports: &["proto", "storage", "registry", "asof"],
    },
    Room {
        folder: "engine",
        package: "backsight-engine",
        imports: &["proto", "storage", "asof", "retrieval"],
    },
    Room {
        folder: "scheduler",
        package: "backsight-scheduler",
        imports: &["proto", "storage", "registry", "retrieval", "engine"],
    },
    Room { folder: "executor", package: "backsight-executor", imports: &["proto", "storage", "engine"] },
    Room {
        folder: "cli",
        package: "backsight",
        imports: &["proto", "storage", "registry", "asof", "retrieval", "engine", "scheduler", "executor"],
    },
];

/// Crates that look at everything and that no room uses, but in its own tests.
pub(super) const EVIDENCE: &[(&str, &str)] = &[
    ("tests", "backsight-tests"),
    ("tests/s3server", "backsight-s3-server"),
    ("benches", "backsight-benches"),
];

/// Evidence that a room's tests may use.
pub(super) const TEST_SUPPORT: &[&str] = &["backsight-s3-server"];

/// A third party that is a guest in some rooms only.
pub(super) struct Guest {
    /// The crate of this name, and those whose names continue it after a dash.
    pub(super) name: &'static str,
    pub(super) rooms: &'static [&'static str],
}

/// Third parties not named here may be used by every room.
pub(super) const GUESTS: &[Guest] = &[
    Guest { name: "ballista", rooms: &["engine", "scheduler", "executor", "cli"] },
    Guest { name: "datafusion", rooms: &["asof", "retrieval", "engine", "scheduler", "executor", "cli"] },
    // Besides the services: the generated code of the control plane, and the channels that the engine sets up.
    Guest { name: "tonic", rooms: &["proto", "engine", "scheduler", "executor", "cli"] },
    Guest {
        name: "object_store",
        rooms: &["storage", "retrieval", "engine", "scheduler", "executor", "cli"],
    },
    // One door for flags, terminal and log subscribers.
    Guest { name: "clap", rooms: &["cli"] },
    Guest { name: "clap_complete", rooms: &["cli"] },
    Guest { name: "indicatif", rooms: &["cli"] },
    Guest { name: "tracing-subscriber", rooms: &["cli"] },
    Guest { name: "anyhow", rooms: &["cli"] },
];

/// Third parties that move together, so their versions are exact.
pub(super) const PINNED: &[&str] = &["ballista", "datafusion", "object_store"];

/// Whether a package is the one named, or one of its family (`datafusion-proto` of `datafusion`).
pub(super) fn is_of(package: &str, name: &str) -> bool {
    package.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}
