//! Values that are made for each request from what is known of it.

use std::borrow::Cow;
use std::fmt;

use unstick_reading::did_you_mean;

/// What stands in braces in a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variable {
    /// The host that the client asked for, without its port.
    Host,
    /// The path as the client wrote it.
    Path,
    /// The query with its question mark; nothing if there is none.
    Query,
    /// The client's address, as far as it can be known.
    ClientIp,
    /// The `X-Request-Id` that the replica gets.
    RequestId,
    /// `http` or `https`, as the client spoke to this proxy.
    Scheme,
    /// The name of the listener.
    Listener,
}

impl Variable {
    /// Each with its name.
    pub const ALL: [(&str, Self); 7] = [
        ("host", Self::Host),
        ("path", Self::Path),
        ("?query", Self::Query),
        ("client_ip", Self::ClientIp),
        ("request_id", Self::RequestId),
        ("scheme", Self::Scheme),
        ("listener", Self::Listener),
    ];
}

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// This text.
    Text(String),
    /// What is known of the request.
    Of(Variable),
}

/// Text with variables in braces: `https://{host}{path}`. A brace itself is written twice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Template(Vec<Piece>);

impl Template {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it; after `; `, what to write.
    pub fn new(text: &str) -> Result<Self, String> {
        let (mut pieces, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let (brace, behind) = rest[at..].split_at(1);
            if let Some(behind) = behind.strip_prefix(brace) {
                plain.push_str(brace);
                rest = behind;
                continue;
            }
            let (name, behind) = behind.split_once('}').filter(|_| brace == "{").ok_or_else(|| {
                format!("a `{brace}` has no other half; write \"{brace}{brace}\" for the brace itself")
            })?;
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Of(variable(name)?));
            rest = behind;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self(pieces))
    }

    /// Its parts, in their order.
    pub fn pieces(&self) -> &[Piece] {
        &self.0
    }

    /// The text, if it has no variables.
    pub fn fixed(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The text for one request, whose variables have these values.
    pub fn fill<'v>(&self, value: impl Fn(Variable) -> Cow<'v, str>) -> String {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(part) => text.push_str(part),
                Piece::Of(variable) => text.push_str(&value(*variable)),
            }
        }
        text
    }
}

fn variable(name: &str) -> Result<Variable, String> {
    let found = Variable::ALL.iter().find(|(known, _)| *known == name).map(|(_, variable)| *variable);
    found.ok_or_else(|| {
        let known = || Variable::ALL.iter().map(|(known, _)| *known);
        let all = || known().map(|name| format!("{{{name}}}")).collect::<Vec<_>>().join(", ");
        let help = did_you_mean(name, known()).unwrap_or_else(|| format!("write one of {}", all()));
        format!("`{{{name}}}` is not known here; {help}")
    })
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => f.write_str(&text.replace('{', "{{").replace('}', "}}"))?,
                Piece::Of(variable) => {
                    let name = Variable::ALL.iter().find(|(_, known)| known == variable).map_or("", |(name, _)| name);
                    write!(f, "{{{name}}}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_read_and_filled() {
        let value = |variable| match variable {
            Variable::Query => "?q".into(),
            other => Cow::Owned(format!("<{other:?}>").to_lowercase()),
        };
        for (text, expected) in [
            ("", Ok("")),
            ("plain", Ok("plain")),
            ("https://{host}{path}{?query}", Ok("https://<host><path>?q")),
            ("{{{scheme}}}", Ok("{<scheme>}")),
            ("{client_ip} {request_id} {listener}", Ok("<clientip> <requestid> <listener>")),
            ("{hots}", Err("did you mean `host`?")),
            ("{}", Err("write one of {host}")),
            ("{query}", Err("did you mean `?query`?")),
            ("a{host", Err("no other half; write \"{{\"")),
            ("a}b", Err("no other half; write \"}}\"")),
        ] {
            let template = Template::new(text);
            match (&template, expected) {
                (Ok(template), Ok(expected)) => {
                    assert_eq!(template.fill(value), expected, "{text}");
                    assert_eq!(template.to_string(), text);
                    assert_eq!(template.fixed().is_some(), !text.contains('{'), "{text}");
                }
                (Err(error), Err(part)) => assert!(error.contains(part), "{text}: {error}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }
}
