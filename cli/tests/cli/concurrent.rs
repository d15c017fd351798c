//! Many processes that write one registry at the same time.

use std::process::Stdio;

use backsight_s3_server::{GoogleServer, S3Server};

use crate::support::World;

const WRITERS: usize = 16;

fn repos(world: &World, registry: &str) {
    for number in 0..WRITERS {
        world.write(
            &format!("p{number}/feature_store.yaml"),
            format!("project: p{number}\nregistry: {registry}\n"),
        );
        world.write(
            &format!("p{number}/e.yaml"),
            format!("kind: Entity\nname: e{number}\njoin_keys: [k{number}]\n"),
        );
    }
}

fn apply_all_at_once(world: &World) {
    let writers: Vec<_> = (0..WRITERS)
        .map(|number| {
            let mut command = world.command(&format!("-c p{number} apply --yes"));
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for writer in writers {
        let output = writer.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    for number in 0..WRITERS {
        world.run(&format!("-c p{number} entities describe e{number}")).expect(0);
    }
    let projects = world.run("-c p0 projects list --output-format json").expect(0).json();
    assert_eq!(projects["projects"].as_array().unwrap().len(), WRITERS);
}

#[test]
fn sixteen_writers_of_sixteen_projects_lose_nothing_in_a_file() {
    let world = World::empty();
    repos(&world, "../registry.db");
    apply_all_at_once(&world);
}

#[test]
fn sixteen_writers_of_sixteen_projects_lose_nothing_on_s3() {
    let world = World::empty();
    let server = S3Server::start(&world.path().join("s3"));
    server.create_bucket("features");
    repos(&world, "s3://features/registry.pb");
    let world = world.with_environment(server.environment());
    apply_all_at_once(&world);
}

#[test]
fn sixteen_writers_of_sixteen_projects_lose_nothing_on_google() {
    let world = World::empty();
    let server = GoogleServer::start();
    server.create_bucket("features");
    repos(&world, "gs://features/registry.pb");
    let world = world.with_environment(server.environment());
    apply_all_at_once(&world);
}

#[test]
fn two_writers_of_one_project_are_one_winner_and_one_conflict_or_take_turns() {
    let world = World::empty();
    for name in ["a", "b"] {
        world.write(&format!("{name}/feature_store.yaml"), "project: p\nregistry: ../registry.db\n");
        world.write(&format!("{name}/e.yaml"), format!("kind: Entity\nname: {name}\njoin_keys: [k]\n"));
    }
    let start = |name: &str| {
        let mut command = world.command(&format!("-c {name} apply --yes"));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let (first, second) = (start("a"), start("b"));
    let outputs = [first, second].map(|writer| writer.wait_with_output().unwrap());
    let statuses = outputs.each_ref().map(|output| output.status.code());
    assert!(statuses.contains(&Some(0)), "{outputs:?}");
    for output in outputs.iter().filter(|output| output.status.code() != Some(0)) {
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(9), "{said}");
        for part in [
            "Your change, which was not written:",
            "The change that was made meanwhile:",
            "+ entity a",
            "+ entity b",
        ] {
            assert!(said.contains(part), "`{part}` is not in\n{said}");
        }
    }
    let list = world.run("-c a entities list").expect(0).out;
    assert_eq!(list.lines().count(), 2, "never a mixture:\n{list}");
}
