//! An upload that a client sends part by part, each to any replica: in the store, or on the disk of the replica where
//! it was begun. The client says when it is complete, or gives it up.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::bucket::Bucket;
use super::part::{Files, make};
use crate::prove::sabotage::Sabotage;
use crate::prove::study::part::{PartBody, field, text, whole};

/// The part with which an upload is complete, under sabotage.
const EARLY: usize = 3;
/// The folder, on the disk of a replica, of uploads that have begun.
const UPLOADS: &str = "uploads";

impl Files {
    /// The response to a request for `NAME/uploads`, `NAME/uploads/ID` or `NAME/uploads/ID/PART`.
    pub(super) async fn upload(&self, request: Request<Incoming>, path: &[&str]) -> anyhow::Result<Response<PartBody>> {
        let method = request.method().clone();
        anyhow::ensure!(
            !path.iter().any(|part| part.is_empty() || part.contains("..")),
            "this is no path of an upload"
        );
        Ok(match (method, path) {
            (Method::POST, [name, _]) => text(StatusCode::CREATED, &self.begin(name).await?),
            (Method::GET, [name, _, id]) => match self.parts(name, id).await? {
                parts if parts.is_empty() => text(StatusCode::NOT_FOUND, "there is no such upload here"),
                parts => {
                    let numbers: Vec<usize> = parts.iter().map(|(number, _)| *number).collect();
                    text(StatusCode::OK, &serde_json::to_string(&numbers)?)
                }
            },
            (Method::PUT, [name, _, id, number]) => {
                let length = field(&request, "content-length").and_then(|length| length.parse().ok());
                let length: u64 = length.context("how long is the part?")?;
                self.take(name, (id, number.parse()?), (request.into_body(), length)).await?
            }
            (Method::POST, [name, _, id]) => {
                let count: usize = std::str::from_utf8(&whole(request.into_body()).await?)?.trim().parse()?;
                self.complete(name, id, Some(count)).await?
            }
            (Method::DELETE, [name, _, id]) => {
                if !self.planted.is(Sabotage::AbortIgnored) {
                    self.abort(name, id).await?;
                }
                text(StatusCode::NO_CONTENT, "")
            }
            _ => text(StatusCode::NOT_FOUND, "there is no such place"),
        })
    }

    fn folder(&self, id: &str) -> PathBuf {
        self.disk.join(UPLOADS).join(id)
    }

    async fn begin(&self, name: &str) -> anyhow::Result<String> {
        if let Some(bucket) = self.bucket_of(name) {
            return bucket.begin(name).await;
        }
        let id = format!("{:016x}", fastrand::u64(..));
        make(&self.disk.join(UPLOADS))?;
        make(&self.folder(&id))?;
        Ok(id)
    }

    /// Parts that are there, by number, with what the store calls them.
    async fn parts(&self, name: &str, id: &str) -> anyhow::Result<Vec<(usize, String)>> {
        if let Some(bucket) = self.bucket_of(name) {
            return bucket.list(name, id).await;
        }
        let files = std::fs::read_dir(self.folder(id)).into_iter().flatten().flatten();
        let mut parts: Vec<_> =
            files.filter_map(|file| Some((file.file_name().to_str()?.parse().ok()?, String::new()))).collect();
        parts.sort_unstable();
        Ok(parts)
    }

    /// Takes a part, as it comes.
    async fn take(
        &self,
        name: &str,
        (id, number): (&str, usize),
        (body, length): (Incoming, u64),
    ) -> anyhow::Result<Response<PartBody>> {
        let Some(bucket) = self.bucket_of(name) else {
            if !self.folder(id).is_dir() {
                return Ok(text(StatusCode::NOT_FOUND, "there is no such upload here"));
            }
            self.write(&format!("uploads/{id}/{number}"), body).await?;
            return Ok(text(StatusCode::CREATED, "it is stored"));
        };
        let taken = self.taken.clone();
        let counted = body.map_frame(move |frame| {
            taken.fetch_add(frame.data_ref().map_or(0, Bytes::len) as u64, Relaxed);
            frame
        });
        bucket.put_part(name, (id, number), (counted.map_err(std::io::Error::other).boxed_unsync(), length)).await?;
        if self.planted.is(Sabotage::CompletesEarly) && number == EARLY {
            self.complete(name, id, None).await?;
        }
        Ok(text(StatusCode::CREATED, "it is stored"))
    }

    /// Makes the file of its parts, of which there must be so many. Nobody sees it before it is whole.
    async fn complete(&self, name: &str, id: &str, count: Option<usize>) -> anyhow::Result<Response<PartBody>> {
        let mut parts = self.parts(name, id).await?;
        let is_whole = |count: usize| parts.iter().map(|(number, _)| *number).eq(1..=count);
        if count.is_some_and(|count| !is_whole(count)) {
            return Ok(text(StatusCode::CONFLICT, "some parts are missing"));
        }
        if self.planted.is(Sabotage::PartForgotten) && parts.len() > 2 {
            parts.remove(1);
        }
        match self.bucket_of(name) {
            Some(bucket) => bucket.complete(name, id, &parts).await?,
            None => self.join(name, id, &parts)?,
        }
        Ok(text(StatusCode::CREATED, "it is whole"))
    }

    fn join(&self, name: &str, id: &str, parts: &[(usize, String)]) -> anyhow::Result<()> {
        let folder = self.folder(id);
        let path = folder.join("whole");
        let mut file = File::create(&path)?;
        for (number, _) in parts {
            std::io::copy(&mut File::open(folder.join(number.to_string()))?, &mut file)?;
        }
        std::fs::rename(path, self.disk.join(name))?;
        Ok(std::fs::remove_dir_all(folder)?)
    }

    async fn abort(&self, name: &str, id: &str) -> anyhow::Result<()> {
        match self.bucket_of(name) {
            Some(bucket) => bucket.abort(name, id).await,
            // Where it is not there is nothing to remove.
            None => Ok(std::fs::remove_dir_all(self.folder(id)).or_else(|error| match error.kind() {
                std::io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })?),
        }
    }
}

impl Bucket {
    /// The number and the name of each part of a list.
    pub(super) fn listed(xml: &str) -> Vec<(usize, String)> {
        let value = |part: &str, name: &str| {
            let (_, rest) = part.split_once(&format!("<{name}>"))?;
            Some(rest.split_once('<')?.0.to_owned())
        };
        let parts = xml.split("<Part>").skip(1);
        let mut parts: Vec<_> =
            parts.filter_map(|part| Some((value(part, "PartNumber")?.parse().ok()?, value(part, "ETag")?))).collect();
        parts.sort_unstable();
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_parts_is_read() {
        // As in "ListParts", Amazon S3 API Reference, in another order.
        let xml = "<ListPartsResult><UploadId>XX</UploadId>\
                   <Part><PartNumber>3</PartNumber><LastModified>2010</LastModified><ETag>\"aaaa\"</ETag></Part>\
                   <Part><ETag>&quot;7778&quot;</ETag><PartNumber>2</PartNumber></Part></ListPartsResult>";
        assert_eq!(Bucket::listed(xml), [(2, "&quot;7778&quot;".to_owned()), (3, "\"aaaa\"".to_owned())]);
        assert!(Bucket::listed("<ListPartsResult></ListPartsResult>").is_empty());
    }
}
