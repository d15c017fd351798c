//! The feature repo that a command works on: its folder, its configuration, the way to its registry.

use std::path::{Path, PathBuf};

use backsight_registry::feature_store::{FeatureStoreConfig, load_feature_store, parse_feature_store};
use backsight_registry::store::RegistryStore;
use backsight_storage::{Location, S3Options, StorageOptions, Stores};

use crate::cluster::Cluster;
use crate::commands::Program;
use crate::config::scheduler::{self, SchedulerAddress};
use crate::config::settings::override_from_environment;
use crate::environment::Environment;
use crate::errors::Failure;
use crate::registry_access::RegistryAccess;

/// What Feast takes the repo's folder from.
pub(crate) const REPO_VARIABLE: &str = "FEATURE_REPO_DIR_ENV_VAR";
/// What Feast takes the configuration's path from.
pub(crate) const CONFIG_VARIABLE: &str = "FEAST_FS_YAML_FILE_PATH";

/// What stands for the configuration of a service that has none.
const NO_CONFIGURATION: &str = "project: none\nprovider: local\nregistry: none.db\n";

/// A configured feature repo, or a client folder that has only a configuration.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// Absolute; relative paths of definitions start here.
    pub(crate) repo: PathBuf,
    /// The configuration's file, as the user would write it.
    pub(crate) config_path: PathBuf,
    /// The configuration, with what the environment overrides.
    pub(crate) config: FeatureStoreConfig,
    /// Storage as configured.
    pub(crate) stores: Stores,
    /// The scheduler that commands go through.
    pub(crate) scheduler: Option<SchedulerAddress>,
    /// The registry, not read yet: the one that is configured here, or the scheduler's.
    pub(crate) registry: RegistryAccess,
}

impl Workspace {
    /// Reads the configuration; warns of what is odd in it.
    pub(crate) fn open(program: &Program) -> Result<Self, Failure> {
        let environment = &program.environment;
        let folder = repo_folder(program);
        let repo = environment.working.join(&folder);
        if !repo.is_dir() {
            let failure = Failure::usage(format!("there is no folder `{}`", folder.display()));
            return Err(failure.with_hint("`--chdir` names the folder of a feature repo"));
        }
        let config_path = config_path(program);
        let mut config = load(&config_path, environment)?;
        override_from_environment(&mut config, environment)?;
        let scheduler = scheduler::resolve(&mut config, program)?;
        program.terminal.warn_of(&config.warnings);
        let stores = Stores::new(storage_options(config.backsight.s3.clone(), environment));
        let registry = match &scheduler {
            // The scheduler knows where its registry is; what this file says of one is not looked at.
            Some(address) => RegistryAccess::Remote(Box::new(Cluster::new(address, program)?)),
            None => {
                let endpoint = config.registry.s3_endpoint.as_deref();
                let location = Location::parse(&config.registry.path, &repo, endpoint)?;
                RegistryAccess::Direct(RegistryStore::open(stores.clone(), location))
            }
        };
        Ok(Self { repo, config_path, config, stores, scheduler, registry })
    }

    /// The workspace of a service: the registry is its own, and local files only below the folders it may touch.
    pub(crate) fn open_own(program: &Program, allowed: Option<Vec<PathBuf>>) -> Result<Self, Failure> {
        let mut own = program.clone();
        own.global.scheduler = Some("none".to_owned());
        let mut workspace = Self::open(&own)?;
        let s3 = workspace.config.backsight.s3.clone();
        let options =
            StorageOptions { allowed_local_roots: allowed, ..storage_options(s3, &program.environment) };
        workspace.stores = Stores::new(options);
        Ok(workspace)
    }

    /// The registry that is configured here. A service reaches it wherever it is: who started the service chose it.
    pub(crate) fn own_registry(&self) -> Result<RegistryStore, Failure> {
        match &self.registry {
            RegistryAccess::Direct(registry) => Ok(registry.clone()),
            RegistryAccess::Remote(_) => Err(Failure::bug("a service goes through another scheduler")),
        }
    }

    /// Storage of a service without a feature repo.
    pub(crate) fn stores_alone(program: &Program, allowed: Option<Vec<PathBuf>>) -> Result<Stores, Failure> {
        let mut config = if Self::has_config(program) {
            load(&config_path(program), &program.environment)?
        } else {
            parse_feature_store("(no configuration)", NO_CONFIGURATION, program.environment.variables())?
        };
        override_from_environment(&mut config, &program.environment)?;
        let s3 = config.backsight.s3.clone();
        let options =
            StorageOptions { allowed_local_roots: allowed, ..storage_options(s3, &program.environment) };
        Ok(Stores::new(options))
    }

    /// Whether there is a configuration to read.
    pub(crate) fn has_config(program: &Program) -> bool {
        program.environment.working.join(config_path(program)).exists()
    }

    /// The project that commands are about.
    pub(crate) fn project(&self) -> &str {
        &self.config.project
    }
}

/// The working directory need not be the process's; messages show the path as the user wrote it.
fn load(path: &Path, environment: &Environment) -> Result<FeatureStoreConfig, Failure> {
    let shown = path.display().to_string();
    match std::fs::read_to_string(environment.working.join(path)) {
        Ok(text) => Ok(parse_feature_store(&shown, &text, environment.variables())?),
        // The same failure, in the words of the room that knows the file.
        Err(_) => Ok(load_feature_store(path, environment.variables())?),
    }
}

fn repo_folder(program: &Program) -> PathBuf {
    let given = program.global.chdir.clone();
    given.or_else(|| program.environment.variable(REPO_VARIABLE).map(PathBuf::from)).unwrap_or_default()
}

/// The configuration's file as the user would write it.
fn config_path(program: &Program) -> PathBuf {
    let named = program.global.feature_store_yaml.clone();
    let named = named.or_else(|| program.environment.variable(CONFIG_VARIABLE).map(PathBuf::from));
    named.unwrap_or_else(|| repo_folder(program).join(Path::new("feature_store.yaml")))
}

fn storage_options(s3: S3Options, environment: &Environment) -> StorageOptions {
    StorageOptions {
        environment: environment.of_storage(),
        s3,
        home: environment.home(),
        ..StorageOptions::default()
    }
}
