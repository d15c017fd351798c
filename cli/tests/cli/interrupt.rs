//! Ctrl-C in the middle of a retrieval.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{INSTANT, World, write_parquet};

/// A retrieval that takes minutes: every spine row is compared with every feature row.
fn slow_world() -> World {
    let world = World::applied();
    let rows = 200_000;
    let spine = [
        ("driver_id", (0..rows).map(|row| Some(1001 + row % 5)).collect::<Vec<_>>()),
        ("event_timestamp", (0..rows).map(|row| Some(INSTANT + row)).collect()),
    ];
    write_parquet(&world.path().join("spine.parquet"), &spine);
    world
}

const LINE: &str =
    "-c taxi retrieve --feature-service model_v2 --spine spine.parquet --output out/train --engine naive";

fn signal(name: &str, process: u32) {
    let done = Command::new("sh").args(["-c", &format!("kill -{name} {process}")]).status().unwrap();
    assert!(done.success());
}

fn interrupt_in_the_middle(name: &str) {
    let world = slow_world();
    let child = world.command(LINE).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let claim = world.path().join("out/train/_backsight/claim");
    let started = Instant::now();
    while !claim.exists() {
        assert!(started.elapsed() < Duration::from_secs(60), "the retrieval never started");
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(100));
    signal(name, child.id());
    let asked = Instant::now();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(7), "{said}");
    assert!(said.ends_with("error: cancelled; nothing was left in `out/train`\n"), "{said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    assert_eq!(world.files("out/train"), Vec::<String>::new());
    assert!(asked.elapsed() < Duration::from_secs(60), "it took {:?} to stop", asked.elapsed());
    // The output is free again.
    let line = LINE.replace("spine.parquet", "taxi/data/spine.parquet");
    world.run(&line).expect(0);
}

#[test]
fn ctrl_c_leaves_nothing_and_ends_with_7() {
    interrupt_in_the_middle("INT");
}

#[test]
fn termination_is_like_ctrl_c() {
    interrupt_in_the_middle("TERM");
}
