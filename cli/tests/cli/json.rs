//! `docs/json.md` is the contract of `--output-format json`: its examples have the keys and types of what commands print.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::cluster::Remote;
use crate::support::World;

const PAGE: &str = include_str!("../../../docs/json.md");
/// A key that stands for others.
const OPEN: &str = "…";
/// Lists of the page of which no item can be had here: versions that are young are never removed.
const OUT_OF_REACH: [&str; 1] = ["registry gc / removed"];

/// The examples by the command of their heading, and those that a document was compared with.
struct Page {
    examples: BTreeMap<String, Value>,
    seen: BTreeSet<String>,
    /// Lists of examples whose items were compared with an item.
    lists: BTreeSet<String>,
}

impl Page {
    fn read() -> Self {
        let sections = PAGE.split("\n### `").skip(1);
        let examples = sections.map(|section| {
            let (command, rest) = section.split_once("`\n").unwrap();
            let json = rest.split_once("```json\n").unwrap().1.split_once("\n```").unwrap().0;
            let example = serde_json::from_str(json).unwrap_or_else(|error| panic!("{command}: {error}"));
            (command.to_owned(), example)
        });
        Self { examples: examples.collect(), seen: BTreeSet::new(), lists: BTreeSet::new() }
    }

    #[track_caller]
    fn compare(&mut self, command: &str, document: &Value) {
        let example = self.examples.get(command).unwrap_or_else(|| panic!("`{command}` is not on the page"));
        let mut differences = Vec::new();
        compare(example, document, command, &mut self.lists, &mut differences);
        assert!(differences.is_empty(), "{differences:#?}\n{document:#}");
        self.seen.insert(command.to_owned());
    }

    /// Whatever the page shows was compared, the items of its lists, too.
    fn is_covered(&self) {
        for (command, example) in &self.examples {
            assert!(self.seen.contains(command), "no test compares `{command}`");
            let mut lists = Vec::new();
            lists_of(example, command, &mut lists);
            for list in lists.into_iter().filter(|list| !OUT_OF_REACH.contains(&list.as_str())) {
                assert!(self.lists.contains(&list), "no test compares an item of {list}");
            }
        }
    }
}

/// Where a document is not as its example: keys that one of them lacks, types, items of lists that are empty in the example.
fn compare(
    example: &Value,
    document: &Value,
    place: &str,
    lists: &mut BTreeSet<String>,
    differences: &mut Vec<String>,
) {
    match (example, document) {
        (Value::Null, _) | (_, Value::Null) => {}
        (Value::Object(example), Value::Object(document)) => {
            let is_open = example.contains_key(OPEN);
            for (key, value) in document {
                match example.get(key) {
                    Some(expected) => {
                        compare(expected, value, &format!("{place} / {key}"), lists, differences);
                    }
                    None if is_open => {}
                    None => differences.push(format!("{place}: `{key}` is not on the page")),
                }
            }
            let lost = example.keys().filter(|key| *key != OPEN && !document.contains_key(*key));
            differences.extend(lost.map(|key| format!("{place}: there is no `{key}`")));
        }
        (Value::Array(examples), Value::Array(items)) => {
            let Some(first) = examples.first() else {
                if !items.is_empty() {
                    differences.push(format!("{place}: the page shows no item, there is {}", items[0]));
                }
                return;
            };
            for item in items {
                lists.insert(place.to_owned());
                compare(first, item, place, lists, differences);
            }
        }
        _ if std::mem::discriminant(example) == std::mem::discriminant(document) => {}
        _ => differences.push(format!("{place}: {document} is no value such as {example}")),
    }
}

fn lists_of(example: &Value, place: &str, lists: &mut Vec<String>) {
    match example {
        Value::Object(object) => {
            for (key, value) in object {
                lists_of(value, &format!("{place} / {key}"), lists);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            lists.push(place.to_owned());
            lists_of(&items[0], place, lists);
        }
        _ => {}
    }
}

const RETRIEVE: &str = "-c taxi retrieve --feature-service model_v2 --spine taxi/data/spine.parquet";

#[test]
fn what_commands_print_is_as_the_page_shows() {
    let mut page = Page::read();
    let world = World::with_repo();
    let json = |line: &str| world.run(&format!("{line} --output-format json")).expect(0).json();
    page.compare("init", &json("init other"));
    page.compare("apply", &json("-c taxi apply --yes"));
    page.compare("apply", &json("-c taxi apply --yes"));
    for list in [
        "entities list",
        "data-sources list",
        "feature-views list",
        "on-demand-feature-views list",
        "feature-services list",
        "projects list",
    ] {
        page.compare(list, &json(&format!("-c taxi {list}")));
    }
    page.compare("describe", &json("-c taxi entities describe driver"));
    page.compare("retrieve", &json(&format!("{RETRIEVE} --output out/train")));
    page.compare("retrieve --output -", &json(&format!("{RETRIEVE} --output - --reasons exact")));
    page.compare("retrieve --explain", &json(&format!("{RETRIEVE} --output - --explain")));
    world.run(&format!("{RETRIEVE} --output out/march --save-as march")).expect(0);
    page.compare("saved-datasets list", &json("-c taxi saved-datasets list"));
    page.compare("registry history", &json("-c taxi registry history"));
    page.compare("registry export", &json("-c taxi registry export"));

    // A change that breaks a service.
    let line = "  - {name: acc_rate, dtype: Float32, description: trips accepted of trips offered}\n";
    world.edit("taxi/features.yaml", line, "");
    page.compare("plan", &json("-c taxi plan"));
    world.run("-c taxi apply --yes").expect(0);
    page.compare("registry show", &json("-c taxi registry show"));
    page.compare("registry diff", &json("-c taxi registry diff 1"));
    page.compare("registry diff", &json("-c taxi registry diff 2"));
    page.compare("registry rollback", &json("-c taxi registry rollback 1 --yes"));
    page.compare("registry gc", &json("-c taxi registry gc --keep 1 --dry-run"));
    page.compare("teardown", &json("-c taxi teardown --yes"));

    page.compare("config show", &json("-c taxi config show"));
    page.compare("config reference", &json("config reference"));
    page.compare("man", &json("man pages"));
    jobs(&mut page);
    benchmarks(&mut page);
    page.is_covered();
}

fn jobs(page: &mut Page) {
    let remote = Remote::applied();
    remote.succeed();
    let json = |line: &str| remote.run(&format!("{line} --output-format json -q")).expect(0).json();
    // First it runs until it is cancelled.
    let end = remote.fake.state().end.take();
    let detached = format!("{RETRIEVE} --output out/x --detach --request-id nightly-1");
    page.compare("retrieve --detach", &json(&detached));
    page.compare("jobs list", &json("jobs list"));
    page.compare("jobs show", &json("jobs show nightly-1"));
    page.compare("jobs show", &json("jobs cancel nightly-1"));
    remote.fake.state().end = end;
    remote.run(&format!("{RETRIEVE} --output out/y --request-id nightly-2")).expect(0);
    page.compare("jobs show", &json("jobs watch nightly-2"));
}

fn benchmarks(page: &mut Page) {
    let world = World::empty();
    let json = |line: &str| world.run(&format!("{line} --output-format json")).expect(0).json();
    page.compare("bench generate", &json("bench generate tiny --scale 0.01 --output w"));
    page.compare("bench run", &json("bench run w --repeat 1 --output run.json"));
    page.compare("bench report", &json("bench report run.json --output report.html"));
    world.run("-c w apply --yes").expect(0);
    world.run("-c w retrieve --feature-service bench --spine w/spine --output dataset").expect(0);
    page.compare("bench floor", &json("bench floor w --dataset dataset"));
}
