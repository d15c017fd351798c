//! The engines that every case must agree on.

use std::num::NonZeroUsize;

use backsight_asof::JoinForm;
use backsight_engine::{EmbeddedEngine, EngineOptions, LocalCluster};
use backsight_retrieval::RetrievalEngine;
use backsight_storage::Stores;

pub(super) struct Engine {
    pub(super) name: String,
    pub(super) engine: Box<dyn RetrievalEngine>,
}

fn options(partitions: usize) -> EngineOptions {
    EngineOptions {
        memory_limit_bytes: 1 << 30,
        partitions: NonZeroUsize::new(partitions).unwrap(),
        spill_dir: None,
    }
}

fn embedded(stores: &Stores, partitions: usize, form: JoinForm) -> Engine {
    Engine {
        name: format!("{} {partitions}", form.name()),
        engine: Box::new(EmbeddedEngine::new(stores.clone(), options(partitions), form).unwrap()),
    }
}

/// Two executors with two slots each and seven partitions: tasks carry several partitions.
async fn ballista(stores: &Stores, form: JoinForm) -> Engine {
    let cluster = LocalCluster::start(stores.clone(), options(7), form.into(), 2, 2).await.unwrap();
    Engine { name: format!("ballista, {}", form.name()), engine: Box::new(cluster) }
}

/// The oracle, in process on one and on several partitions, and Ballista.
pub(super) async fn all(stores: &Stores) -> Vec<Engine> {
    vec![
        embedded(stores, 2, JoinForm::NaiveLoop),
        embedded(stores, 1, JoinForm::SlotFold),
        embedded(stores, 3, JoinForm::SlotFold),
        embedded(stores, 1, JoinForm::LateFold),
        embedded(stores, 3, JoinForm::LateFold),
        embedded(stores, 3, JoinForm::CandidateFold),
        embedded(stores, 3, JoinForm::Broadcast),
        ballista(stores, JoinForm::SlotFold).await,
        ballista(stores, JoinForm::CandidateFold).await,
        ballista(stores, JoinForm::Broadcast).await,
    ]
}

/// The engines for objects over HTTP.
pub(super) async fn for_remote(stores: &Stores) -> Vec<Engine> {
    vec![
        embedded(stores, 2, JoinForm::NaiveLoop),
        embedded(stores, 2, JoinForm::SlotFold),
        embedded(stores, 2, JoinForm::LateFold),
        ballista(stores, JoinForm::SlotFold).await,
        ballista(stores, JoinForm::CandidateFold).await,
    ]
}
