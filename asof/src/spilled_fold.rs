//! Runs one partition of the spilling fold: everything goes to buckets on disk, then each bucket is folded in memory.
//!
//! ```text
//! spine    ─▶ hash of the keys ─▶ ▢ ▢ ▢ …     a bucket that fits:            fold, emit
//! lookups  ─▶ hash of the keys ─▶ ▢ ▢ ▢ …     one that does not:             cut again by another hash
//!                                             one that a hash does not cut:  slices of its spine, each against all its rows
//! ```
//! A spine row's answer depends on the lookup rows of its key and on no other spine row, so any cut of the spine is exact as
//! long as each piece meets all lookup rows of its keys. See `docs/adr` on the join that spills.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{SchemaRef, TimeUnit};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryReservation};
use datafusion::physical_plan::metrics::{Count, ExecutionPlanMetricsSet, MetricBuilder, SpillMetrics};
use datafusion::physical_plan::spill::get_record_batch_memory_size;
use futures::stream::{BoxStream, Stream, StreamExt, TryStreamExt};

use crate::exec::PartitionJoin;
use crate::fold::LookupFold;
use crate::fold_metrics::FoldMetrics;
use crate::instants::{Instants, RoundUp, to_nanos};
use crate::slot_fold::{Emitter, SpineFold, count_rows, fold_lookup};
use crate::slot_values::SpineSlots;
use crate::spec::LookupSpec;
use crate::spill_file::{Bucket, BucketFile, BucketWriter, Deal};
use crate::tuple_keys::any_null;

/// Buckets of one cut.
const BUCKETS: usize = 32;
/// How often a bucket is cut at most: 32⁴ buckets are a million.
const LEVELS_MAX: u32 = 4;
/// A bucket of fewer spine rows is not cut: slices do.
const CUT_ROWS_MIN: usize = 4;
/// Rows that wait to be written take at most so many bytes.
const WAITING_BYTES_MAX: usize = 16 << 20;
/// Of the share of a partition, what rows that wait may take.
const WAITING_SHARE: usize = 4;
/// Bytes of a spine row while it is indexed: key number, instant, slot, and what sorting takes.
const INDEX_ROW_BYTES: usize = 64;
/// A slice of fewer rows is not made smaller before others had a moment to give memory back.
const SLICE_ROWS: usize = 1_024;
/// How long that is, and how long it is where a slice cannot be made smaller.
const PAUSE: Duration = Duration::from_millis(5);
const PAUSES_BEFORE_HALVING: u32 = 4;
const PAUSES_MAX: u32 = 2_000;

/// The output of one partition.
pub(crate) fn stream(
    join: PartitionJoin,
    metrics: &ExecutionPlanMetricsSet,
) -> BoxStream<'static, Result<RecordBatch>> {
    let run = Run {
        share: share(&join),
        metrics: FoldMetrics::new(metrics, join.partition(), join.spec.lookups.len()),
        spilled: SpillMetrics::new(metrics, join.partition()),
        cuts: MetricBuilder::new(metrics).counter("cut_buckets", join.partition()),
        pieces: MetricBuilder::new(metrics).counter("folded_pieces", join.partition()),
        join,
    };
    futures::stream::once(folded(run)).try_flatten().boxed()
}

async fn folded(run: Run) -> Result<impl Stream<Item = Result<RecordBatch>> + Send> {
    let parts = run.spill().await?;
    let folding = Folding { run, parts, slices: None, emission: None };
    Ok(futures::stream::try_unfold(folding, |mut folding| async move {
        Ok(folding.next().await?.map(|batch| (batch, folding)))
    }))
}

/// What a partition may hold at once: of the limit two thirds, for all partitions together.
fn share(join: &PartitionJoin) -> usize {
    let partitions = join.context.session_config().target_partitions().max(1);
    match join.context.memory_pool().memory_limit() {
        MemoryLimit::Finite(bytes) => bytes / 3 * 2 / partitions,
        _ => usize::MAX,
    }
}

/// A partition on its way.
struct Run {
    join: PartitionJoin,
    share: usize,
    metrics: FoldMetrics,
    spilled: SpillMetrics,
    /// Buckets that were cut again.
    cuts: Count,
    /// Buckets and slices that were folded.
    pieces: Count,
}

/// Spine rows and all lookup rows of their keys.
struct Part {
    spine: Bucket,
    lookups: Vec<Bucket>,
    level: u32,
    /// Whether another hash may make it smaller.
    may_cut: bool,
}

/// A part whose spine is folded piece by piece.
struct Slices {
    part: Part,
    /// Spine rows that have been folded.
    done: usize,
    /// Spine rows of a slice.
    rows_max: usize,
    pauses: u32,
}

/// A slice whose answers are being put out.
struct Emission {
    emitter: Emitter,
    next: usize,
}

impl Emission {
    fn next(&mut self) -> Result<Option<RecordBatch>> {
        if self.next == self.emitter.batches() {
            return Ok(None);
        }
        self.next += 1;
        self.emitter.emit(self.next - 1).map(Some)
    }
}

/// What is left to do, and what is being put out.
struct Folding {
    run: Run,
    parts: Vec<Part>,
    slices: Option<Slices>,
    emission: Option<Emission>,
}

impl Folding {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(emission) = &mut self.emission {
                if let Some(batch) = emission.next()? {
                    return Ok(Some(batch));
                }
                self.emission = None;
            }
            if let Some(slices) = self.slices.take() {
                self.fold_slice(slices).await?;
                continue;
            }
            match self.parts.pop() {
                None => return Ok(None),
                Some(part) if part.spine.rows() == 0 => {}
                Some(part) => {
                    let (rows, bytes) = (part.spine.rows(), part.spine.bytes());
                    let is_worth_it = part.may_cut && rows > CUT_ROWS_MIN;
                    if is_worth_it && part.need(&self.run, rows, bytes) > self.run.share {
                        self.parts.extend(self.run.cut(&part).await?);
                    } else {
                        self.slices = Some(Slices { part, done: 0, rows_max: usize::MAX, pauses: 0 });
                    }
                }
            }
        }
    }

    /// Folds the next slice, or makes it smaller.
    async fn fold_slice(&mut self, mut slices: Slices) -> Result<()> {
        let rows = slices.part.spine.rows();
        if slices.done >= rows {
            return Ok(());
        }
        let mut tried = 0;
        match self.run.fold(&slices, &mut tried).await {
            Ok(emission) => {
                slices.done += tried;
                // Memory may have come back since a slice was halved; one that is too large by little is not tried often.
                slices.rows_max = slices.rows_max.saturating_add(slices.rows_max / 8 + 1);
                slices.pauses = 0;
                self.emission = Some(emission);
                self.slices = Some(slices);
            }
            Err(error) if !is_exhausted(&error) => return Err(error),
            Err(_) if slices.done == 0 && slices.part.may_cut && rows > CUT_ROWS_MIN => {
                self.parts.extend(self.run.cut(&slices.part).await?);
            }
            Err(error) => {
                let is_alone = self.run.join.context.memory_pool().reserved() == 0;
                let patience = match tried {
                    _ if is_alone => 0,
                    0 | 1 => PAUSES_MAX,
                    2..=SLICE_ROWS => PAUSES_BEFORE_HALVING,
                    _ => 0,
                };
                if slices.pauses < patience {
                    slices.pauses += 1;
                    tokio::time::sleep(PAUSE).await;
                } else if tried > 1 {
                    slices.rows_max = tried / 2;
                } else {
                    return Err(error);
                }
                self.slices = Some(slices);
            }
        }
        Ok(())
    }
}

fn is_exhausted(error: &DataFusionError) -> bool {
    matches!(error.find_root(), DataFusionError::ResourcesExhausted(_))
}

impl Part {
    /// Bytes that folding `rows` of its spine, which take `bytes`, is expected to hold at once.
    fn need(&self, run: &Run, rows: usize, bytes: usize) -> usize {
        let mut need = bytes.saturating_add(rows.saturating_mul(INDEX_ROW_BYTES));
        let mut widest = 0;
        for (spec, lookup) in run.join.spec.lookups.iter().zip(&self.lookups) {
            let winners = lookup.bytes() / lookup.rows().max(1) * rows.min(lookup.rows());
            need = need.saturating_add(LookupFold::state_bytes(spec, rows)).saturating_add(winners);
            widest = widest.max(winners);
        }
        // While a lookup is folded there are beaten rows, and a copy of the others when those are dropped.
        need.saturating_add(widest.saturating_mul(2))
    }
}

impl Run {
    fn memory(&self, what: &str) -> MemoryReservation {
        MemoryConsumer::new(format!("point-in-time join, partition {}, {what}", self.join.partition()))
            .register(self.join.context.memory_pool())
    }

    fn writer(&self, what: &str, schema: SchemaRef, keys: &[usize], level: u32) -> Result<BucketWriter> {
        let buckets = if keys.is_empty() { 1 } else { BUCKETS };
        let waiting = self.memory("rows to be spilled");
        let bytes_max = (self.share / WAITING_SHARE).min(WAITING_BYTES_MAX);
        let deal = Deal { keys: keys.to_vec(), buckets, level };
        let runtime = self.join.context.runtime_env();
        BucketWriter::new(what, schema, deal, runtime, waiting, bytes_max, self.spilled.clone())
    }

    /// Everything to disk.
    async fn spill(&self) -> Result<Vec<Part>> {
        let spec = &self.join.spec;
        let mut bounds = Bounds { unit: self.join.spine_unit()?, least: None, greatest: None };
        let mut writer = self.writer("the spine", self.join.spine_schema(), &spec.spine_keys, 0)?;
        let mut rows = self.join.spine()?;
        while let Some(batch) = rows.try_next().await? {
            let _timer = self.metrics.index_time.timer();
            self.metrics.spine_rows.add(batch.num_rows());
            bounds.add(&batch, spec.spine_instant)?;
            writer.push(batch)?;
        }
        let spine = writer.finish()?;
        let mut lookups = Vec::with_capacity(spec.lookups.len());
        for (number, lookup) in spec.lookups.iter().enumerate() {
            let what = format!("lookup `{}`", lookup.name);
            let mut writer = self.writer(&what, self.join.lookup_schema(number), &lookup.keys, 0)?;
            let mut rows = self.join.lookup(number)?;
            while let Some(batch) = rows.try_next().await? {
                let _timer = self.metrics.fold_time.timer();
                count_rows(lookup, &batch, &self.metrics.lookups[number])?;
                writer.push(bounds.within(lookup, batch)?)?;
            }
            lookups.push(writer.finish()?);
        }
        Ok(parts(&spine, &lookups, 0, |_| !spec.spine_keys.is_empty()))
    }

    /// A part by the next hash.
    async fn cut(&self, part: &Part) -> Result<Vec<Part>> {
        self.cuts.add(1);
        let level = part.level + 1;
        let spec = &self.join.spec;
        let spine = self.writer("the spine", self.join.spine_schema(), &spec.spine_keys, level)?;
        let spine = dealt(&part.spine, spine).await?;
        let mut lookups = Vec::with_capacity(part.lookups.len());
        for (number, (lookup, bucket)) in spec.lookups.iter().zip(&part.lookups).enumerate() {
            let what = format!("lookup `{}`", lookup.name);
            let writer = self.writer(&what, self.join.lookup_schema(number), &lookup.keys, level)?;
            lookups.push(dealt(bucket, writer).await?);
        }
        // What keeps most rows is one key: no hash cuts that.
        let all = part.spine.rows();
        Ok(parts(&spine, &lookups, level, |rows| level < LEVELS_MAX && rows <= all / 4 * 3))
    }

    /// Folds the next rows of a part's spine; `tried` says how many.
    async fn fold(&self, slices: &Slices, tried: &mut usize) -> Result<Emission> {
        let part = &slices.part;
        let mut memory = self.memory("spine");
        let mut spine = SpineFold::new(&self.join)?;
        let mut rows = part.spine.read_from(slices.done);
        let mut bytes = 0;
        while *tried < slices.rows_max
            && let Some(batch) = rows.try_next().await?
        {
            let batch = batch.slice(0, batch.num_rows().min(slices.rows_max - *tried));
            bytes += get_record_batch_memory_size(&batch);
            let is_first = *tried == 0;
            if !is_first && part.need(self, *tried + batch.num_rows(), bytes) > self.share {
                break;
            }
            *tried += batch.num_rows();
            let _timer = self.metrics.index_time.timer();
            spine.push(&self.join, batch, &mut memory)?;
        }
        let (spine, index) = {
            let _timer = self.metrics.index_time.timer();
            spine.finish(&mut memory)?
        };
        let mut folded = Vec::with_capacity(part.lookups.len());
        for (number, (lookup, bucket)) in self.join.spec.lookups.iter().zip(&part.lookups).enumerate() {
            let schema = self.join.lookup_schema(number);
            let time = &self.metrics.fold_time;
            folded.push(fold_lookup(lookup, &schema, bucket.read(), &index, &mut memory, time).await?);
        }
        self.pieces.add(1);
        self.metrics.slots.add(index.slots());
        self.metrics.memory_bytes.set_max(memory.size());
        let emitter = Emitter {
            schema: Arc::clone(&self.join.schema),
            slots: SpineSlots::of(index, spine.wants_values(), &mut memory)?,
            spine,
            folded,
            _memory: memory,
            emit_time: self.metrics.emit_time.clone(),
        };
        Ok(Emission { emitter, next: 0 })
    }
}

/// The rows of a bucket, dealt anew.
async fn dealt(bucket: &Bucket, mut writer: BucketWriter) -> Result<Arc<BucketFile>> {
    let mut rows = bucket.read();
    while let Some(batch) = rows.try_next().await? {
        writer.push(batch)?;
    }
    writer.finish()
}

/// Buckets of the same number belong together; `may_cut` is asked with the rows of each one's spine.
fn parts(
    spine: &Arc<BucketFile>,
    lookups: &[Arc<BucketFile>],
    level: u32,
    may_cut: impl Fn(usize) -> bool,
) -> Vec<Part> {
    let mut lookups: Vec<_> = lookups.iter().map(BucketFile::buckets).collect();
    let part = |spine: Bucket| Part {
        may_cut: may_cut(spine.rows()),
        lookups: lookups.iter_mut().filter_map(Iterator::next).collect(),
        spine,
        level,
    };
    spine.buckets().map(part).collect()
}

/// The instants of a spine: rows of a lookup outside serve nobody.
struct Bounds {
    unit: TimeUnit,
    least: Option<i64>,
    greatest: Option<i64>,
}

impl Bounds {
    fn add(&mut self, batch: &RecordBatch, instant: usize) -> Result<()> {
        let instants = Instants::of(batch.column(instant).as_ref())?;
        for (row, &value) in instants.values.iter().enumerate() {
            if !instants.is_null(row) {
                self.least = Some(self.least.map_or(value, |least| least.min(value)));
                self.greatest = self.greatest.max(Some(value));
            }
        }
        Ok(())
    }

    /// The rows of a batch that may serve a row of the spine, be it only to say that something is hidden.
    fn within(&self, spec: &LookupSpec, batch: RecordBatch) -> Result<RecordBatch> {
        let (Some(least), Some(greatest)) = (self.least, self.greatest) else {
            return Ok(batch.slice(0, 0));
        };
        let keys: Vec<ArrayRef> = spec.keys.iter().map(|&key| ArrayRef::clone(batch.column(key))).collect();
        let nulls = any_null(&keys);
        let times = Instants::of(batch.column(spec.time).as_ref())?;
        let round = RoundUp::new(times.unit, self.unit);
        let oldest = spec.ttl_nanos.map(|ttl| to_nanos(least, self.unit).saturating_sub(ttl));
        let is_within = |row: usize| {
            let time = times.values[row];
            !times.is_null(row)
                && nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row))
                && round.apply(time).is_some_and(|visible| visible <= greatest)
                && oldest.is_none_or(|oldest| to_nanos(time, times.unit) >= oldest)
        };
        let within: BooleanArray = (0..batch.num_rows()).map(|row| Some(is_within(row))).collect();
        if within.true_count() == batch.num_rows() {
            return Ok(batch);
        }
        Ok(filter_record_batch(&batch, &within)?)
    }
}
