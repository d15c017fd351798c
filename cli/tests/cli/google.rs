//! Registry, sources, spine and dataset on Google Cloud Storage.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use backsight_s3_server::GoogleServer;

use crate::support::World;

struct Cloud {
    world: World,
    server: GoogleServer,
}

/// The sample repo with everything but its definitions in a bucket.
fn cloud() -> Cloud {
    let world = World::with_repo();
    let server = GoogleServer::start();
    server.create_bucket("features");
    for file in ["driver_stats.parquet", "spine.parquet"] {
        let bytes = std::fs::read(world.path().join("taxi/data").join(file)).unwrap();
        server.put("features", &format!("data/{file}"), bytes);
    }
    let source = world.path().join("taxi/data/driver_stats.parquet");
    // Both of Google's schemes are in use among Feast's users.
    world.edit(
        "taxi/features.yaml",
        &format!("{:?}", source.display().to_string()),
        "gcs://features/data/driver_stats.parquet",
    );
    let registry = "project: taxi\nprovider: gcp\nregistry: {path: gs://features/registry.pb, registry_store_type: GCSRegistryStore}\n";
    for config in ["taxi/feature_store.yaml", "taxi/client/feature_store.yaml"] {
        world.write(config, registry);
    }
    let world = world.with_environment(server.environment());
    Cloud { world, server }
}

const RETRIEVE: &str = "-c taxi/client retrieve --feature-service model_v2 --spine gs://features/data/spine.parquet --output gs://features/out";

fn dataset(server: &GoogleServer, folder: &str) -> Vec<String> {
    server.keys("features").into_iter().filter(|key| key.starts_with(&format!("{folder}/"))).collect()
}

#[test]
fn a_client_retrieves_from_google_to_google() {
    let Cloud { world, server } = cloud();
    world.run("-c taxi apply --yes").expect(0);
    let manifest =
        world.run(&format!("{RETRIEVE} --output-format json")).expect(0).json()["manifest"].clone();
    assert_eq!((&manifest["rows"], &manifest["report"]["views"][0]["matched"]), (&20.into(), &18.into()));
    let files = dataset(&server, "out");
    assert!(files.contains(&"out/_SUCCESS".to_owned()), "{files:?}");
    assert!(files.contains(&"out/_backsight/manifest.json".to_owned()), "{files:?}");
    assert_eq!(server.pending_uploads(), 0);
    world.run(RETRIEVE).expect(9);
    world.run("-c taxi plan --detailed-exitcode").expect(0);
    server.answer_503(3);
    world.run(&format!("{RETRIEVE}-again")).expect(0);
}

/// A cluster of processes, ended with the test.
struct Cluster(Child);

impl Drop for Cluster {
    fn drop(&mut self) {
        // SIGTERM: its children end with it.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

#[test]
fn executors_read_and_write_google() {
    let Cloud { world, server } = cloud();
    world.run("-c taxi apply --yes").expect(0);
    let mut command = world.command("-c taxi cluster up --executors 2 --vcores 1 --bind 127.0.0.1:0");
    let log = std::fs::File::create(world.path().join("cluster.log")).unwrap();
    let mut cluster = Cluster(command.stdout(Stdio::piped()).stderr(log).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(cluster.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let url = line.split_whitespace().last().unwrap_or_default();
    let answer = world.run(&format!("--scheduler {url} {RETRIEVE} --output-format json"));
    let log = std::fs::read_to_string(world.path().join("cluster.log")).unwrap();
    assert_eq!(answer.status, 0, "{}\n{log}", answer.err);
    let manifest = answer.json()["manifest"].clone();
    assert_eq!((&manifest["rows"], &manifest["report"]["views"][0]["matched"]), (&20.into(), &18.into()));
    assert_eq!(manifest["engine"]["engine"], "ballista");
    assert!(dataset(&server, "out").contains(&"out/_SUCCESS".to_owned()));
    assert_eq!(server.pending_uploads(), 0);
}

#[test]
fn a_bucket_that_is_denied_missing_or_careless_has_its_exit_code() {
    let Cloud { world, server } = cloud();
    server.deny_bucket("features");
    let refused = world.run("-c taxi/client entities list").expect(6);
    assert!(refused.err.starts_with("error: access to `gs://features/registry.pb"), "{}", refused.err);
    assert!(refused.err.contains("retrying will not help"), "{}", refused.err);
    server.heal();
    server.ignore_conditions();
    let refused = world.run("-c taxi apply --yes").expect(2);
    assert!(refused.err.contains("cannot hold a registry safely"), "{}", refused.err);
    assert!(
        !server.keys("features").iter().any(|key| key.starts_with("registry")),
        "{:?}",
        server.keys("features")
    );
    world.write("taxi/feature_store.yaml", "project: taxi\nregistry: gs://nowhere/registry.pb\n");
    let missing = world.run("-c taxi entities list").expect(4);
    assert!(missing.err.contains("bucket of `gs://nowhere/registry.pb` does not exist"), "{}", missing.err);
}

#[test]
fn who_we_are_to_a_cloud_is_asked_for_in_its_own_words() {
    let world = World::with_repo();
    let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let world = world.with_environment(vec![set("NO_GCE_CHECK", "true")]);
    world.write("taxi/feature_store.yaml", "project: taxi\nregistry: gs://b/registry.pb\n");
    let refused = world.run("-c taxi entities list").expect(6);
    assert!(refused.err.contains("`GOOGLE_APPLICATION_CREDENTIALS`"), "{}", refused.err);
    world.write("taxi/feature_store.yaml", "project: taxi\nregistry: az://c/registry.pb\n");
    let refused = world.run("-c taxi entities list").expect(2);
    assert!(
        refused.err.contains("`AZURE_STORAGE_ACCOUNT_NAME` is not valid: it is not set"),
        "{}",
        refused.err
    );
    let hush = "AccountName=acc;AccountKey=hush!";
    let world = world.with_environment(vec![set("AZURE_STORAGE_CONNECTION_STRING", hush)]);
    let refused = world.run("-c taxi entities list").expect(2);
    assert!(!refused.err.contains("hush"), "{}", refused.err);
    let shown = world.run("-c taxi config show").expect(0);
    assert!(
        !shown.out.contains("hush") && shown.out.contains("AZURE_STORAGE_CONNECTION_STRING"),
        "{}",
        shown.out
    );
}
