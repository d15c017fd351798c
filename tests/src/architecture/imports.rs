//! Holds the import table against what cargo says.

use std::process::Command;

use serde_json::Value;

use super::rooms::{EVIDENCE, GUESTS, PINNED, ROOMS, TEST_SUPPORT, is_of};
use super::{assert_none, root};

/// A member of the workspace as its manifest describes it.
struct Member {
    package: String,
    /// Relative to the root.
    folder: String,
    dependencies: Vec<Dependency>,
}

struct Dependency {
    package: String,
    requirement: String,
    is_in_house: bool,
    is_for_tests: bool,
}

fn members() -> Vec<Member> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let root = text(&metadata["workspace_root"]);
    packages
        .iter()
        .map(|package| Member {
            package: text(&package["name"]),
            folder: text(&package["manifest_path"])
                .strip_prefix(&root)
                .and_then(|path| path.strip_suffix("Cargo.toml"))
                .unwrap()
                .trim_matches(['/', '\\'])
                .replace('\\', "/"),
            dependencies: package["dependencies"]
                .as_array()
                .unwrap()
                .iter()
                .map(|dependency| Dependency {
                    package: text(&dependency["name"]),
                    requirement: text(&dependency["req"]),
                    is_in_house: dependency["path"].is_string(),
                    is_for_tests: dependency["kind"] == "dev",
                })
                .collect(),
        })
        .collect()
}

#[test]
fn every_crate_stands_in_the_table_under_its_folder() {
    let known: Vec<(&str, &str)> =
        ROOMS.iter().map(|room| (room.folder, room.package)).chain(EVIDENCE.iter().copied()).collect();
    let members = members();
    assert!(members.len() > 5, "cargo names {} crates", members.len());
    let problems: Vec<String> = members
        .iter()
        .filter(|member| !known.contains(&(member.folder.as_str(), member.package.as_str())))
        .map(|member| format!("`{}` in `{}/` has no room", member.package, member.folder))
        .collect();
    assert_none("a new room needs a decision record and a line in rooms.rs", &problems);
}

#[test]
fn rooms_import_only_what_the_table_allows() {
    let mut problems = Vec::new();
    for member in members() {
        let Some(room) = ROOMS.iter().find(|room| room.package == member.package) else { continue };
        for dependency in member.dependencies.iter().filter(|dependency| dependency.is_in_house) {
            let supports_tests =
                dependency.is_for_tests && TEST_SUPPORT.contains(&dependency.package.as_str());
            let allowed = ROOMS
                .iter()
                .any(|other| other.package == dependency.package && room.imports.contains(&other.folder));
            if !allowed && !supports_tests {
                problems.push(format!("`{}/` imports `{}`", room.folder, dependency.package));
            }
        }
    }
    assert_none("imports that the table does not allow", &problems);
}

#[test]
fn guests_stay_in_their_rooms() {
    let mut problems = Vec::new();
    for member in members() {
        let Some(room) = ROOMS.iter().find(|room| room.package == member.package) else { continue };
        for dependency in &member.dependencies {
            // The longest name decides: `tracing-subscriber` is not `tracing`.
            let guest = GUESTS
                .iter()
                .filter(|guest| is_of(&dependency.package, guest.name))
                .max_by_key(|guest| guest.name.len());
            if let Some(guest) = guest
                && !dependency.is_for_tests
                && !guest.rooms.contains(&room.folder)
            {
                problems.push(format!(
                    "`{}/` uses `{}`, which is a guest in {} only",
                    room.folder,
                    dependency.package,
                    guest.rooms.join(", ")
                ));
            }
        }
    }
    assert_none("third parties outside their rooms", &problems);
}

#[test]
fn the_stack_that_moves_together_is_pinned_exactly() {
    let mut seen = 0;
    let mut problems = Vec::new();
    for member in members() {
        for dependency in member.dependencies.iter().filter(|d| PINNED.iter().any(|p| is_of(&d.package, p))) {
            seen += 1;
            if !dependency.requirement.starts_with('=') {
                problems.push(format!(
                    "`{}` asks for `{}` {}",
                    member.package, dependency.package, dependency.requirement
                ));
            }
        }
    }
    assert!(seen > 0, "no crate uses the stack");
    assert_none("versions that float, see docs/adr/0002", &problems);
}

#[test]
fn the_table_itself_has_no_arrow_upwards() {
    for (place, room) in ROOMS.iter().enumerate() {
        for import in room.imports {
            let above = ROOMS[..place].iter().any(|other| other.folder == *import);
            assert!(above, "`{}/` imports `{import}`, which does not stand above it", room.folder);
        }
    }
    let siblings = |one: &str, other: &str| {
        let room = ROOMS.iter().find(|room| room.folder == one).unwrap();
        room.imports.contains(&other)
    };
    assert!(!siblings("scheduler", "executor") && !siblings("executor", "scheduler"));
}
