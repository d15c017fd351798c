//! The file of a part as it grows: rows are encoded, and what a row group has come to is handed on in pieces.

use std::io::Write;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use crate::error::RetrievalError;
use crate::staging::{PartSink, Staged};

/// Bytes of a piece.
const PIECE_BYTES: usize = 1 << 20;

/// An encoder of rows and the staged part that they go to.
pub(crate) struct PartFile {
    encoder: ArrowWriter<Pieces>,
    sink: PartSink,
}

impl PartFile {
    /// A file of rows of `schema`.
    ///
    /// # Errors
    /// A schema that Parquet cannot hold.
    pub(crate) fn new(
        sink: PartSink,
        schema: SchemaRef,
        properties: WriterProperties,
    ) -> Result<Self, RetrievalError> {
        let options = ArrowWriterOptions::new().with_properties(properties);
        let encoder =
            ArrowWriter::try_new_with_options(Pieces::default(), schema, options).map_err(encoding)?;
        Ok(Self { encoder, sink })
    }

    /// Takes rows; once a row group is full, its bytes go to the sink.
    ///
    /// # Errors
    /// Rows that Parquet cannot hold, storage faults.
    pub(crate) async fn write(&mut self, rows: &RecordBatch) -> Result<(), RetrievalError> {
        let groups = self.encoder.flushed_row_groups().len();
        self.encoder.write(rows).map_err(encoding)?;
        if self.encoder.flushed_row_groups().len() > groups {
            self.sink.push(self.encoder.inner_mut().take_full()).await?;
        }
        Ok(())
    }

    /// Ends the file and makes it durable; what is returned completes the part. Returns the bytes written, too.
    ///
    /// # Errors
    /// Rows that Parquet cannot hold, storage faults.
    pub(crate) async fn finish(mut self) -> Result<(Staged, u64), RetrievalError> {
        self.encoder.finish().map_err(encoding)?;
        self.sink.push(self.encoder.inner_mut().take_all()).await?;
        self.sink.finish().await
    }
}

fn encoding(error: ParquetError) -> RetrievalError {
    RetrievalError::Bug { message: format!("a part cannot be encoded: {error}") }
}

/// Bytes that nobody has taken yet. In pieces: one buffer that grows would be copied time and again, into memory that is
/// touched for the first time, which costs as much as encoding does.
#[derive(Default)]
struct Pieces {
    full: Vec<Bytes>,
    open: Vec<u8>,
}

impl Pieces {
    fn take_full(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.full)
    }

    fn take_all(&mut self) -> Vec<Bytes> {
        let mut all = self.take_full();
        if !self.open.is_empty() {
            all.push(std::mem::take(&mut self.open).into());
        }
        all
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.open.capacity() == 0 {
            self.open.reserve_exact(PIECE_BYTES);
        }
        let taken = bytes.len().min(PIECE_BYTES - self.open.len());
        self.open.extend_from_slice(&bytes[..taken]);
        if self.open.len() == PIECE_BYTES {
            self.full.push(std::mem::take(&mut self.open).into());
        }
        Ok(taken)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in() {
        let bytes: Vec<u8> = (0..5 * PIECE_BYTES / 2).map(|at| (at % 251) as u8).collect();
        let mut pieces = Pieces::default();
        let mut taken = Vec::new();
        for (number, some) in bytes.chunks(PIECE_BYTES / 3 + 1).enumerate() {
            pieces.write_all(some).unwrap();
            if number == 4 {
                taken.extend(pieces.take_full());
                assert_eq!(taken.len(), 1, "what is not full stays");
            }
        }
        taken.extend(pieces.take_all());
        assert!(taken.iter().all(|piece| piece.len() <= PIECE_BYTES));
        assert!(taken.concat() == bytes);
        assert_eq!(pieces.take_all(), Vec::<Bytes>::new());
    }
}
