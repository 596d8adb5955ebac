//! A bucket of an S3-compatible store, as a replica uses it. Every request has a connection of its own.

use std::io;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_LENGTH, ETAG, HOST, RANGE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PART;
use super::sign::{Credentials, Signed, UNSIGNED, encoded, now};
use crate::prove::study::part::PartBody;

/// How long a connection may take, and a response: its head, with the request in front of it, and then a body in XML.
const CONNECTED_WITHIN: Duration = Duration::from_secs(5);
const RESPONSE_WITHIN: Duration = Duration::from_secs(20);
/// Bytes of a response in XML that are read at most.
const XML_MAX: usize = 64 * 1024;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bucket {
    /// Host and port.
    pub(super) host: String,
    pub(super) name: String,
    pub(super) by: Credentials,
}

impl Bucket {
    /// Of `http://ACCESS:SECRET@HOST:PORT/BUCKET`. The error does not contain the secret.
    pub(super) fn of_url(url: &str) -> anyhow::Result<Self> {
        let parts = || {
            let (access, rest) = url.strip_prefix("http://")?.split_once(':')?;
            let (secret, rest) = rest.rsplit_once('@')?;
            let (host, name) = rest.trim_end_matches('/').split_once('/')?;
            let is_whole = ![access, secret, host, name].contains(&"") && host.contains(':') && !name.contains('/');
            let by = Credentials { access: access.to_owned(), secret: secret.to_owned() };
            is_whole.then(|| Self { host: host.to_owned(), name: name.to_owned(), by })
        };
        parts().context("the URL of an S3-compatible store is http://ACCESS:SECRET@HOST:PORT/BUCKET")
    }

    pub(super) fn url(&self) -> String {
        let Self { host, name, by: Credentials { access, secret } } = self;
        format!("http://{access}:{secret}@{host}/{name}")
    }

    /// Makes it, or finds it made.
    pub(super) async fn create(&self) -> anyhow::Result<()> {
        let response = self.send(Method::PUT, ("", ""), None, (whole(Bytes::new()), 0)).await?;
        match response.status().as_u16() {
            200 | 409 => Ok(()),
            status => bail!("the store responds {status} to the creation of a bucket"),
        }
    }

    /// The response to a read, which is passed on as it comes.
    pub(super) async fn get(&self, key: &str, range: Option<&HeaderValue>) -> anyhow::Result<Response<Incoming>> {
        self.send(Method::GET, (key, ""), range, (whole(Bytes::new()), 0)).await
    }

    /// Stores what comes, as it comes.
    pub(super) async fn put(&self, key: &str, body: PartBody, length: u64) -> anyhow::Result<()> {
        let response = self.send(Method::PUT, (key, ""), None, (body, length)).await?;
        anyhow::ensure!(response.status().is_success(), "the store responds {} to a write", response.status());
        Ok(())
    }

    /// Stores what comes in parts, of which one at a time is in memory. `keeps` says whether the last part is sent:
    /// it is not only under sabotage.
    pub(super) async fn put_in_parts(&self, key: &str, body: Incoming, keeps_last: bool) -> anyhow::Result<()> {
        let id = self.begin(key).await?;
        let stored = self.parts(key, &id, body, keeps_last).await;
        if stored.is_err() {
            // What was sent of it is of no use. If the store is gone, so is that.
            self.abort(key, &id).await.ok();
        }
        stored
    }

    /// Begins an upload in parts. Its id, as it stands in a query.
    pub(super) async fn begin(&self, key: &str) -> anyhow::Result<String> {
        let begun = self.send(Method::POST, (key, "uploads="), None, (whole(Bytes::new()), 0)).await?;
        let begun = xml(begun).await?;
        let id = between(&begun, "<UploadId>", "</UploadId>").context("the store names no upload")?;
        Ok(encoded(&id))
    }

    /// Stores a part, as it comes. What the store calls it.
    pub(super) async fn put_part(
        &self,
        key: &str,
        (id, number): (&str, usize),
        part: (PartBody, u64),
    ) -> anyhow::Result<String> {
        let query = format!("partNumber={number}&uploadId={id}");
        let response = self.send(Method::PUT, (key, &query), None, part).await?;
        anyhow::ensure!(response.status().is_success(), "the store responds {} to a part", response.status());
        let tag = response.headers().get(ETAG).and_then(|tag| tag.to_str().ok());
        Ok(tag.context("the store does not acknowledge a part")?.to_owned())
    }

    /// Parts of an upload that are there: numbers, and what the store calls them. None of one that is not there.
    pub(super) async fn list(&self, key: &str, id: &str) -> anyhow::Result<Vec<(usize, String)>> {
        let query = format!("uploadId={id}");
        let response = self.send(Method::GET, (key, &query), None, (whole(Bytes::new()), 0)).await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Ok(Vec::new());
        }
        Ok(Self::listed(&xml(response).await?))
    }

    /// Makes a file of these parts.
    pub(super) async fn complete(&self, key: &str, id: &str, parts: &[(usize, String)]) -> anyhow::Result<()> {
        let part = |(number, tag): &(usize, String)| {
            format!("<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>")
        };
        let list: String = parts.iter().map(part).collect();
        let list = Bytes::from(format!("<CompleteMultipartUpload>{list}</CompleteMultipartUpload>"));
        let length = list.len() as u64;
        let query = format!("uploadId={id}");
        let done = xml(self.send(Method::POST, (key, &query), None, (whole(list), length)).await?).await?;
        anyhow::ensure!(
            done.contains("CompleteMultipartUploadResult"),
            "the store does not complete an upload: {done}"
        );
        Ok(())
    }

    /// Removes what was sent of an upload.
    pub(super) async fn abort(&self, key: &str, id: &str) -> anyhow::Result<()> {
        let query = format!("uploadId={id}");
        let response = self.send(Method::DELETE, (key, &query), None, (whole(Bytes::new()), 0)).await?;
        let is_gone = response.status().is_success() || response.status() == StatusCode::NOT_FOUND;
        anyhow::ensure!(is_gone, "the store responds {} to the end of an upload", response.status());
        Ok(())
    }

    async fn parts(&self, key: &str, id: &str, mut body: Incoming, keeps_last: bool) -> anyhow::Result<()> {
        let (mut tags, mut is_over) = (Vec::new(), false);
        while !is_over {
            let mut part = BytesMut::with_capacity(PART);
            while part.len() < PART && !is_over {
                match body.frame().await.transpose()? {
                    Some(frame) => part.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new())),
                    None => is_over = true,
                }
            }
            if part.is_empty() || is_over && !keeps_last && !tags.is_empty() {
                continue;
            }
            let (number, length) = (tags.len() + 1, part.len() as u64);
            tags.push((number, self.put_part(key, (id, number), (whole(part.freeze()), length)).await?));
        }
        self.complete(key, id, &tags).await
    }

    async fn send(
        &self,
        method: Method,
        (key, query): (&str, &str),
        range: Option<&HeaderValue>,
        (body, length): (PartBody, u64),
    ) -> anyhow::Result<Response<Incoming>> {
        let path = if key.is_empty() { format!("/{}", self.name) } else { format!("/{}/{key}", self.name) };
        let at = now();
        let signed =
            Signed { method: method.as_str(), host: &self.host, path: &path, query, at: &at, payload: UNSIGNED };
        let authorization = signed.authorization(&self.by);
        let uri = if query.is_empty() { path } else { format!("{path}?{query}") };
        let request = Request::builder().method(method).uri(uri).header(HOST, &self.host);
        let request = request.header("x-amz-content-sha256", UNSIGNED).header("x-amz-date", at);
        let mut request = request.header(AUTHORIZATION, authorization).header(CONTENT_LENGTH, length).body(body)?;
        if let Some(range) = range {
            request.headers_mut().insert(RANGE, range.clone());
        }
        let stream = timeout(CONNECTED_WITHIN, TcpStream::connect(&self.host)).await.context("no connection in time");
        let stream = stream?.context("the store cannot be reached")?;
        stream.set_nodelay(true).ok();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let response = timeout(RESPONSE_WITHIN, sender.send_request(request)).await;
        Ok(response.context("the store does not respond in time")??)
    }
}

/// A body that is whole.
pub(super) fn whole(bytes: Bytes) -> PartBody {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

/// A body that is passed on as it comes.
pub(super) fn passed_on(body: Incoming) -> PartBody {
    body.map_err(io::Error::other).boxed_unsync()
}

async fn xml(response: Response<Incoming>) -> anyhow::Result<String> {
    let status = response.status();
    let body = timeout(RESPONSE_WITHIN, Limited::new(response.into_body(), XML_MAX).collect()).await;
    let body = body.context("the store's response does not end in time")?;
    let body = body.map_err(|error| anyhow::anyhow!("the store's response broke off: {error}"))?.to_bytes();
    let text = String::from_utf8_lossy(&body).into_owned();
    anyhow::ensure!(status.is_success(), "the store responds {status}: {text}");
    Ok(text)
}

fn between(text: &str, before: &str, after: &str) -> Option<String> {
    Some(text.split_once(before)?.1.split_once(after)?.0.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_a_bucket_and_who_asks() {
        let bucket = Bucket::of_url("http://me:se@cret@127.0.0.1:8333/shop/").unwrap();
        assert_eq!((&*bucket.host, &*bucket.name, &*bucket.by.secret), ("127.0.0.1:8333", "shop", "se@cret"));
        assert_eq!(Bucket::of_url(&bucket.url()).unwrap(), bucket);
        for url in ["", "https://a:b@c:1/d", "http://c:1/d", "http://a:b@c:1", "http://a:b@c/d", "http://a:b@c:1/d/e"] {
            let error = Bucket::of_url(url).unwrap_err().to_string();
            assert!(error.contains("http://ACCESS:SECRET@HOST:PORT/BUCKET"), "{url}");
        }
    }
}
