//! The engines that must agree.

use std::num::NonZeroUsize;

use backsight_asof::JoinForm;
use backsight_engine::{EmbeddedEngine, EngineOptions, LocalCluster, SPILL_BYTES_MAX};
use backsight_retrieval::{FormChoice, RetrievalEngine};
use backsight_storage::Stores;

/// An engine, and a name that may be part of a path.
pub(crate) struct Engine {
    pub(crate) name: String,
    pub(crate) engine: Box<dyn RetrievalEngine>,
    /// Whether every row goes by way of the disk.
    pub(crate) spills: bool,
}

/// Little enough for a sort's reserve and some buckets.
const SPILLING_MEMORY_BYTES: usize = 48 << 20;

fn options(partitions: usize, form: JoinForm) -> EngineOptions {
    let spills = form == JoinForm::SpilledFold;
    EngineOptions {
        memory_limit_bytes: if spills { SPILLING_MEMORY_BYTES } else { 1 << 30 },
        partitions: NonZeroUsize::new(partitions).unwrap(),
        spill_dir: None,
        spill_limit_bytes: SPILL_BYTES_MAX,
    }
}

/// The form as part of a name.
fn in_paths(form: JoinForm) -> String {
    form.name().replace(' ', "-")
}

fn embedded(stores: &Stores, partitions: usize, form: JoinForm) -> Engine {
    Engine {
        name: format!("{}-{partitions}", in_paths(form)),
        engine: Box::new(EmbeddedEngine::new(stores.clone(), options(partitions, form), form).unwrap()),
        spills: form == JoinForm::SpilledFold,
    }
}

/// Two executors with two slots each and seven partitions: tasks carry several partitions.
async fn ballista(stores: &Stores, form: JoinForm) -> Engine {
    let cluster = LocalCluster::start(stores.clone(), options(7, form), form.into(), 2, 2).await.unwrap();
    Engine {
        name: format!("ballista-{}", in_paths(form)),
        engine: Box::new(cluster),
        spills: form == JoinForm::SpilledFold,
    }
}

/// Of a key's rows in the spine a piece has two: nearly every key is cut.
const CUT_ROWS: u64 = 2;

/// Engines whose keys are cut into pieces.
async fn cutting(stores: &Stores) -> Vec<Engine> {
    let choice = |form| FormChoice::ForcedCut(form, CUT_ROWS);
    let mut engines = Vec::new();
    for form in [JoinForm::SlotFold, JoinForm::CandidateFold, JoinForm::SpilledFold] {
        let engine = EmbeddedEngine::new(stores.clone(), options(3, form), choice(form)).unwrap();
        let name = format!("{}-cut", in_paths(form));
        engines.push(Engine { name, engine: Box::new(engine), spills: form == JoinForm::SpilledFold });
    }
    for form in [JoinForm::SlotFold, JoinForm::CandidateFold] {
        let cluster = LocalCluster::start(stores.clone(), options(7, form), choice(form), 2, 2);
        let name = format!("ballista-{}-cut", in_paths(form));
        engines.push(Engine { name, engine: Box::new(cluster.await.unwrap()), spills: false });
    }
    engines
}

/// The oracle, in process on one and on several partitions, and Ballista.
pub(crate) async fn all(stores: &Stores) -> Vec<Engine> {
    let mut engines = vec![
        embedded(stores, 2, JoinForm::NaiveLoop),
        embedded(stores, 1, JoinForm::SlotFold),
        embedded(stores, 3, JoinForm::SlotFold),
        embedded(stores, 1, JoinForm::LateFold),
        embedded(stores, 3, JoinForm::LateFold),
        embedded(stores, 3, JoinForm::CandidateFold),
        embedded(stores, 3, JoinForm::Broadcast),
        embedded(stores, 1, JoinForm::SpilledFold),
        embedded(stores, 3, JoinForm::SpilledFold),
        ballista(stores, JoinForm::SlotFold).await,
        ballista(stores, JoinForm::CandidateFold).await,
        ballista(stores, JoinForm::Broadcast).await,
        ballista(stores, JoinForm::SpilledFold).await,
    ];
    engines.extend(cutting(stores).await);
    engines
}

/// Fewer, where what is asked does not depend on every form, or costs much.
pub(crate) async fn some(stores: &Stores) -> Vec<Engine> {
    vec![
        embedded(stores, 2, JoinForm::NaiveLoop),
        embedded(stores, 2, JoinForm::SlotFold),
        embedded(stores, 2, JoinForm::LateFold),
        ballista(stores, JoinForm::SlotFold).await,
        ballista(stores, JoinForm::CandidateFold).await,
    ]
}
