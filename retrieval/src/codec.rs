//! Carries this room's operators to executors.

use std::fmt::Display;
use std::ops::Range;
use std::sync::Arc;

use backsight_proto::plan;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};
use object_store::path::Path;
use prost::Message;

use crate::paged_scan::{PagedScanExec, PartOfGroup, ScanPages};
use crate::part_writer::{PartSpec, PartWriteExec};
use crate::row_id::RowIdExec;

const ROW_ID_MAGIC: &[u8] = b"backsight.row_id.2\0";
const PAGED_SCAN_MAGIC: &[u8] = b"backsight.paged_scan.1\0";
const PART_MAGIC: &[u8] = b"backsight.part.1\0";

/// Encodes and decodes the operators of scans, row ids and part writing; refuses every other node.
#[derive(Debug, Default)]
pub struct RetrievalPhysicalCodec;

impl PhysicalExtensionCodec for RetrievalPhysicalCodec {
    fn try_decode(
        &self,
        buf: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        _: &TaskContext,
        _: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let [input] = inputs else {
            return Err(DataFusionError::Plan("not a node of a retrieval".into()));
        };
        let input = Arc::clone(input);
        if let Some(message) = buf.strip_prefix(ROW_ID_MAGIC) {
            let message = plan::RowIds::decode(message).map_err(|e| damaged("row ids", &e))?;
            let gaps = ranges(&message.gap_starts, &message.gap_ends, "row ids")?;
            return Ok(Arc::new(RowIdExec::try_new(input, gaps.into())?));
        }
        if let Some(message) = buf.strip_prefix(PAGED_SCAN_MAGIC) {
            let message = plan::PagedScan::decode(message).map_err(|e| damaged("a scan", &e))?;
            return Ok(Arc::new(PagedScanExec::new(input, pages(message)?)));
        }
        let Some(json) = buf.strip_prefix(PART_MAGIC) else {
            return Err(DataFusionError::Plan("not a node of a retrieval".into()));
        };
        let spec: PartSpec = serde_json::from_slice(json).map_err(|e| damaged("a part writer", &e))?;
        Ok(Arc::new(PartWriteExec::new(input, Arc::new(spec))))
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buf: &mut Vec<u8>,
        _: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        if let Some(ids) = node.downcast_ref::<RowIdExec>() {
            buf.extend_from_slice(ROW_ID_MAGIC);
            let (gap_starts, gap_ends) = ends(ids.gaps());
            buf.extend(plan::RowIds { gap_starts, gap_ends }.encode_to_vec());
            return Ok(());
        }
        if let Some(scan) = node.downcast_ref::<PagedScanExec>() {
            buf.extend_from_slice(PAGED_SCAN_MAGIC);
            buf.extend(message(scan.pages()).encode_to_vec());
            return Ok(());
        }
        let Some(write) = node.downcast_ref::<PartWriteExec>() else {
            return Err(DataFusionError::Plan(format!("{} is not a node of a retrieval", node.name())));
        };
        let json = serde_json::to_vec(write.spec())
            .map_err(|e| DataFusionError::Plan(format!("a part writer cannot be encoded: {e}")))?;
        buf.extend_from_slice(PART_MAGIC);
        buf.extend(json);
        Ok(())
    }
}

fn damaged(what: &str, error: &dyn Display) -> DataFusionError {
    DataFusionError::Plan(format!("{what} cannot be decoded: {error}"))
}

fn message(pages: ScanPages) -> plan::PagedScan {
    let part = |part: PartOfGroup| {
        let (kept_starts, kept_ends) = ends(&part.kept);
        plan::PartOfGroup {
            path: part.path.to_string(),
            start: part.start,
            group: part.group as u64,
            rows: part.rows,
            kept_starts,
            kept_ends,
        }
    };
    plan::PagedScan { columns: pages.columns, parts: pages.parts.into_iter().map(part).collect() }
}

fn pages(message: plan::PagedScan) -> Result<ScanPages> {
    let part = |part: plan::PartOfGroup| {
        let kept = ranges(&part.kept_starts, &part.kept_ends, "a scan")?;
        if kept.last().is_none_or(|last| last.end > part.rows) {
            return Err(damaged("a scan", &"rows outside of a row group"));
        }
        Ok(PartOfGroup {
            path: Path::parse(&part.path).map_err(|e| damaged("a scan", &e))?,
            start: part.start,
            group: usize::try_from(part.group).map_err(|e| damaged("a scan", &e))?,
            rows: part.rows,
            kept,
        })
    };
    let parts = message.parts.into_iter().map(part).collect::<Result<_>>()?;
    Ok(ScanPages { columns: message.columns, parts })
}

fn ends(ranges: &[Range<u64>]) -> (Vec<u64>, Vec<u64>) {
    ranges.iter().map(|range| (range.start, range.end)).unzip()
}

/// Ranges that are ascending, disjoint and not empty, as whoever reads them relies on.
fn ranges(starts: &[u64], ends: &[u64], what: &str) -> Result<Vec<Range<u64>>> {
    let ranges: Vec<Range<u64>> = starts.iter().zip(ends).map(|(&start, &end)| start..end).collect();
    let is_ascending = ranges.windows(2).all(|pair| pair[0].end <= pair[1].start);
    if starts.len() != ends.len() || !is_ascending || ranges.iter().any(Range::is_empty) {
        return Err(damaged(what, &"its ranges of rows are not in order"));
    }
    Ok(ranges)
}
