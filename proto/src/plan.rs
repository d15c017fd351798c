//! Plan nodes as they travel between scheduler and executors. Every message starts with a format version.

/// The format of the messages below; executors refuse another one.
pub const PLAN_FORMAT: u32 = 4;

/// A point-in-time join (`backsight-asof`). Columns are positions in the inputs' schemas.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AsofJoin {
    /// [`PLAN_FORMAT`] of the writer.
    #[prost(uint32, tag = "1")]
    pub format: u32,
    /// 0 slot fold, 1 naive loop, 2 candidate fold, 3 broadcast features, 4 spilling fold.
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
    /// Whether rows may come in another order than the spine's.
    #[prost(bool, tag = "7")]
    pub clusters: bool,
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
    /// Column of a partial fold's accounts.
    #[prost(uint64, optional, tag = "10")]
    pub account: Option<u64>,
    /// Column of the ordinals by which late columns are read.
    #[prost(uint64, optional, tag = "11")]
    pub ordinal: Option<u64>,
    /// The created time among the late columns.
    #[prost(uint64, optional, tag = "12")]
    pub late_created: Option<u64>,
}

/// A partial fold of a lookup (`backsight-asof`).
#[derive(Clone, PartialEq, prost::Message)]
pub struct Candidates {
    /// [`PLAN_FORMAT`] of the writer.
    #[prost(uint32, tag = "1")]
    pub format: u32,
    /// The lookup.
    #[prost(message, required, tag = "2")]
    pub lookup: AsofLookup,
    /// Key columns of the spine.
    #[prost(uint64, repeated, tag = "3")]
    pub spine_keys: Vec<u64>,
    /// Instant column of the spine.
    #[prost(uint64, tag = "4")]
    pub spine_instant: u64,
    /// What reads the late columns: a [`LateSource`], which `backsight-asof` does not look into.
    #[prost(bytes = "vec", tag = "5")]
    pub late: Vec<u8>,
    /// Cuts of heavy keys, an Arrow IPC stream; absent where no key is cut.
    #[prost(bytes = "vec", optional, tag = "6")]
    pub cuts: Option<Vec<u8>>,
}

/// The spans of a lookup's rows (`backsight-asof`).
#[derive(Clone, PartialEq, prost::Message)]
pub struct Spans {
    /// [`PLAN_FORMAT`] of the writer.
    #[prost(uint32, tag = "1")]
    pub format: u32,
    /// The lookup.
    #[prost(message, required, tag = "2")]
    pub lookup: AsofLookup,
    /// Cuts of heavy keys, an Arrow IPC stream.
    #[prost(bytes = "vec", tag = "3")]
    pub cuts: Vec<u8>,
}

/// Files whose rows' columns are read once it is known which rows are needed (`backsight-retrieval`).
#[derive(Clone, PartialEq, prost::Message)]
pub struct LateSource {
    /// What messages call the source.
    #[prost(string, tag = "1")]
    pub role: String,
    /// The store, as a URL.
    #[prost(string, tag = "2")]
    pub store_url: String,
    /// The files with row groups that are read.
    #[prost(message, repeated, tag = "3")]
    pub files: Vec<LateFile>,
    /// The columns that can be read, as an empty Arrow IPC stream.
    #[prost(bytes = "vec", tag = "4")]
    pub schema: Vec<u8>,
}

/// One file of a [`LateSource`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct LateFile {
    /// Path in the store.
    #[prost(string, tag = "1")]
    pub path: String,
    /// Bytes of the file.
    #[prost(uint64, tag = "2")]
    pub size: u64,
    /// Numbers of the row groups that are read.
    #[prost(uint64, repeated, tag = "3")]
    pub groups: Vec<u64>,
    /// First ordinal of each of them.
    #[prost(uint64, repeated, tag = "4")]
    pub starts: Vec<u64>,
    /// Rows of each of them.
    #[prost(uint64, repeated, tag = "5")]
    pub rows: Vec<u64>,
    /// Columns whose one value the file's folders say, as an Arrow IPC stream of one row; empty where there are none.
    #[prost(bytes = "vec", tag = "6")]
    pub constants: Vec<u8>,
}

/// Which rows a scan leaves out, between those that it numbers (`backsight-retrieval`).
#[derive(Clone, PartialEq, prost::Message)]
pub struct RowIds {
    /// First ordinal of each run of rows that are not read.
    #[prost(uint64, repeated, tag = "1")]
    pub gap_starts: Vec<u64>,
    /// Past the last of each.
    #[prost(uint64, repeated, tag = "2")]
    pub gap_ends: Vec<u64>,
}

/// What a scan reads of its files, beside whole row groups (`backsight-retrieval`).
#[derive(Clone, PartialEq, prost::Message)]
pub struct PagedScan {
    /// Columns of the scan.
    #[prost(string, repeated, tag = "1")]
    pub columns: Vec<String>,
    /// Row groups of which some rows are read.
    #[prost(message, repeated, tag = "2")]
    pub parts: Vec<PartOfGroup>,
}

/// One row group of a [`PagedScan`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct PartOfGroup {
    /// Path in the store.
    #[prost(string, tag = "1")]
    pub path: String,
    /// First byte of its range in the scan.
    #[prost(int64, tag = "2")]
    pub start: i64,
    /// Its number in the file.
    #[prost(uint64, tag = "3")]
    pub group: u64,
    /// Its rows.
    #[prost(uint64, tag = "4")]
    pub rows: u64,
    /// First row of each run that is read.
    #[prost(uint64, repeated, tag = "5")]
    pub kept_starts: Vec<u64>,
    /// Past the last of each.
    #[prost(uint64, repeated, tag = "6")]
    pub kept_ends: Vec<u64>,
}
