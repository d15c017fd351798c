//! Footers that were read, kept for the next retrieval of the same process: a scheduler plans over the same files again and again.

use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::SchemaRef;
use backsight_storage::{FileEntry, Location};
use lru::LruCache;
use parquet::file::metadata::ParquetMetaData;

/// Bytes of footers that are kept at most.
const KEPT_BYTES_MAX: usize = 64 << 20;

/// The footers that were used last.
#[derive(Debug)]
pub(crate) struct FooterCache {
    bytes_max: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    footers: LruCache<Place, Footer>,
    bytes: usize,
}

/// A file as it was read. What has no etag may have changed without a sign, and is not kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Place {
    location: Location,
    etag: String,
    bytes: u64,
}

#[derive(Debug)]
struct Footer {
    metadata: Arc<ParquetMetaData>,
    schema: SchemaRef,
    bytes: usize,
}

impl Default for FooterCache {
    fn default() -> Self {
        Self::with_limit(KEPT_BYTES_MAX)
    }
}

impl FooterCache {
    fn with_limit(bytes_max: usize) -> Self {
        Self { bytes_max, kept: Mutex::new(Kept { footers: LruCache::unbounded(), bytes: 0 }) }
    }

    /// The footer of a file, if it was read in this version.
    pub(crate) fn get(&self, file: &FileEntry) -> Option<(Arc<ParquetMetaData>, SchemaRef)> {
        let place = Place::of(file)?;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let footer = kept.footers.get(&place)?;
        Some((Arc::clone(&footer.metadata), Arc::clone(&footer.schema)))
    }

    /// Keeps a footer. Files of one writer share their schema, so that it is not counted.
    pub(crate) fn put(&self, file: &FileEntry, metadata: &Arc<ParquetMetaData>, schema: &SchemaRef) {
        let Some(place) = Place::of(file) else { return };
        let bytes = metadata.memory_size() + size_of::<Footer>() + size_of::<Place>() + place.etag.len();
        if bytes > self.bytes_max {
            return;
        }
        let footer = Footer { metadata: Arc::clone(metadata), schema: Arc::clone(schema), bytes };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let before = kept.footers.put(place, footer);
        kept.bytes = kept.bytes + bytes - before.map_or(0, |footer| footer.bytes);
        while kept.bytes > self.bytes_max
            && let Some((_, footer)) = kept.footers.pop_lru()
        {
            kept.bytes -= footer.bytes;
        }
    }
}

impl Place {
    fn of(file: &FileEntry) -> Option<Self> {
        let etag = file.etag.clone()?;
        Some(Self { location: file.location.clone(), etag, bytes: file.size })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use chrono::DateTime;
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::ArrowReaderMetadata;

    use super::*;

    fn file(name: &str, etag: Option<&str>, size: u64) -> FileEntry {
        let location = Location::parse(name, Path::new("/"), None).unwrap();
        FileEntry { location, size, etag: etag.map(str::to_owned), modified: DateTime::UNIX_EPOCH }
    }

    fn footer() -> (Arc<ParquetMetaData>, SchemaRef) {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        let batch = RecordBatch::try_from_iter([("a", column)]).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        let bytes = bytes::Bytes::from(writer.into_inner().unwrap());
        let read = ArrowReaderMetadata::load(&bytes, Default::default()).unwrap();
        (Arc::clone(read.metadata()), Arc::clone(read.schema()))
    }

    #[test]
    fn a_footer_is_that_of_one_version_of_a_file() {
        let (metadata, schema) = footer();
        let cache = FooterCache::default();
        cache.put(&file("a", Some("1"), 9), &metadata, &schema);
        cache.put(&file("b", None, 9), &metadata, &schema);
        let is_kept = |name, etag, size| cache.get(&file(name, etag, size)).is_some();
        assert!(is_kept("a", Some("1"), 9));
        assert!(!is_kept("a", Some("2"), 9) && !is_kept("a", Some("1"), 8) && !is_kept("a", None, 9));
        assert!(!is_kept("b", None, 9), "it may have changed without a sign");
    }

    #[test]
    fn those_that_were_used_last_stay_within_the_limit() {
        let (metadata, schema) = footer();
        let one = metadata.memory_size() + size_of::<Footer>() + size_of::<Place>() + 1;
        let cache = FooterCache::with_limit(2 * one);
        let put = |name| cache.put(&file(name, Some("1"), 9), &metadata, &schema);
        let is_kept = |name| cache.get(&file(name, Some("1"), 9)).is_some();
        put("a");
        put("b");
        put("a");
        assert!(is_kept("b") && is_kept("a"));
        put("c");
        assert_eq!(["a", "b", "c"].map(is_kept), [true, false, true]);
        assert_eq!(cache.kept.lock().unwrap().bytes, 2 * one);
        let none = FooterCache::with_limit(one - 1);
        none.put(&file("a", Some("1"), 9), &metadata, &schema);
        assert!(none.get(&file("a", Some("1"), 9)).is_none());
    }
}
