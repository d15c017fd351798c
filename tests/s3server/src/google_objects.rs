//! The part of Google Cloud Storage's XML interface that clients of ours use, in memory.
//!
//! Each object has a generation, and a write may demand the one that is there (`x-goog-if-generation-match`, 0 for none).
//! One lock is held from the check of a condition to the write, so of two writers who expect the same generation one wins.
//! Uploads in parts are unseen until they are completed. ETags are opaque, as those of Google's uploads in parts are.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::{HeaderMap, Method};
use s3s::{Body, HttpRequest, HttpResponse};

use crate::objects::Unconditional;
use crate::running::error;

/// All parts of an upload but the last have at least so many bytes.
const PART_BYTES_MIN: usize = 5 << 20;
/// Keys of one page of a list.
const PAGE_KEYS: usize = 1_000;
/// No test asks when an object was written.
const MODIFIED: (&str, &str) = ("Sat, 28 Nov 2026 12:00:00 GMT", "2026-11-28T12:00:00.000Z");

#[derive(Debug, Default)]
pub(crate) struct GoogleObjects {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    buckets: BTreeMap<String, BTreeMap<String, Object>>,
    uploads: BTreeMap<String, Upload>,
    /// Of generations and upload ids.
    last: u64,
}

#[derive(Debug, Clone)]
struct Object {
    bytes: Bytes,
    generation: u64,
}

#[derive(Debug)]
struct Upload {
    bucket: String,
    key: String,
    parts: BTreeMap<usize, Bytes>,
}

/// A request taken apart.
struct Asked {
    method: Method,
    bucket: String,
    key: String,
    query: BTreeMap<String, String>,
    headers: HeaderMap,
    body: Bytes,
    is_unconditional: bool,
}

/// An answer that is an error.
type Refusal = (u16, &'static str);

const NO_KEY: Refusal = (404, "NoSuchKey");
const NO_BUCKET: Refusal = (404, "NoSuchBucket");
const NO_UPLOAD: Refusal = (404, "NoSuchUpload");
const PRECONDITION: Refusal = (412, "PreconditionFailed");
const INVALID: Refusal = (400, "InvalidArgument");

impl Object {
    fn etag(&self) -> String {
        etag(self.generation)
    }
}

fn etag(number: u64) -> String {
    format!("\"-{number:x}\"")
}

impl Asked {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl GoogleObjects {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn create_bucket(&self, name: &str) {
        self.lock().buckets.entry(name.to_owned()).or_default();
    }

    pub(crate) fn put(&self, bucket: &str, key: &str, bytes: Bytes) {
        self.lock().write(bucket, key, bytes).expect("the bucket exists");
    }

    pub(crate) fn keys(&self, bucket: &str) -> Vec<String> {
        self.lock().buckets.get(bucket).map(|keys| keys.keys().cloned().collect()).unwrap_or_default()
    }

    pub(crate) fn pending_uploads(&self) -> usize {
        self.lock().uploads.len()
    }

    /// One request; an error closes the connection.
    pub(crate) async fn call(&self, request: HttpRequest) -> io::Result<HttpResponse> {
        let is_unconditional = request.extensions().get::<Unconditional>().is_some();
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(|error| io::Error::other(error.to_string()))?.to_bytes();
        let path = head.uri.path().trim_start_matches('/').to_owned();
        let (bucket, key) = path.split_once('/').unwrap_or((&path, ""));
        let pairs = head.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let query = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let asked = Asked {
            method: head.method,
            bucket: decode(bucket),
            key: decode(key),
            query: query.map(|(name, value)| (decode(name), decode(&value.replace('+', " ")))).collect(),
            headers: head.headers,
            body,
            is_unconditional,
        };
        Ok(self.answer(&asked).unwrap_or_else(|(status, code)| error(status, code, "Refused.")))
    }

    fn answer(&self, asked: &Asked) -> Result<HttpResponse, Refusal> {
        let mut state = self.lock();
        if !state.buckets.contains_key(&asked.bucket) {
            return Err(NO_BUCKET);
        }
        let upload = asked.query.get("uploadId");
        match (asked.method.as_str(), asked.key.is_empty(), upload) {
            ("GET", true, _) => state.list(asked),
            ("GET" | "HEAD", false, _) => state.read(asked),
            ("PUT", false, Some(id)) => state.put_part(asked, id),
            ("PUT", false, None) => state.put(asked),
            ("POST", false, Some(id)) => state.complete(asked, id),
            ("POST", false, None) if asked.query.contains_key("uploads") => Ok(state.begin(asked)),
            ("DELETE", false, Some(id)) => {
                state.uploads.remove(id).ok_or(NO_UPLOAD)?;
                Ok(answer(204, &[], Bytes::new()))
            }
            ("DELETE", false, None) => {
                let keys = state.buckets.get_mut(&asked.bucket).ok_or(NO_BUCKET)?;
                keys.remove(&asked.key).ok_or(NO_KEY)?;
                Ok(answer(204, &[], Bytes::new()))
            }
            _ => Err((405, "MethodNotAllowed")),
        }
    }
}

impl State {
    fn write(&mut self, bucket: &str, key: &str, bytes: Bytes) -> Result<u64, Refusal> {
        self.last += 1;
        let object = Object { bytes, generation: self.last };
        self.buckets.get_mut(bucket).ok_or(NO_BUCKET)?.insert(key.to_owned(), object);
        Ok(self.last)
    }

    fn object(&self, bucket: &str, key: &str) -> Result<&Object, Refusal> {
        self.buckets.get(bucket).ok_or(NO_BUCKET)?.get(key).ok_or(NO_KEY)
    }

    fn put(&mut self, asked: &Asked) -> Result<HttpResponse, Refusal> {
        let held = self.object(&asked.bucket, &asked.key).map_or(0, |object| object.generation);
        let wanted = asked.header("x-goog-if-generation-match");
        if let Some(wanted) = wanted.filter(|_| !asked.is_unconditional)
            && wanted.parse::<u64>().map_err(|_| INVALID)? != held
        {
            return Err(PRECONDITION);
        }
        let bytes = match asked.header("x-goog-copy-source") {
            None => asked.body.clone(),
            Some(source) => {
                let (bucket, key) = source.trim_start_matches('/').split_once('/').ok_or(INVALID)?;
                self.object(&decode(bucket), &decode(key))?.bytes.clone()
            }
        };
        let generation = self.write(&asked.bucket, &asked.key, bytes)?;
        let headers = [("etag", etag(generation)), ("x-goog-generation", generation.to_string())];
        Ok(answer(200, &headers, Bytes::new()))
    }

    fn read(&self, asked: &Asked) -> Result<HttpResponse, Refusal> {
        let object = self.object(&asked.bucket, &asked.key)?;
        if asked.query.get("generation").is_some_and(|wanted| *wanted != object.generation.to_string()) {
            return Err(NO_KEY);
        }
        if asked.header("if-match").is_some_and(|wanted| wanted != object.etag()) {
            return Err(PRECONDITION);
        }
        let size = object.bytes.len();
        let (status, range) = match asked.header("range") {
            None => (200, 0..size),
            Some(range) => (206, byte_range(range, size).ok_or((416, "InvalidRange"))?),
        };
        let mut headers = vec![
            ("etag", object.etag()),
            ("x-goog-generation", object.generation.to_string()),
            ("last-modified", MODIFIED.0.to_owned()),
            ("content-length", range.len().to_string()),
        ];
        if status == 206 {
            headers.push(("content-range", format!("bytes {}-{}/{size}", range.start, range.end - 1)));
        }
        let body = if asked.method == Method::HEAD { Bytes::new() } else { object.bytes.slice(range) };
        Ok(answer(status, &headers, body))
    }

    fn list(&self, asked: &Asked) -> Result<HttpResponse, Refusal> {
        let given = |name: &str| asked.query.get(name).map(String::as_str).unwrap_or_default();
        let (prefix, delimiter) = (given("prefix"), given("delimiter"));
        let after = if given("continuation-token").is_empty() {
            given("start-after")
        } else {
            given("continuation-token")
        };
        let most = given("max-keys").parse().unwrap_or(PAGE_KEYS);
        let keys = self.buckets.get(&asked.bucket).ok_or(NO_BUCKET)?;
        let mut folders = BTreeSet::new();
        let mut items = String::new();
        let (mut count, mut last, mut is_cut) = (0, "", false);
        for (key, object) in keys.iter().filter(|(key, _)| key.starts_with(prefix) && key.as_str() > after) {
            if count == most {
                is_cut = true;
                break;
            }
            (count, last) = (count + 1, key);
            let below = &key[prefix.len()..];
            if let Some((folder, _)) = below.split_once(delimiter).filter(|_| !delimiter.is_empty()) {
                folders.insert(format!("{prefix}{folder}{delimiter}"));
                continue;
            }
            items.extend([format!(
                "<Contents><Key>{}</Key><Generation>{}</Generation><LastModified>{}</LastModified><ETag>{}</ETag>\
                 <Size>{}</Size></Contents>",
                escape(key),
                object.generation,
                MODIFIED.1,
                escape(&object.etag()),
                object.bytes.len()
            )]);
        }
        for folder in folders {
            items.extend([format!("<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>", escape(&folder))]);
        }
        if is_cut {
            items.extend([format!("<NextContinuationToken>{}</NextContinuationToken>", escape(last))]);
        }
        let text = format!(
            "<?xml version='1.0' encoding='UTF-8'?><ListBucketResult><Name>{}</Name>\
             <IsTruncated>{is_cut}</IsTruncated>{items}</ListBucketResult>",
            asked.bucket
        );
        Ok(answer(200, &[("content-type", "application/xml".to_owned())], text.into()))
    }

    fn begin(&mut self, asked: &Asked) -> HttpResponse {
        self.last += 1;
        let id = format!("upload-{}", self.last);
        let upload = Upload { bucket: asked.bucket.clone(), key: asked.key.clone(), parts: BTreeMap::new() };
        self.uploads.insert(id.clone(), upload);
        let text = format!(
            "<?xml version='1.0' encoding='UTF-8'?><InitiateMultipartUploadResult><Bucket>{}</Bucket><Key>{}</Key>\
             <UploadId>{id}</UploadId></InitiateMultipartUploadResult>",
            asked.bucket,
            escape(&asked.key)
        );
        answer(200, &[], text.into())
    }

    fn put_part(&mut self, asked: &Asked, id: &str) -> Result<HttpResponse, Refusal> {
        let upload = self.uploads.get_mut(id).ok_or(NO_UPLOAD)?;
        let number: usize =
            asked.query.get("partNumber").and_then(|text| text.parse().ok()).ok_or(INVALID)?;
        let tag = part_etag(number, &asked.body);
        upload.parts.insert(number, asked.body.clone());
        Ok(answer(200, &[("etag", tag)], Bytes::new()))
    }

    fn complete(&mut self, asked: &Asked, id: &str) -> Result<HttpResponse, Refusal> {
        let upload = self.uploads.get(id).ok_or(NO_UPLOAD)?;
        if (&upload.bucket, &upload.key) != (&asked.bucket, &asked.key) {
            return Err(NO_UPLOAD);
        }
        let list = String::from_utf8_lossy(&asked.body).replace("&quot;", "\"");
        let mut whole = BytesMut::new();
        let wanted: Vec<&str> = list.split("<Part>").skip(1).collect();
        for (index, part) in wanted.iter().enumerate() {
            let number: usize =
                element(part, "PartNumber").and_then(|text| text.parse().ok()).ok_or(INVALID)?;
            let bytes = upload.parts.get(&number).ok_or((400, "InvalidPart"))?;
            if element(part, "ETag") != Some(part_etag(number, bytes).as_str()) {
                return Err((400, "InvalidPart"));
            }
            if index + 1 < wanted.len() && bytes.len() < PART_BYTES_MIN {
                return Err((400, "EntityTooSmall"));
            }
            whole.extend_from_slice(bytes);
        }
        if wanted.is_empty() {
            return Err(INVALID);
        }
        let generation = self.write(&asked.bucket, &asked.key, whole.freeze())?;
        self.uploads.remove(id);
        let text = format!(
            "<?xml version='1.0' encoding='UTF-8'?><CompleteMultipartUploadResult><ETag>{}</ETag>\
             </CompleteMultipartUploadResult>",
            escape(&etag(generation))
        );
        Ok(answer(200, &[("x-goog-generation", generation.to_string())], text.into()))
    }
}

/// What identifies a part: a completion with another content's is refused.
fn part_etag(number: usize, bytes: &Bytes) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hash = DefaultHasher::new();
    (number, bytes).hash(&mut hash);
    etag(hash.finish())
}

fn answer(status: u16, headers: &[(&str, String)], body: Bytes) -> HttpResponse {
    let mut answer = hyper::Response::builder().status(status);
    for (name, value) in headers {
        answer = answer.header(*name, value);
    }
    answer.body(Body::from(body)).expect("the parts of an answer are valid")
}

/// `bytes=a-b`, `bytes=a-` and `bytes=-n` of an object of `size` bytes; `None` where nothing of it is there.
fn byte_range(text: &str, size: usize) -> Option<std::ops::Range<usize>> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let range = match (first, last) {
        ("", length) => size.saturating_sub(length.parse().ok()?)..size,
        (first, "") => first.parse().ok()?..size,
        (first, last) => first.parse().ok()?..size.min(last.parse::<usize>().ok()? + 1),
    };
    (range.start < range.end).then_some(range)
}

fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    Some(rest.split_once(&format!("</{name}>"))?.0)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Undoes percent-encoding.
pub(crate) fn decode(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::{byte_range, decode};

    #[test]
    fn ranges_and_escapes_are_those_of_http() {
        let table = [
            ("bytes=0-3", Some(0..4)),
            ("bytes=8-99", Some(8..10)),
            ("bytes=4-", Some(4..10)),
            ("bytes=-3", Some(7..10)),
            ("bytes=10-", None),
            ("lines=1-2", None),
        ];
        for (text, expected) in table {
            assert_eq!(byte_range(text, 10), expected, "{text}");
        }
        assert_eq!(decode("a%2Fb%25%C3%A9%zz"), "a/b%é%zz");
    }
}
