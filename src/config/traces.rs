//! `[traces]` of the file.

use std::time::Duration;

use http::HeaderValue;
use unstick_reading::Section;

use super::access::SmallShare;
use super::key::{Key, Kind, Shown, keys};
use super::kinds::{FilePath, Optional, Text, Time, quoted};
use super::model::{BackendAddress, Collector, Traces};
use super::values;

/// Every key of `[traces]`.
pub(super) const KEYS: &[Key<Traces>] = keys!(Traces {
    endpoint: Optional(Text(collector)),
    sample: SmallShare,
    service: Text(service),
    headers: Headers,
    ca: Optional(FilePath),
    timeout: Time(Duration::from_millis(100)..=Duration::from_secs(60)),
});

/// The fields that the exporter sets itself, or that belong to its connection.
const TAKEN: [&str; 8] =
    ["host", "connection", "content-type", "content-length", "content-encoding", "transfer-encoding", "te", "upgrade"];

/// The most bytes of the name of the service.
const SERVICE_MAX: usize = 255;

/// The fields that the collector gets.
struct Headers;

impl Kind<Vec<(String, String)>> for Headers {
    fn read(&self, section: &Section<'_>, key: &'static str) -> Option<Vec<(String, String)>> {
        let mut fields = Vec::new();
        for (name, value) in section.get(key)?.entries()? {
            let name = value.checked(field_name(name));
            let text = value.parsed(field_value);
            fields.extend(name.zip(text));
        }
        Some(fields)
    }

    fn show(&self, key: &str, fields: &Vec<(String, String)>, shown: &mut Shown) {
        shown.within(key, |shown| fields.iter().for_each(|(name, value)| shown.add(name, quoted(value))));
    }
}

fn field_name(text: &str) -> Result<String, String> {
    let name = values::field_name(text)?;
    match TAKEN.contains(&name.as_str()) {
        true => Err(format!("`{text}` is set by unstick itself; leave it out")),
        false => Ok(name.as_str().to_owned()),
    }
}

fn field_value(text: &str) -> Result<String, String> {
    // A secret is often in a file that ends with an end of line.
    let value = text.trim();
    HeaderValue::from_str(value)
        .map(|_| value.to_owned())
        .map_err(|_| "it cannot be the value of a header field".to_owned())
}

fn service(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("the name of the service is empty; write \"unstick\"".to_owned()),
        name if name.len() > SERVICE_MAX => Err(format!("the name of the service is longer than {SERVICE_MAX} bytes")),
        name => Ok(name.to_owned()),
    }
}

/// `http://127.0.0.1:4318/v1/traces`.
fn collector(text: &str) -> Result<Collector, String> {
    let example = |rest: &str| {
        let host = rest.split(['/', ':']).next().filter(|host| !host.is_empty()).unwrap_or("127.0.0.1");
        format!("write \"http://{host}:4318/v1/traces\"")
    };
    let (is_tls, rest) = match text.split_once("://") {
        Some(("http", rest)) => (false, rest),
        Some(("https", rest)) => (true, rest),
        Some((_, rest)) => return Err(format!("`{text}` is not the URL of a collector; {}", example(rest))),
        None => return Err(format!("`{text}` is not a URL; {}", example(text))),
    };
    let Some(at) = rest.find('/') else {
        return Err(format!("`{text}` has no path; write \"{text}/v1/traces\""));
    };
    let (address, path) = rest.split_at(at);
    if address.contains('@') {
        return Err("a URL shows its password to everybody; write headers = { authorization = \"...\" }".to_owned());
    }
    let address = match values::backend_address(address) {
        Ok(address @ (BackendAddress::Socket(_) | BackendAddress::Name { .. })) => address,
        _ if !address.trim_end_matches(']').contains(':') || address.ends_with(']') => {
            return Err(format!("`{text}` has no port; collectors take OTLP over HTTP at 4318"));
        }
        _ => return Err(format!("`{text}` is not the URL of a collector; {}", example(""))),
    };
    Ok(Collector { is_tls, address, path: values::origin_form(path)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collectors() {
        for text in [
            "http://127.0.0.1:4318/v1/traces",
            "https://otel.example.com:443/v1/traces?tenant=a",
            "http://[::1]:4318/v1/traces",
        ] {
            assert_eq!(collector(text).unwrap().to_string(), text);
        }
        for (text, part) in [
            ("127.0.0.1:4318", "write \"http://127.0.0.1:4318/v1/traces\""),
            ("grpc://otel:4317/", "write \"http://otel:4318/v1/traces\""),
            ("http://otel:4318", "write \"http://otel:4318/v1/traces\""),
            ("http://otel/v1/traces", "has no port"),
            ("http://[::1]/v1/traces", "has no port"),
            ("http://a:b@otel:4318/v1/traces", "headers = "),
            ("http://a b:4318/v1/traces", "is not the URL"),
            ("http://otel:0/v1/traces", "is not the URL"),
            ("", "is not a URL"),
        ] {
            assert!(collector(text).is_err_and(|why| why.contains(part)), "{text}: {:?}", collector(text));
        }
    }

    #[test]
    fn fields_and_names() {
        assert_eq!(field_value("Bearer a\n"), Ok("Bearer a".into()));
        assert!(field_value("a\nb").is_err());
        assert_eq!(field_name("X-Api-Key"), Ok("x-api-key".into()));
        assert!(
            field_name("Content-Type").is_err_and(|why| why.contains("leave it out")) && field_name("a b").is_err()
        );
        assert!(service(" ").is_err() && service(&"a".repeat(256)).is_err());
    }
}
