//! Registry, sources, spine and dataset on S3, over signed HTTP.

use backsight_s3_server::S3Server;

use crate::support::World;

struct Cloud {
    world: World,
    server: S3Server,
}

/// The sample repo with everything but its definitions in a bucket.
fn cloud() -> Cloud {
    let world = World::with_repo();
    let server = S3Server::start(&world.path().join("s3"));
    for file in ["driver_stats.parquet", "spine.parquet"] {
        let bytes = std::fs::read(world.path().join("taxi/data").join(file)).unwrap();
        world.write(&format!("s3/features/data/{file}"), bytes);
    }
    let source = world.path().join("taxi/data/driver_stats.parquet");
    world.edit(
        "taxi/features.yaml",
        &format!("{:?}", source.display().to_string()),
        "s3://features/data/driver_stats.parquet",
    );
    for config in ["taxi/feature_store.yaml", "taxi/client/feature_store.yaml"] {
        world.write(config, "project: taxi\nregistry: s3://features/registry.pb\n");
    }
    let world = world.with_environment(server.environment());
    Cloud { world, server }
}

const RETRIEVE: &str = "-c taxi/client retrieve --feature-service model_v2 --spine s3://features/data/spine.parquet --output s3://features/out";

#[test]
fn a_client_retrieves_from_s3_to_s3() {
    let Cloud { world, server } = cloud();
    world.run("-c taxi apply --yes").expect(0);
    let manifest =
        world.run(&format!("{RETRIEVE} --output-format json")).expect(0).json()["manifest"].clone();
    assert_eq!((&manifest["rows"], &manifest["report"]["views"][0]["matched"]), (&20.into(), &18.into()));
    let files = world.files("s3/features/out");
    assert!(
        files.contains(&"_SUCCESS".to_owned()) && files.contains(&"_backsight/manifest.json".to_owned()),
        "{files:?}"
    );
    assert_eq!(server.pending_uploads(), 0);
    world.run(RETRIEVE).expect(9);
    world.run("-c taxi plan --detailed-exitcode").expect(0);
}

#[test]
fn the_endpoint_may_be_in_the_configuration() {
    let Cloud { world, server } = cloud();
    let endpoint = format!("backsight: {{s3: {{endpoint: \"{}\"}}}}\n", server.endpoint());
    let text = format!("project: taxi\nregistry: s3://features/registry.pb\n{endpoint}");
    world.write("taxi/feature_store.yaml", text);
    let unset = vec![("AWS_ENDPOINT_URL".to_owned(), String::new())];
    let world = world.with_environment(unset);
    world.run("-c taxi apply --yes").expect(0);
}

#[test]
fn feast_s3_endpoint_url_is_for_the_registry() {
    let Cloud { world, server } = cloud();
    let set = vec![
        ("AWS_ENDPOINT_URL".to_owned(), String::new()),
        ("FEAST_S3_ENDPOINT_URL".to_owned(), server.endpoint()),
    ];
    let world = world.with_environment(set);
    // The source would be looked for at Amazon.
    world.run("-c taxi apply --yes --no-source-check").expect(0);
    world.run("-c taxi/client entities describe driver").expect(0);
}

#[test]
fn wrong_credentials_are_6_and_say_that_retrying_does_not_help() {
    let Cloud { world, server: _server } = cloud();
    let world = world.with_environment(vec![("AWS_SECRET_ACCESS_KEY".to_owned(), "wrong".to_owned())]);
    let refused = world.run("-c taxi/client entities list").expect(6);
    assert!(refused.err.starts_with("error: access to `s3://features/registry.pb"), "{}", refused.err);
    assert!(refused.err.contains("retrying will not help"), "{}", refused.err);
    assert!(!refused.err.contains("wrong"), "no secret is shown: {}", refused.err);
}

#[test]
fn an_unreadable_bucket_is_6_and_leaves_nothing() {
    let Cloud { world, server } = cloud();
    world.run("-c taxi apply --yes").expect(0);
    world.edit(
        "taxi/features.yaml",
        "s3://features/data/driver_stats.parquet",
        "s3://secret/driver_stats.parquet",
    );
    server.create_bucket("secret");
    server.deny_bucket("secret");
    world.run("-c taxi apply --yes --no-source-check").expect(0);
    let refused = world.run(RETRIEVE).expect(6);
    assert!(refused.err.starts_with("error: access to `s3://secret/driver_stats.parquet"), "{}", refused.err);
    assert_eq!(world.files("s3/features/out"), Vec::<String>::new());
}

#[test]
fn a_missing_bucket_is_4() {
    let Cloud { world, server: _server } = cloud();
    world.write("taxi/feature_store.yaml", "project: taxi\nregistry: s3://nowhere/registry.pb\n");
    world.run("-c taxi entities list").expect(4);
}

#[test]
fn a_store_that_ignores_conditions_is_refused_for_the_registry() {
    let Cloud { world, server } = cloud();
    server.ignore_conditions();
    let refused = world.run("-c taxi apply --yes").expect(2);
    assert!(refused.err.contains("cannot hold a registry safely"), "{}", refused.err);
}

#[test]
fn a_hiccup_is_survived() {
    let Cloud { world, server } = cloud();
    world.run("-c taxi apply --yes").expect(0);
    server.answer_503(3);
    world.run(RETRIEVE).expect(0);
}
