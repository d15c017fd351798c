//! `feature_store.yaml`: Feast's own configuration file, and our part of it.

mod backsight;
mod config;
mod error;
mod expand;
mod load;
mod read;
mod reference;

#[cfg(test)]
mod tests;

pub use config::{BacksightConfig, FeatureStoreConfig, Origin, RegistryConfig, Setting};
pub use error::ConfigErrors;
pub use expand::{Environment, expand_variables};
pub use load::load_feature_store;
pub use read::parse_feature_store;
pub use reference::{SETTINGS, SettingEntry, setting_entry};
