//! Hands a local spine over to a scheduler: one Parquet file, put together if need be, known by its hash, sent once.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use backsight_proto::ErrorCode;
use backsight_proto::control::spine_chunk::Content;
use backsight_proto::control::{SpineChunk, SpineHeader};
use backsight_storage::{Location, Stores};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use sha2::{Digest, Sha256};
use tempfile::TempPath;

use crate::cluster::client::Cluster;
use crate::cluster::joined_spine;
use crate::errors::Failure;
use crate::progress::ByteProgress;
use crate::render::units;

const CHUNK_BYTES: usize = 1 << 20;
/// The one kind of file that a scheduler takes.
const EXTENSION: &str = ".parquet";
/// How often an upload is begun anew after a broken connection.
const ATTEMPTS: u32 = 3;

/// Makes sure that the scheduler holds the spine at `location`, which is local, and gives its name there.
pub(crate) async fn upload(
    cluster: &Cluster,
    stores: &Stores,
    location: &Location,
) -> Result<String, Failure> {
    let files = files(stores, location).await?;
    let mut bytes = 0;
    for file in &files {
        bytes += size(file)?;
    }
    let bytes_max = cluster.describe().await?.spine_upload_max;
    if bytes > bytes_max {
        let message = format!(
            "the spine `{}` has {}, and the scheduler takes {} at most",
            shown(&files, location),
            units::bytes(bytes),
            units::bytes(bytes_max)
        );
        return Err(Failure::new(ErrorCode::Limit, message).with_hint(
            "put it into an object store and name it there, or start the scheduler with a greater `--spine-upload-max`",
        ));
    }
    // Removed when it was sent.
    let mut joined = None;
    let path = match files.as_slice() {
        [file] => file.clone(),
        _ => joined.insert(join(files.clone()).await?).to_path_buf(),
    };
    let bytes = size(&path)?;
    let hashed = path.clone();
    let sha256 = tokio::task::spawn_blocking(move || hash(&hashed)).await;
    let sha256 = sha256.map_err(|error| Failure::bug(format!("a file could not be hashed: {error}")))??;
    let held = cluster.find_spine(&sha256).await?;
    if !held.uri.is_empty() {
        return Ok(held.uri);
    }
    let header = SpineHeader { sha256, bytes, extension: EXTENSION.to_owned() };
    let mut attempt = 1;
    loop {
        let progress = ByteProgress::new(cluster.terminal(), "sending the spine:", bytes);
        let read_error = Arc::new(Mutex::new(None));
        let chunks = chunks(&path, header.clone(), progress.clone(), Arc::clone(&read_error));
        let sent = cluster.upload_spine(chunks, bytes).await;
        progress.finish();
        // The scheduler only knows that the spine was too short.
        if let Some(error) = read_error.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(Failure::io(&format!("read the spine `{}`", path.display()), &error));
        }
        match sent {
            Ok(stored) if !stored.uri.is_empty() => return Ok(stored.uri),
            Ok(_) => return Err(Failure::bug("the scheduler took the spine and gave it no name")),
            Err(super::failure::Trouble::Lost(_)) if attempt < ATTEMPTS => attempt += 1,
            Err(trouble) => return Err(trouble.into()),
        }
    }
}

/// The files that a local spine is.
async fn files(stores: &Stores, location: &Location) -> Result<Vec<PathBuf>, Failure> {
    let local = |location: Location| {
        let path = location.local_path();
        path.ok_or_else(|| Failure::bug(format!("`{location}` was taken for a local file")))
    };
    stores.expand(location).await?.into_iter().map(|file| local(file.location)).collect()
}

/// One file of all rows, in the folder for temporary files: a scheduler knows a spine by one hash.
async fn join(files: Vec<PathBuf>) -> Result<TempPath, Failure> {
    let joining = tokio::task::spawn_blocking(move || {
        let io = |error| Failure::io("write a copy of the spine", &error);
        let (file, path) = tempfile::Builder::new().suffix(EXTENSION).tempfile().map_err(io)?.into_parts();
        joined_spine::join(&files, file)?;
        Ok(path)
    });
    joining.await.map_err(|error| Failure::bug(format!("the spine could not be put together: {error}")))?
}

/// What the spine is called: its file when it has one.
fn shown(files: &[PathBuf], location: &Location) -> String {
    match files {
        [file] => file.display().to_string(),
        _ => location.to_string(),
    }
}

fn size(path: &Path) -> Result<u64, Failure> {
    let found = std::fs::metadata(path);
    Ok(found.map_err(|error| Failure::io(&format!("read the spine `{}`", path.display()), &error))?.len())
}

fn hash(path: &Path) -> Result<String, Failure> {
    let failed = |error: &std::io::Error| Failure::io(&format!("read the spine `{}`", path.display()), error);
    let mut file = File::open(path).map_err(|error| failed(&error))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut buffer).map_err(|error| failed(&error))? {
            0 => break,
            read => hash.update(&buffer[..read]),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The header, then the file in pieces. A read that fails ends the stream and is left in `read_error`.
fn chunks(
    path: &Path,
    header: SpineHeader,
    progress: ByteProgress,
    read_error: Arc<Mutex<Option<std::io::Error>>>,
) -> impl Stream<Item = SpineChunk> + Send + 'static {
    let path = path.to_owned();
    let data = stream::unfold(None, move |file| {
        let (path, progress, read_error) = (path.clone(), progress.clone(), Arc::clone(&read_error));
        async move {
            match next_chunk(file, &path).await {
                Ok(Some((data, file))) => {
                    progress.add(data.len() as u64);
                    Some((SpineChunk { content: Some(Content::Data(data.to_vec())) }, Some(file)))
                }
                Ok(None) => None,
                Err(error) => {
                    *read_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    None
                }
            }
        }
    });
    stream::iter([SpineChunk { content: Some(Content::Header(header)) }]).chain(data)
}

async fn next_chunk(
    file: Option<tokio::fs::File>,
    path: &Path,
) -> std::io::Result<Option<(Bytes, tokio::fs::File)>> {
    use tokio::io::AsyncReadExt;
    let mut file = match file {
        Some(file) => file,
        None => tokio::fs::File::open(path).await?,
    };
    let mut data = Vec::with_capacity(CHUNK_BYTES);
    (&mut file).take(CHUNK_BYTES as u64).read_to_end(&mut data).await?;
    Ok((!data.is_empty()).then(|| (Bytes::from(data), file)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::Terminal;

    #[tokio::test]
    async fn a_file_is_cut_into_pieces_that_are_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spine.parquet");
        let bytes: Vec<u8> = (0..2 * CHUNK_BYTES + 7).map(|number| (number % 251) as u8).collect();
        std::fs::write(&path, &bytes).unwrap();
        let header = SpineHeader { sha256: hash(&path).unwrap(), bytes: 7, extension: ".parquet".to_owned() };
        let progress = ByteProgress::new(&Terminal::plain(), "", 7);
        let error = Arc::new(Mutex::new(None));
        let sent: Vec<SpineChunk> =
            chunks(&path, header.clone(), progress.clone(), Arc::clone(&error)).collect().await;
        assert_eq!(sent[0].content, Some(Content::Header(header.clone())));
        let data: Vec<Vec<u8>> = sent[1..]
            .iter()
            .map(|chunk| match &chunk.content {
                Some(Content::Data(data)) => data.clone(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(data.iter().map(Vec::len).collect::<Vec<_>>(), [CHUNK_BYTES, CHUNK_BYTES, 7]);
        assert_eq!(data.concat(), bytes);
        assert!(error.lock().unwrap().is_none());

        let gone = folder.path().join("gone");
        let sent: Vec<SpineChunk> = chunks(&gone, header, progress, Arc::clone(&error)).collect().await;
        assert_eq!(sent.len(), 1);
        assert!(error.lock().unwrap().is_some());
    }

    #[test]
    fn the_hash_is_sha_256_in_lower_case() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, "abc").unwrap();
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash(&path).unwrap(), expected);
    }
}
