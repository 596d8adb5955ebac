//! `access` in `[log]`, and the keys that mean something only with it.

use unstick_reading::{Section, did_you_mean, one_of, strings};

use super::key::{Kind, Shown};
use super::kinds::{Number, list, quoted};
use super::model::{AccessField, AccessLog, AccessLogFormat, AccessLogTarget, LinePiece, LineTemplate, Sample};
use super::values;

/// The forms of a line that have a name.
const FORMATS: [&str; 3] = ["json", "common", "combined"];

/// What other products call our fields.
const SYNONYMS: [(&str, &str); 17] = [
    ("client", "client_ip"),
    ("ip", "client_ip"),
    ("remote_addr", "client_ip"),
    ("remote_ip", "client_ip"),
    ("uri", "target"),
    ("url", "target"),
    ("request_uri", "target"),
    ("args", "query"),
    ("protocol", "version"),
    ("size", "bytes"),
    ("bytes_sent", "bytes"),
    ("body_bytes_sent", "bytes"),
    ("duration", "duration_ms"),
    ("latency", "duration_ms"),
    ("request_time", "duration_ms"),
    ("upstream", "endpoint"),
    ("upstream_addr", "endpoint"),
];

const QUEUE: Number = Number(1..=1_000_000);

/// `access`, and the keys that mean something only with it.
pub(super) struct Access;

impl Kind<Option<AccessLog>> for Access {
    fn read(&self, section: &Section<'_>, key: &'static str) -> Option<Option<AccessLog>> {
        let target = section.get(key).and_then(|value| {
            let folder = value.sink.folder_of(value.span.start);
            let target = value.parsed(|text| values::access_target(folder, text))??;
            if let AccessLogTarget::File(path) = &target {
                value.sink.note_path(&value.span, path);
            }
            Some(target)
        });
        let format = section.parsed_or("access_format", AccessLogFormat::default(), format);
        let fields = read_fields(section, format.as_ref());
        let format = match (format, fields) {
            (Some(AccessLogFormat::Json(_)), Some(fields)) => AccessLogFormat::Json(fields),
            (format, _) => format.unwrap_or_default(),
        };
        let sample = SmallShare.read(section, "access_sample").unwrap_or(Sample::ALL);
        let queue = QUEUE.read(section, "access_queue").unwrap_or(AccessLog::QUEUE);
        Some(target.map(|to| AccessLog { to, format, sample, queue }))
    }

    fn show(&self, key: &str, value: &Option<AccessLog>, shown: &mut Shown) {
        let Some(AccessLog { to, format, sample, queue }) = value else {
            shown.add(key, quoted("off"));
            return;
        };
        let to = match to {
            AccessLogTarget::Stdout => "stdout".to_owned(),
            AccessLogTarget::File(path) => path.display().to_string(),
        };
        shown.add(key, quoted(&to));
        let format_name = match format {
            AccessLogFormat::Json(_) => "json".to_owned(),
            AccessLogFormat::Common => "common".to_owned(),
            AccessLogFormat::Combined => "combined".to_owned(),
            AccessLogFormat::Template(template) => quoted(&template.to_string()),
        };
        shown.add("access_format", format_name);
        if let AccessLogFormat::Json(fields) = format
            && fields[..] != AccessField::DEFAULT
        {
            shown.add("access_fields", list(fields.iter().map(|field| quoted(field.name()))));
        }
        SmallShare.show("access_sample", sample, shown);
        QUEUE.show("access_queue", queue, shown);
    }
}

/// `access_fields`; `None` if there is nothing usable.
fn read_fields(section: &Section<'_>, format: Option<&AccessLogFormat>) -> Option<Vec<AccessField>> {
    let value = section.get("access_fields")?;
    let fields = strings(section, "access_fields", field);
    if value.value.as_array().is_some_and(|list| list.is_empty()) {
        value.report(format!("{} is empty", value.key), Some("name a field, or leave it out for all".to_owned()));
    }
    if format.is_some_and(|format| !matches!(format, AccessLogFormat::Json(_))) {
        let help = "leave it out: a template names its fields itself, common and combined have those they have";
        value.report(format!("{} is for access_format = \"json\"", value.key), Some(help.to_owned()));
    }
    let is_repeated = |(at, field): (usize, &AccessField)| fields[..at].contains(field);
    if let Some(at) = fields.iter().enumerate().position(is_repeated) {
        let help = Some("name each field once".to_owned());
        value.report(format!("{}: `{}` is there twice", value.key, fields[at]), help);
    }
    (!fields.is_empty()).then_some(fields)
}

fn field(name: &str) -> Result<AccessField, String> {
    let known = SYNONYMS.iter().find(|(theirs, _)| *theirs == name);
    match known {
        Some((_, ours)) => Err(format!("unknown field `{name}`; did you mean `{ours}`?")),
        None => one_of(name, AccessField::NAMES).map_err(|error| error.replacen("value", "field", 1)),
    }
}

/// `json`, `common`, `combined`, or a template.
fn format(text: &str) -> Result<AccessLogFormat, String> {
    match text {
        "json" => Ok(AccessLogFormat::default()),
        "common" => Ok(AccessLogFormat::Common),
        "combined" => Ok(AccessLogFormat::Combined),
        _ if text.contains(['{', '}']) => template(text).map(AccessLogFormat::Template),
        _ => {
            let help = did_you_mean(text, FORMATS.into_iter()).unwrap_or_else(|| {
                format!("write {}, or a template such as \"{{client_ip}} {{status}}\"", FORMATS.join(", "))
            });
            Err(format!("unknown value `{text}`; {help}"))
        }
    }
}

/// Text with the names of fields in braces. `{{` and `}}` are braces.
fn template(text: &str) -> Result<LineTemplate, String> {
    if text.chars().any(char::is_control) {
        return Err("a line has no control characters and no line breaks; leave them out".to_owned());
    }
    let (mut pieces, mut plain, mut rest) = (Vec::new(), String::new(), text);
    while let Some(at) = rest.find(['{', '}']) {
        plain.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            plain.push_str(brace);
            rest = after;
        } else if brace == "}" {
            return Err("a brace is closed that was never opened; write `}}` for a brace".to_owned());
        } else {
            let Some((name, after)) = rest.split_once('}') else {
                return Err("a brace is never closed; write `{{` for a brace".to_owned());
            };
            if !plain.is_empty() {
                pieces.push(LinePiece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(LinePiece::Field(field(name)?));
            rest = after;
        }
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        pieces.push(LinePiece::Text(plain));
    }
    let quotes = |piece: &LinePiece| if let LinePiece::Text(text) = piece { text.matches('"').count() } else { 0 };
    if !pieces.iter().map(quotes).sum::<usize>().is_multiple_of(2) {
        return Err("a quote has no end; write another `\"`".to_owned());
    }
    if !pieces.iter().any(|piece| matches!(piece, LinePiece::Field(_))) {
        return Err("every line would be the same; name a field, such as {client_ip}".to_owned());
    }
    Ok(LineTemplate(pieces))
}

/// A share that may be small.
pub(super) struct SmallShare;

impl Kind<Sample> for SmallShare {
    fn read(&self, section: &Section<'_>, key: &'static str) -> Option<Sample> {
        let value = section.get(key)?;
        if value.is_integer() || value.value.is_float() {
            let help = "write \"1%\" for one in a hundred".to_owned();
            value.report(format!("{} must be a share with its unit", value.key), Some(help));
            return None;
        }
        value.parsed(sample)
    }

    fn show(&self, key: &str, value: &Sample, shown: &mut Shown) {
        shown.add(key, value.to_string());
    }
}

/// `1%`, `0.05%`.
fn sample(text: &str) -> Result<Sample, String> {
    let millionths = || {
        let number = text.strip_suffix('%')?.trim();
        let (whole, rest) = number.split_once('.').unwrap_or((number, "0"));
        let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(whole) || !is_number(rest) || whole.len() > 3 || rest.len() > 4 {
            return None;
        }
        let millionths = whole.parse::<u32>().ok()? * 10_000 + format!("{rest:0<4}").parse::<u32>().ok()?;
        (millionths <= Sample::ALL.millionths).then_some(millionths)
    };
    let expected = || format!("`{text}` is not a share; write \"1%\" or \"0.05%\", from 0% to 100%");
    millionths().map(|millionths| Sample { millionths }).ok_or_else(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates() {
        let (text, field) = (|text: &str| LinePiece::Text(text.to_owned()), LinePiece::Field);
        for (template, expected) in [
            ("{status}", Ok(vec![field(AccessField::Status)])),
            ("{client_ip}{path}", Ok(vec![field(AccessField::ClientIp), field(AccessField::Path)])),
            ("é {status}!", Ok(vec![text("é "), field(AccessField::Status), text("!")])),
            ("{{{status}}}", Ok(vec![text("{"), field(AccessField::Status), text("}")])),
            ("{{\"s\":\"{status}\"}}", Ok(vec![text("{\"s\":\""), field(AccessField::Status), text("\"}")])),
            ("{clientip}", Err("unknown field `clientip`; did you mean `client_ip`?")),
            ("{Status}", Err("unknown field `Status`; did you mean `status`?")),
            ("{remote_addr}", Err("unknown field `remote_addr`; did you mean `client_ip`?")),
            ("{ status }", Err("unknown field ` status `; did you mean `status`?")),
            ("{xyzzyxyzzy}", Err("unknown field `xyzzyxyzzy`; write time, time_common, ")),
            ("{}", Err("unknown field ``; write time, ")),
            ("{status", Err("never closed")),
            ("{status} {", Err("never closed")),
            ("{a{status}}", Err("unknown field `a{status`")),
            ("status}", Err("never opened")),
            ("{status}\n", Err("no control characters")),
            ("{status}\u{9b}", Err("no control characters")),
            ("{{status}}", Err("every line would be the same")),
            ("\"{status}", Err("a quote has no end")),
            ("{user_agent}\" \"\"", Err("a quote has no end")),
        ] {
            match (super::template(template), expected) {
                (Ok(found), Ok(expected)) => {
                    assert_eq!(found.pieces(), expected, "{template}");
                    assert_eq!(found.to_string(), template);
                }
                (Err(error), Err(part)) => assert!(error.contains(part), "{template}: {error}"),
                (found, expected) => panic!("{template}: {found:?} instead of {expected:?}"),
            }
        }
    }

    #[test]
    fn formats() {
        for (text, part) in [
            ("combine", "did you mean `combined`?"),
            ("$remote_addr", "write json, common, combined, or a template such as \"{client_ip} {status}\""),
            ("", "write json"),
        ] {
            assert!(format(text).is_err_and(|error| error.contains(part)), "{text}");
        }
        assert_eq!(format("json"), Ok(AccessLogFormat::Json(AccessField::DEFAULT.to_vec())));
    }

    #[test]
    fn samples() {
        for (text, millionths) in [
            ("0%", 0),
            ("1%", 10_000),
            ("100%", 1_000_000),
            ("0.05%", 500),
            ("12.3456%", 123_456),
            ("0.0001%", 1),
            ("99.9%", 999_000),
        ] {
            assert_eq!(sample(text), Ok(Sample { millionths }));
            assert_eq!(Sample { millionths }.to_string(), text);
        }
        for text in ["", "%", "1", "0.01", "-1%", "+1%", "101%", "100.0001%", "1.%", ".1%", "0.00001%", "1e0%", "1,5%"]
        {
            assert!(sample(text).is_err_and(|error| error.contains("is not a share")), "{text}");
        }
        assert!(Sample::ALL.takes(999_999) && !Sample { millionths: 0 }.takes(0));
        assert!(Sample { millionths: 500 }.takes(499) && !Sample { millionths: 500 }.takes(500));
    }

    #[test]
    fn every_field_has_a_name_of_its_own_and_no_synonym_has_one() {
        for (at, (name, known)) in AccessField::NAMES.iter().enumerate() {
            assert_eq!((field(name), known.name()), (Ok(*known), *name));
            assert!(AccessField::NAMES[..at].iter().all(|(other, _)| other != name), "{name}");
        }
        for (theirs, ours) in SYNONYMS {
            assert!(field(ours).is_ok() && field(theirs).is_err(), "{theirs}");
        }
    }
}
