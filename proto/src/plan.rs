//! Plan nodes as they travel between scheduler and executors. Every message starts with a format version.

/// The format of the messages below; executors refuse another one.
pub const PLAN_FORMAT: u32 = 1;

/// A point-in-time join (`backsight-asof`). Columns are positions in the inputs' schemas.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AsofJoin {
    /// [`PLAN_FORMAT`] of the writer.
    #[prost(uint32, tag = "1")]
    pub format: u32,
    /// 0 slot fold, 1 naive loop.
    #[prost(uint32, tag = "2")]
    pub form: u32,
    /// Key columns of the spine.
    #[prost(uint64, repeated, tag = "3")]
    pub spine_keys: Vec<u64>,
    /// Instant column of the spine.
    #[prost(uint64, tag = "4")]
    pub spine_instant: u64,
    /// The lookups in output order.
    #[prost(message, repeated, tag = "5")]
    pub lookups: Vec<AsofLookup>,
    /// First number of the outcome columns.
    #[prost(uint64, tag = "6")]
    pub first_outcome: u64,
}

/// One right side of a point-in-time join.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AsofLookup {
    /// What messages call it.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Key columns.
    #[prost(uint64, repeated, tag = "2")]
    pub keys: Vec<u64>,
    /// Event time column.
    #[prost(uint64, tag = "3")]
    pub time: u64,
    /// Created time column.
    #[prost(uint64, optional, tag = "4")]
    pub created: Option<u64>,
    /// Tie columns.
    #[prost(uint64, repeated, tag = "5")]
    pub ties: Vec<u64>,
    /// Columns added to the output.
    #[prost(uint64, repeated, tag = "6")]
    pub payload_columns: Vec<u64>,
    /// Their names, in the same order.
    #[prost(string, repeated, tag = "7")]
    pub payload_names: Vec<String>,
    /// Greatest age in nanoseconds as decimal text (it may exceed 64 bits); empty is unbounded.
    #[prost(string, tag = "8")]
    pub ttl_nanos: String,
    /// Whether rows must be created at or before the instant.
    #[prost(bool, tag = "9")]
    pub created_cut: bool,
}
