//! One `[pool.NAME.health]` of the file.

use std::time::Duration;

use toml::de::DeValue;
use unstick_reading::{Section, Value, one_of};

use super::key::{Key, Kind, Shown, keys};
use super::kinds::{Number, Time, list, quoted};
use super::model::{HealthCheck, Probe, StatusRanges};
use super::values;

const HOUR: Duration = Duration::from_secs(3600);

/// Every key of a health check.
pub(super) const KEYS: &[Key<HealthCheck>] = keys!(HealthCheck {
    probe: ProbeKind,
    interval: Time(Duration::from_millis(10)..=HOUR),
    timeout: Time(Duration::from_millis(1)..=HOUR),
    rise: Number(1..=100),
    fall: Number(1..=100),
});

/// `kind`, and the keys that only some kinds of probes have.
struct ProbeKind;

/// The values of `kind`.
#[derive(Clone, Copy, PartialEq)]
enum Name {
    Http,
    Tcp,
    Grpc,
}

/// The value of a key that only some kinds of probes have.
type Written<'a> = (&'static str, Option<Value<'a>>);

impl Kind<Probe> for ProbeKind {
    fn read(&self, section: &Section<'_>, _: &'static str) -> Option<Probe> {
        let names = [("http", Name::Http), ("tcp", Name::Tcp), ("grpc", Name::Grpc)];
        let name = section.parsed("kind", |text| one_of(text, &names)).unwrap_or(Name::Http);
        let [path, host, status, body, service] =
            ["path", "host", "status", "body", "service"].map(|key| (key, section.get(key)));
        Some(match name {
            Name::Http => {
                refuse(&[service], "http", "grpc");
                http(path.1, host.1, status.1, body.1)
            }
            Name::Tcp => {
                refuse(&[path, host, status, body], "tcp", "http");
                refuse(&[service], "tcp", "grpc");
                Probe::Tcp
            }
            Name::Grpc => {
                refuse(&[path, host, status, body], "grpc", "http");
                let service = service.1.and_then(|value| value.string().map(str::to_owned));
                Probe::Grpc { service: service.unwrap_or_default() }
            }
        })
    }

    fn show(&self, _: &str, value: &Probe, shown: &mut Shown) {
        match value {
            Probe::Http { path, host, status, body } => {
                shown.add("kind", "http");
                shown.add("path", quoted(path));
                host.iter().for_each(|host| shown.add("host", quoted(host)));
                shown.add("status", written(status));
                body.iter().for_each(|body| shown.add("body", quoted(body)));
            }
            Probe::Tcp => shown.add("kind", "tcp"),
            Probe::Grpc { service } => {
                shown.add("kind", "grpc");
                shown.add("service", quoted(service));
            }
        }
    }
}

/// Reports keys that a probe of this kind does not have; one of the kind `other` has them.
fn refuse(keys: &[Written<'_>], kind: &str, other: &str) {
    for (key, value) in keys {
        if let Some(value) = value {
            let message = format!("`{key}` does not apply to a health check of kind \"{kind}\"");
            value.report(message, Some(format!("leave it out, or write kind = \"{other}\"")));
        }
    }
}

fn http(path: Option<Value<'_>>, host: Option<Value<'_>>, status: Option<Value<'_>>, body: Option<Value<'_>>) -> Probe {
    let ranges = status.map(|value| statuses(&value)).unwrap_or_default();
    Probe::Http {
        path: path.and_then(|value| value.parsed(values::origin_form)).unwrap_or_else(|| Probe::PATH.into()),
        host: host.and_then(|value| value.parsed(values::host_field)),
        status: values::status_ranges(ranges).unwrap_or_default(),
        body: body.and_then(|value| value.string().map(str::to_owned)).filter(|text| !text.is_empty()),
    }
}

/// `200`, `"200-399"`, or a list of such.
fn statuses(value: &Value<'_>) -> Vec<(u16, u16)> {
    match value.value {
        DeValue::Array(codes) if codes.is_empty() => {
            value.report(format!("{} accepts no status", value.key), Some("write \"200-399\"".into()));
            Vec::new()
        }
        DeValue::Array(_) => value.array().unwrap_or_default().iter().filter_map(status).collect(),
        _ => status(value).into_iter().collect(),
    }
}

fn status(value: &Value<'_>) -> Option<(u16, u16)> {
    match value.value {
        DeValue::Integer(code) => {
            let range = value.integer().and_then(|code| values::status_range(&code.to_string()).ok());
            if range.is_none() {
                value.report(format!("{}: {code} is not an HTTP status", value.key), None);
            }
            range
        }
        _ => value.parsed(values::status_range),
    }
}

/// Statuses as the file would say them.
fn written(StatusRanges(ranges): &StatusRanges) -> String {
    let range = |&(low, high): &(u16, u16)| if low == high { low.to_string() } else { format!("{low}-{high}") };
    match ranges.as_slice() {
        [one] => range(one),
        several => list(several.iter().map(range)),
    }
}
