//! Carries the physical operators to executors: a version, a form, positions and bounds.

use std::sync::Arc;

use backsight_proto::plan::{AsofJoin, AsofLookup, Candidates, PLAN_FORMAT, Spans};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};
use prost::Message;

use crate::candidates::CandidatesSpec;
use crate::candidates_exec::CandidatesExec;
use crate::exec::AsofJoinExec;
use crate::key_cuts::KeyCuts;
use crate::late::LateColumns;
use crate::spans::SpansSpec;
use crate::spans_exec::SpansExec;
use crate::spec::{AsofSpec, JoinForm, LookupSpec, PayloadColumn};

/// First bytes of encoded operators, so that a composed codec does not take another node's bytes for one.
const JOIN_MAGIC: &[u8] = b"backsight.asof\0";
const CANDIDATES_MAGIC: &[u8] = b"backsight.candidates\0";
const SPANS_MAGIC: &[u8] = b"backsight.spans\0";

/// Reads what [`LateColumns::encode`] wrote.
pub type LateDecoder = fn(&[u8]) -> Result<Arc<dyn LateColumns>>;

/// Encodes and decodes [`AsofJoinExec`], [`CandidatesExec`] and [`SpansExec`]; refuses every other node.
#[derive(Debug)]
pub struct AsofPhysicalCodec {
    late: LateDecoder,
}

impl AsofPhysicalCodec {
    /// A codec that reads late columns by `late`.
    pub fn new(late: LateDecoder) -> Self {
        Self { late }
    }
}

impl PhysicalExtensionCodec for AsofPhysicalCodec {
    fn try_decode(
        &self,
        buf: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        _: &TaskContext,
        _: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if let Some(message) = buf.strip_prefix(JOIN_MAGIC) {
            let spec = decode(AsofJoin::decode(message).map_err(|e| undecodable("join", &e))?)?;
            return Ok(Arc::new(AsofJoinExec::try_new(Arc::new(spec), inputs.to_vec(), Vec::new())?));
        }
        if let (Some(message), [lookup]) = (buf.strip_prefix(SPANS_MAGIC), inputs) {
            let message = Spans::decode(message).map_err(|e| undecodable("row of spans", &e))?;
            check_format(message.format)?;
            let spec =
                SpansSpec { lookup: decode_lookup(message.lookup)?, cuts: KeyCuts::from_bytes(message.cuts) };
            return Ok(Arc::new(SpansExec::try_new(Arc::new(spec), Arc::clone(lookup))?));
        }
        let (Some(message), [lookup, spine]) = (buf.strip_prefix(CANDIDATES_MAGIC), inputs) else {
            return Err(DataFusionError::Plan("not a point-in-time join".into()));
        };
        let message = Candidates::decode(message).map_err(|e| undecodable("partial fold", &e))?;
        check_format(message.format)?;
        let spec = CandidatesSpec {
            lookup: decode_lookup(message.lookup)?,
            spine_keys: positions(&message.spine_keys)?,
            spine_instant: position(message.spine_instant)?,
            cuts: message.cuts.map(KeyCuts::from_bytes),
        };
        let late = (self.late)(&message.late)?;
        Ok(Arc::new(CandidatesExec::try_new(Arc::new(spec), Arc::clone(lookup), Arc::clone(spine), late)?))
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buf: &mut Vec<u8>,
        _: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        if let Some(join) = node.downcast_ref::<AsofJoinExec>() {
            buf.extend_from_slice(JOIN_MAGIC);
            return encode(join.spec())?.encode(buf).map_err(|e| unencodable(&e));
        }
        if let Some(spans) = node.downcast_ref::<SpansExec>() {
            let spec = spans.spec();
            let message = Spans {
                format: PLAN_FORMAT,
                lookup: encode_lookup(&spec.lookup),
                cuts: spec.cuts.as_bytes().to_vec(),
            };
            buf.extend_from_slice(SPANS_MAGIC);
            return message.encode(buf).map_err(|e| unencodable(&e));
        }
        let Some(candidates) = node.downcast_ref::<CandidatesExec>() else {
            return Err(DataFusionError::Plan(format!("{} is not a point-in-time join", node.name())));
        };
        let spec = candidates.spec();
        let message = Candidates {
            format: PLAN_FORMAT,
            lookup: encode_lookup(&spec.lookup),
            spine_keys: wide(&spec.spine_keys),
            spine_instant: spec.spine_instant as u64,
            late: candidates.late().encode()?,
            cuts: spec.cuts.as_ref().map(|cuts| cuts.as_bytes().to_vec()),
        };
        buf.extend_from_slice(CANDIDATES_MAGIC);
        message.encode(buf).map_err(|e| unencodable(&e))
    }
}

fn undecodable(what: &str, cause: &prost::DecodeError) -> DataFusionError {
    DataFusionError::Plan(format!("a {what} cannot be decoded: {cause}"))
}

fn unencodable(cause: &prost::EncodeError) -> DataFusionError {
    DataFusionError::Plan(format!("a point-in-time join cannot be encoded: {cause}"))
}

fn encode(spec: &AsofSpec) -> Result<AsofJoin> {
    Ok(AsofJoin {
        format: PLAN_FORMAT,
        form: match spec.form {
            JoinForm::SlotFold => 0,
            JoinForm::NaiveLoop => 1,
            JoinForm::CandidateFold => 2,
            JoinForm::Broadcast => 3,
            JoinForm::SpilledFold => 4,
            JoinForm::LateFold => {
                return Err(DataFusionError::Plan("the late slot fold runs in one process".into()));
            }
        },
        spine_keys: wide(&spec.spine_keys),
        spine_instant: spec.spine_instant as u64,
        lookups: spec.lookups.iter().map(encode_lookup).collect(),
        first_outcome: spec.first_outcome as u64,
        clusters: spec.clusters,
    })
}

fn encode_lookup(lookup: &LookupSpec) -> AsofLookup {
    AsofLookup {
        name: lookup.name.clone(),
        keys: wide(&lookup.keys),
        time: lookup.time as u64,
        created: lookup.created.map(|column| column as u64),
        ties: wide(&lookup.ties),
        payload_columns: lookup.payload.iter().map(|payload| payload.column as u64).collect(),
        payload_names: lookup.payload.iter().map(|payload| payload.output.clone()).collect(),
        ttl_nanos: lookup.ttl_nanos.map(|ttl| ttl.to_string()).unwrap_or_default(),
        created_cut: lookup.created_cut,
        account: lookup.account.map(|column| column as u64),
        ordinal: lookup.ordinal.map(|column| column as u64),
        late_created: lookup.late_created.map(|column| column as u64),
    }
}

fn check_format(format: u32) -> Result<()> {
    if format == PLAN_FORMAT {
        return Ok(());
    }
    Err(DataFusionError::Plan(format!(
        "the plan has format {format}, this process reads format {PLAN_FORMAT}: scheduler and executors must run one \
         version"
    )))
}

fn decode(message: AsofJoin) -> Result<AsofSpec> {
    check_format(message.format)?;
    Ok(AsofSpec {
        form: match message.form {
            0 => JoinForm::SlotFold,
            1 => JoinForm::NaiveLoop,
            2 => JoinForm::CandidateFold,
            3 => JoinForm::Broadcast,
            4 => JoinForm::SpilledFold,
            other => return Err(DataFusionError::Plan(format!("unknown form {other} of the join"))),
        },
        spine_keys: positions(&message.spine_keys)?,
        spine_instant: position(message.spine_instant)?,
        lookups: message.lookups.into_iter().map(decode_lookup).collect::<Result<_>>()?,
        first_outcome: position(message.first_outcome)?,
        clusters: message.clusters,
    })
}

fn decode_lookup(message: AsofLookup) -> Result<LookupSpec> {
    if message.payload_columns.len() != message.payload_names.len() {
        return Err(DataFusionError::Plan("columns and names of a lookup differ in number".into()));
    }
    let ttl_nanos = match message.ttl_nanos.as_str() {
        "" => None,
        text => Some(
            text.parse()
                .map_err(|_| DataFusionError::Plan(format!("`{text}` is not a ttl in nanoseconds")))?,
        ),
    };
    let payload = message
        .payload_columns
        .iter()
        .zip(message.payload_names)
        .map(|(&column, output)| Ok(PayloadColumn { column: position(column)?, output }))
        .collect::<Result<_>>()?;
    Ok(LookupSpec {
        name: message.name,
        keys: positions(&message.keys)?,
        time: position(message.time)?,
        ordinal: message.ordinal.map(position).transpose()?,
        late_created: message.late_created.map(position).transpose()?,
        account: message.account.map(position).transpose()?,
        created: message.created.map(position).transpose()?,
        ties: positions(&message.ties)?,
        payload,
        ttl_nanos,
        created_cut: message.created_cut,
    })
}

fn wide(positions: &[usize]) -> Vec<u64> {
    positions.iter().map(|&position| position as u64).collect()
}

fn positions(wide: &[u64]) -> Result<Vec<usize>> {
    wide.iter().copied().map(position).collect()
}

fn position(wide: u64) -> Result<usize> {
    usize::try_from(wide).map_err(|_| DataFusionError::Plan(format!("{wide} is not a column position")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_specification_survives_the_wire() {
        let spec = AsofSpec {
            form: JoinForm::SlotFold,
            spine_keys: vec![3, 1],
            spine_instant: 2,
            lookups: vec![LookupSpec {
                ordinal: Some(7),
                late_created: Some(8),
                account: Some(9),
                name: "view".into(),
                keys: vec![0, 4],
                time: 1,
                created: Some(2),
                ties: vec![5, 6],
                payload: vec![PayloadColumn { column: 6, output: "out".into() }],
                ttl_nanos: Some(8_640_000_000_000_000_000_000),
                created_cut: true,
            }],
            first_outcome: 7,
            clusters: true,
        };
        assert_eq!(decode(encode(&spec).unwrap()).unwrap(), spec);
    }

    #[test]
    fn another_format_is_refused_by_name() {
        let message = AsofJoin { format: PLAN_FORMAT + 1, ..AsofJoin::default() };
        let error = decode(message).unwrap_err().to_string();
        assert!(error.contains("must run one version"), "{error}");
    }
}
