//! A service that takes files and gives them back: on the replica's disk, or in an object store. It streams both ways.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use anyhow::Context as _;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, RANGE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::bucket::{Bucket, passed_on, whole};
use super::{DISK, PART, URL_VARIABLE};
use crate::prove::arm::Work;
use crate::prove::sabotage::{Planted, Sabotage};
use crate::prove::study::part::{PartBody, PartReplica, Responder, Responding, bytes, field, place, text};

/// One replica.
pub(in crate::prove::study) fn serve(replica: PartReplica) -> Work<'static, ()> {
    Box::pin(async move {
        let bucket = if place() == DISK { None } else { Some(Bucket::of_url(&std::env::var(URL_VARIABLE)?)?) };
        // The disk is the replica's own; it is gone with it, and a new one has another.
        let is_shared = bucket.is_none() && replica.planted.is(Sabotage::DiskShared);
        let disk = replica.directory.join(if is_shared { "disk" } else { &replica.name });
        make(&disk)?;
        let (planted, taken) = (replica.planted, Arc::default());
        replica.serve(Files { bucket, disk, planted, taken }).await
    })
}

/// Makes a folder in one that is there. The folder of the run is not made again: it is gone if the run was killed while
/// this replica was started, and nobody would remove it.
pub(super) fn make(folder: &Path) -> io::Result<()> {
    match std::fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

pub(super) struct Files {
    /// Where files are; `None`: on the disk.
    bucket: Option<Bucket>,
    pub(super) disk: PathBuf,
    pub(super) planted: Planted,
    /// Bytes of parts that it has taken.
    pub(super) taken: Arc<AtomicU64>,
}

impl Files {
    /// The bucket that a file belongs into, if not onto the disk.
    pub(super) fn bucket_of(&self, name: &str) -> Option<&Bucket> {
        let is_misplaced = self.planted.is(Sabotage::UploadOnDisk) && name.ends_with('7');
        self.bucket.as_ref().filter(|_| !is_misplaced)
    }

    async fn put(&self, name: &str, length: u64, body: Incoming) -> anyhow::Result<()> {
        let Some(bucket) = self.bucket_of(name) else {
            return self.write(name, body).await;
        };
        if length <= PART as u64 {
            return bucket.put(name, passed_on(body), length).await;
        }
        if self.planted.is(Sabotage::UploadInMemory) {
            let all = body.collect().await?.to_bytes();
            return bucket.put(name, whole(all), length).await;
        }
        bucket.put_in_parts(name, body, !self.planted.is(Sabotage::PartLost)).await
    }

    pub(super) async fn write(&self, name: &str, mut body: Incoming) -> anyhow::Result<()> {
        let mut file = File::create(self.disk.join(name))?;
        while let Some(frame) = body.frame().await.transpose()? {
            file.write_all(frame.data_ref().unwrap_or(&Bytes::new()))?;
        }
        Ok(())
    }

    async fn get(&self, name: &str, range: Option<&HeaderValue>) -> anyhow::Result<Response<PartBody>> {
        let range = range.filter(|_| !self.planted.is(Sabotage::RangeIgnored));
        let Some(bucket) = self.bucket_of(name) else { return self.read(name, range) };
        let (head, body) = bucket.get(name, range).await?.into_parts();
        let mut response = Response::new(passed_on(body));
        *response.status_mut() = head.status;
        if let Some(length) = head.headers.get(CONTENT_LENGTH) {
            response.headers_mut().insert(CONTENT_LENGTH, length.clone());
        }
        Ok(response)
    }

    fn read(&self, name: &str, range: Option<&HeaderValue>) -> anyhow::Result<Response<PartBody>> {
        let Ok(mut file) = File::open(self.disk.join(name)) else {
            return Ok(text(StatusCode::NOT_FOUND, "there is no such file here"));
        };
        let length = file.metadata()?.len();
        let part = range.and_then(|range| within(range, length));
        let (first, last) = part.as_ref().map_or((0, length), |part| (*part.start(), part.end() + 1));
        file.seek(SeekFrom::Start(first))?;
        let mut content = Vec::new();
        file.take(last.saturating_sub(first)).read_to_end(&mut content)?;
        Ok(bytes(if part.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK }, content))
    }
}

/// The bytes that a range of one part asks for (RFC 9110 section 14.1.2).
fn within(range: &HeaderValue, length: u64) -> Option<RangeInclusive<u64>> {
    let (first, last) = range.to_str().ok()?.strip_prefix("bytes=")?.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && last < length).then_some(first..=last)
}

impl Responder for Files {
    fn respond(&self, request: Request<Incoming>) -> Responding<'_> {
        Box::pin(async move {
            let path = request.uri().path().to_owned();
            let path: Vec<&str> = path.trim_start_matches('/').split('/').collect();
            if let [_, "uploads", ..] = path[..] {
                let response = self.upload(request, &path).await;
                return response.unwrap_or_else(|error| text(StatusCode::SERVICE_UNAVAILABLE, &format!("{error:#}")));
            }
            if path == ["taken"] {
                return text(StatusCode::OK, &self.taken.load(Relaxed).to_string());
            }
            let name = path.join("/");
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                return text(StatusCode::BAD_REQUEST, "a file has a name of letters and digits");
            }
            let range = request.headers().get(RANGE).cloned();
            let length = field(&request, "content-length").and_then(|length| length.parse().ok());
            let result = match *request.method() {
                Method::GET => self.get(&name, range.as_ref()).await,
                _ => match length.context("how long is the file?") {
                    Ok(length) => {
                        let stored = self.put(&name, length, request.into_body()).await;
                        stored.map(|()| text(StatusCode::CREATED, "it is stored"))
                    }
                    Err(error) => Err(error),
                },
            };
            result.unwrap_or_else(|error| text(StatusCode::SERVICE_UNAVAILABLE, &format!("{error:#}")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_a_run_is_not_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let (run, disk) = (folder.path().join("run"), folder.path().join("run/r1"));
        assert_eq!(make(&disk).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(!run.exists());
        std::fs::create_dir(&run).unwrap();
        make(&disk).unwrap();
        make(&disk).unwrap();
        assert!(disk.exists());
    }

    #[test]
    fn ranges_are_within_the_file() {
        for (range, expected) in [
            ("bytes=0-9", Some(0..=9)),
            ("bytes=90-99", Some(90..=99)),
            ("bytes=90-100", None),
            ("bytes=9-1", None),
            ("bytes=-5", None),
            ("lines=1-2", None),
        ] {
            assert_eq!(within(&HeaderValue::from_static(range), 100), expected, "{range}");
        }
    }
}
