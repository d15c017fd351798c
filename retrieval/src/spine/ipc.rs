//! Arrow's IPC formats, message by message: what a message claims is held against the bytes that are there.
//!
//! The library's own stream reader makes room for whatever length a message names, slices buffers wherever it says, and takes
//! the end of the bytes for the end of the rows. Of a file that was cut off it would give fewer rows and no error.

use std::io::Read;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::buffer::{Buffer, MutableBuffer};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::convert::fb_to_schema;
use arrow::ipc::reader::FileDecoder;
use arrow::ipc::{Block, BodyCompression, CompressionType, Message, MessageHeader, root_as_message};

/// What a message begins with since version 0.15 of the format.
const CONTINUATION: [u8; 4] = [0xff; 4];
/// What the file format ends with.
const FILE_END: &[u8] = b"ARROW1";
/// Continuation and length.
const PREFIX_BYTES: usize = 8;
/// What the buffers of one batch may be unpacked to: room is made for what they claim.
const UNPACKED_BYTES_MAX: u64 = 4 << 30;
/// How much smaller than its content a packed buffer can be, at most.
const LZ4_RATIO_MAX: u64 = 256;
const ZSTD_RATIO_MAX: u64 = 1 << 16;
/// Rows of one batch.
const ROWS_MAX: i64 = i32::MAX as i64;

/// Which of the two formats a file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IpcForm {
    /// Messages, and then a footer that is not needed to read them in order.
    File,
    /// Messages alone. The end of the bytes may be their end.
    Stream,
}

/// The batches of a file, in order.
pub(super) struct IpcBatches<R> {
    reader: R,
    /// Bytes that are still to come.
    left: u64,
    form: IpcForm,
    schema: SchemaRef,
    decoder: FileDecoder,
    has_ended: bool,
}

impl<R: Read> IpcBatches<R> {
    /// Reads the schema. `left` is what `reader` has to give.
    pub(super) fn open(mut reader: R, left: u64, form: IpcForm) -> Result<Self, ArrowError> {
        let mut left = left;
        let Some(found) = next_message(&mut reader, &mut left, form)? else {
            return Err(broken("it has no schema"));
        };
        let message = found.message()?;
        let Some(schema) = message.header_as_schema() else {
            return Err(broken("it does not begin with a schema"));
        };
        let decoded = Arc::new(fb_to_schema(schema));
        let decoder = FileDecoder::new(Arc::clone(&decoded), message.version());
        Ok(Self { reader, left, form, schema: decoded, decoder, has_ended: false })
    }

    /// The columns.
    pub(super) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        while let Some(found) = next_message(&mut self.reader, &mut self.left, self.form)? {
            let message = found.message()?;
            match message.header_type() {
                MessageHeader::RecordBatch => {
                    let batch = self.decoder.read_record_batch(&found.block, &found.bytes)?;
                    if batch.is_some() {
                        return Ok(batch);
                    }
                }
                MessageHeader::DictionaryBatch => self.decoder.read_dictionary(&found.block, &found.bytes)?,
                MessageHeader::NONE => {}
                other => return Err(broken(&format!("it has a message of kind {other:?} among its rows"))),
            }
        }
        Ok(None)
    }
}

impl<R: Read> Iterator for IpcBatches<R> {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_ended {
            return None;
        }
        let next = self.next_batch().transpose();
        self.has_ended = !matches!(next, Some(Ok(_)));
        next
    }
}

/// A message whose claims fit the bytes.
struct Found {
    /// Prefix, message, body.
    bytes: Buffer,
    block: Block,
    message_bytes: usize,
}

impl Found {
    fn message(&self) -> Result<Message<'_>, ArrowError> {
        parsed(self.bytes.get(PREFIX_BYTES..PREFIX_BYTES + self.message_bytes).unwrap_or_default())
    }
}

/// The next message; `None` at the end.
fn next_message(reader: &mut impl Read, left: &mut u64, form: IpcForm) -> Result<Option<Found>, ArrowError> {
    let Some(length) = message_length(reader, left, form)? else { return Ok(None) };
    if length == 0 {
        return if form == IpcForm::File { at_file_end(reader) } else { Ok(()) }.map(|()| None);
    }
    let message_bytes = claimed(i64::from(length), *left, "a message")?;
    let mut bytes = MutableBuffer::new(PREFIX_BYTES + message_bytes);
    bytes.extend_from_slice(&CONTINUATION);
    bytes.extend_from_slice(&length.to_le_bytes());
    fill(reader, &mut bytes, message_bytes, left)?;
    let message = parsed(&bytes[PREFIX_BYTES..])?;
    let body_length = message.bodyLength();
    let body_bytes = claimed(body_length, *left, "a message's body")?;
    fill(reader, &mut bytes, body_bytes, left)?;
    let body = &bytes[PREFIX_BYTES + message_bytes..];
    check_body(&parsed(&bytes[PREFIX_BYTES..PREFIX_BYTES + message_bytes])?, body)?;
    let metadata_length =
        i32::try_from(PREFIX_BYTES + message_bytes).map_err(|_| broken("a message is too long"))?;
    let block = Block::new(0, metadata_length, body_length);
    Ok(Some(Found { bytes: bytes.into(), block, message_bytes }))
}

/// The length that the next message names; `None` where the bytes end and may.
fn message_length(reader: &mut impl Read, left: &mut u64, form: IpcForm) -> Result<Option<i32>, ArrowError> {
    let mut prefix = [0; 4];
    let mut got = 0;
    while got < prefix.len() {
        match reader.read(&mut prefix[got..])? {
            0 => break,
            read => got += read,
        }
    }
    if got == 0 && form == IpcForm::Stream {
        return Ok(None);
    }
    if got < prefix.len() {
        return Err(cut_off());
    }
    *left = left.saturating_sub(4);
    if prefix == CONTINUATION {
        reader.read_exact(&mut prefix).map_err(of_end)?;
        *left = left.saturating_sub(4);
    }
    Ok(Some(i32::from_le_bytes(prefix)))
}

/// The file format goes on with a footer; without its end the file is not whole.
fn at_file_end(reader: &mut impl Read) -> Result<(), ArrowError> {
    let mut rest = Vec::new();
    let mut chunk = [0; 4_096];
    loop {
        match reader.read(&mut chunk)? {
            0 => break,
            read => rest.extend_from_slice(&chunk[..read]),
        }
        let unneeded = rest.len().saturating_sub(FILE_END.len());
        drop(rest.drain(..unneeded));
    }
    if rest == FILE_END { Ok(()) } else { Err(cut_off()) }
}

fn parsed(bytes: &[u8]) -> Result<Message<'_>, ArrowError> {
    root_as_message(bytes).map_err(|error| broken(&format!("a message cannot be read: {error}")))
}

fn fill(
    reader: &mut impl Read,
    into: &mut MutableBuffer,
    length: usize,
    left: &mut u64,
) -> Result<(), ArrowError> {
    let start = into.len();
    into.resize(start + length, 0);
    reader.read_exact(&mut into[start..]).map_err(of_end)?;
    *left = left.saturating_sub(length as u64);
    Ok(())
}

/// A length that can be true.
fn claimed(length: i64, left: u64, what: &str) -> Result<usize, ArrowError> {
    let fits = u64::try_from(length).ok().filter(|length| *length <= left);
    match fits.and_then(|length| usize::try_from(length).ok()) {
        Some(length) => Ok(length),
        None if length > 0 => Err(cut_off()),
        None => Err(broken(&format!("{what} claims {length} bytes"))),
    }
}

/// Whether the buffers of a batch lie inside of its body, and what they are unpacked to is bounded.
fn check_body(message: &Message<'_>, body: &[u8]) -> Result<(), ArrowError> {
    let batch = match message.header_type() {
        MessageHeader::RecordBatch => message.header_as_record_batch(),
        MessageHeader::DictionaryBatch => message.header_as_dictionary_batch().and_then(|batch| batch.data()),
        _ => None,
    };
    let Some(batch) = batch else { return Ok(()) };
    let is_count = |count: i64| (0..=ROWS_MAX).contains(&count);
    let nodes = batch.nodes().into_iter().flatten();
    if !is_count(batch.length()) || nodes.into_iter().any(|node| !is_count(node.length())) {
        return Err(broken("a batch claims a number of rows that cannot be"));
    }
    let mut unpacked = 0_u64;
    for buffer in batch.buffers().into_iter().flatten() {
        let range = usize::try_from(buffer.offset()).ok().zip(usize::try_from(buffer.length()).ok());
        let bytes = range
            .and_then(|(start, length)| body.get(start..start.checked_add(length)?))
            .ok_or_else(|| broken("a buffer lies outside of its message"))?;
        if let Some(compression) = batch.compression().filter(|_| !bytes.is_empty()) {
            unpacked = unpacked.saturating_add(unpacked_length(bytes, &compression)?);
        }
    }
    if unpacked > UNPACKED_BYTES_MAX {
        let most = UNPACKED_BYTES_MAX >> 30;
        return Err(broken(&format!(
            "a batch unpacks to {unpacked} bytes, at most {most} GiB are read at once"
        )));
    }
    Ok(())
}

/// What a packed buffer says that it holds.
fn unpacked_length(bytes: &[u8], compression: &BodyCompression<'_>) -> Result<u64, ArrowError> {
    let (length, packed) =
        bytes.split_first_chunk().ok_or_else(|| broken("a packed buffer has no length"))?;
    let ratio =
        if compression.codec() == CompressionType::LZ4_FRAME { LZ4_RATIO_MAX } else { ZSTD_RATIO_MAX };
    let most = (packed.len() as u64).saturating_mul(ratio);
    match i64::from_le_bytes(*length) {
        // It is not packed after all.
        -1 => Ok(0),
        length => u64::try_from(length)
            .ok()
            .filter(|length| *length <= most)
            .ok_or_else(|| broken(&format!("a packed buffer claims {length} bytes"))),
    }
}

fn of_end(error: std::io::Error) -> ArrowError {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => cut_off(),
        _ => error.into(),
    }
}

fn cut_off() -> ArrowError {
    broken("it ends before its end: it was cut off")
}

fn broken(detail: &str) -> ArrowError {
    ArrowError::IpcError(detail.to_owned())
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use arrow::ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};

    use super::*;

    /// Two batches of two rows in both forms, without what the file form begins with.
    fn written(compression: Option<CompressionType>) -> [(IpcForm, Vec<u8>); 2] {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("id", Arc::new(Int64Array::from(vec![1, 2]))),
            ("label", Arc::new(StringArray::from(vec!["a".repeat(500), "b".repeat(500)]))),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let options = || IpcWriteOptions::default().try_with_compression(compression).unwrap();
        let mut file = FileWriter::try_new_with_options(Vec::new(), &batch.schema(), options()).unwrap();
        let mut stream = StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options()).unwrap();
        for _ in 0..2 {
            file.write(&batch).unwrap();
            stream.write(&batch).unwrap();
        }
        file.finish().unwrap();
        stream.finish().unwrap();
        let file = file.into_inner().unwrap();
        let begin = 6 + file[6..].iter().take_while(|byte| **byte == 0).count();
        [(IpcForm::File, file[begin..].to_vec()), (IpcForm::Stream, stream.into_inner().unwrap())]
    }

    fn rows(bytes: &[u8], form: IpcForm) -> Result<usize, ArrowError> {
        IpcBatches::open(bytes, bytes.len() as u64, form)?
            .try_fold(0, |rows, batch| Ok(rows + batch?.num_rows()))
    }

    #[test]
    fn a_file_that_was_cut_off_anywhere_is_refused() {
        for compression in [None, Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD)] {
            for (form, bytes) in written(compression) {
                assert_eq!(rows(&bytes, form).unwrap(), 4, "{form:?} {compression:?}");
                let read = (0..bytes.len()).filter_map(|end| rows(&bytes[..end], form).ok());
                match form {
                    IpcForm::File => assert_eq!(read.count(), 0, "{compression:?}"),
                    // Between two messages it may end: after the schema, the first batch, the second one, and its mark.
                    IpcForm::Stream => assert_eq!(read.collect::<Vec<_>>(), [0, 2, 4], "{compression:?}"),
                }
            }
        }
    }

    #[test]
    fn lengths_that_lie_are_refused_before_room_is_made() {
        for compression in [Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD)] {
            let [_, (form, bytes)] = written(compression);
            // What the packed text of the labels claims to hold: the bytes before the mark of the packed form.
            let is_lz4 = compression == Some(CompressionType::LZ4_FRAME);
            let mark: [u8; 4] = if is_lz4 { [0x04, 0x22, 0x4d, 0x18] } else { [0x28, 0xb5, 0x2f, 0xfd] };
            let claim = [&1_000_i64.to_le_bytes()[..], &mark].concat();
            let claim = bytes.windows(claim.len()).position(|window| window == claim).unwrap();
            for lie in [-2_i64, i64::MAX, i64::MIN, 1 << 60, 1 << 32] {
                let mut lying = bytes.clone();
                lying[claim..claim + 8].copy_from_slice(&lie.to_le_bytes());
                let error = rows(&lying, form).unwrap_err().to_string();
                assert!(error.contains("a packed buffer claims"), "{lie}: {error}");
            }
        }
        let [_, (form, bytes)] = written(None);
        for (length, said) in
            [(i32::MAX, "cut off"), (i32::MIN, "a message claims"), (-2, "a message claims")]
        {
            let mut lying = bytes.clone();
            lying[4..8].copy_from_slice(&length.to_le_bytes());
            let error = rows(&lying, form).unwrap_err().to_string();
            assert!(error.contains(said), "{length}: {error}");
        }
    }
}
