//! Pages that are made from code: the reference of settings, manual pages; and links between the pages of `docs`.

use std::path::Path;

use crate::support::World;

fn docs() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

#[test]
fn the_page_of_settings_is_what_the_command_prints() {
    let world = World::empty();
    let printed = world.run("config reference --output-format markdown").expect(0).out;
    let page = std::fs::read_to_string(docs().join("settings.md")).unwrap();
    let start = page.find("## The configuration\n").unwrap();
    assert!(
        page[start..] == printed,
        "docs/settings.md is old: keep its first lines, and below them write what \
         `backsight config reference --output-format markdown` prints"
    );
}

#[test]
fn the_reference_is_text_and_json_and_needs_no_repo() {
    let world = World::empty();
    let text = world.run("config reference").expect(0).out;
    assert!(
        text.contains("\n  backsight.memory_limit, BACKSIGHT_MEMORY_LIMIT, retrieve --memory-limit\n"),
        "{text}"
    );
    assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
    let json = world.run("config reference --output-format json").expect(0).json();
    let settings = json["settings"].as_array().unwrap();
    let key = settings.iter().find(|setting| setting["key"] == "AWS_SECRET_ACCESS_KEY").unwrap();
    assert_eq!(key["is_secret"], true);
}

#[test]
fn manual_pages_are_written_printed_and_replaced() {
    let world = World::empty();
    let wrote = world.run("man pages").expect(0);
    let files = world.files("pages");
    assert_eq!(wrote.out, format!("Wrote {} pages into `pages`.\n", files.len()));
    assert!(files.contains(&"backsight-registry-gc.1".to_owned()), "{files:?}");
    world.run("man pages").expect(0);
    let printed = world.run("man").expect(0).out;
    assert_eq!(std::fs::read_to_string(world.path().join("pages/backsight.1")).unwrap(), printed);
    assert!(world.run("man --output-format json").expect(2).err.contains("no JSON form"));
}

/// The anchor that GitHub makes of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase().replace(' ', "-");
    kept.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, '-' | '_')).collect()
}

fn anchors(text: &str) -> Vec<String> {
    let mut is_code = false;
    let mut found = Vec::new();
    for line in text.lines() {
        is_code ^= line.starts_with("```");
        if let (false, Some(heading)) = (is_code, line.strip_prefix('#')) {
            found.push(anchor(heading.trim_start_matches('#').trim()));
        }
    }
    found
}

#[test]
fn links_between_pages_lead_somewhere() {
    let root = docs().join("..");
    let pages = std::fs::read_dir(docs()).unwrap().map(|entry| entry.unwrap().path());
    let pages = pages.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    for page in pages.chain([root.join("README.md"), root.join("ARCHITECTURE.md")]) {
        let text = std::fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") || link.contains(' ') {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: `{link}`", page.display());
            if !heading.is_empty() {
                let there = anchors(&std::fs::read_to_string(&target).unwrap());
                assert!(there.iter().any(|anchor| anchor == heading), "{}: `{link}`", page.display());
            }
        }
    }
}
