//! Texts with gaps, where the file has one, a list or a table of them.

use std::ops::Range;

use toml::de::DeValue;
use unstick_reading::Value;

use super::template::gaps;

/// The longest name of a journey or a step, in characters.
pub(super) const NAME_MAX: usize = 100;

/// A gap in a text of a step.
pub(super) struct Use {
    /// The name of the value that belongs there.
    pub(super) name: String,
    /// Where the text stands.
    pub(super) span: Range<usize>,
}

/// A name and a text that belongs to it.
pub(super) struct Pair<'a> {
    pub(super) name: String,
    pub(super) text: String,
    /// The value that the text was.
    pub(super) value: Value<'a>,
}

/// Remembers the gaps of a text.
pub(super) fn note(text: &str, span: &Range<usize>, uses: &mut Vec<Use>) {
    uses.extend(gaps(text).map(|gap| Use { name: gap.name.to_owned(), span: span.clone() }));
}

/// A string.
pub(super) fn template(value: &Value<'_>, uses: &mut Vec<Use>) -> Option<String> {
    let text = value.string()?;
    note(text, &value.span, uses);
    Some(text.to_owned())
}

/// A string, or a list of strings.
pub(super) fn templates(value: &Value<'_>, uses: &mut Vec<Use>) -> Vec<String> {
    each(value).iter().filter_map(|element| template(element, uses)).collect()
}

/// The elements of a list; anything else is the only element of one.
pub(super) fn each<'a>(value: &Value<'a>) -> Vec<Value<'a>> {
    match value.value {
        DeValue::Array(_) => value.array().unwrap_or_default(),
        _ => vec![value.clone()],
    }
}

/// Names and texts: a table, of which a name can have a list of texts, or a list of pairs, which keeps any order.
pub(super) fn pairs<'a>(value: &Value<'a>, uses: &mut Vec<Use>) -> Vec<Pair<'a>> {
    let mut found = Vec::new();
    if let DeValue::Array(_) = value.value {
        for pair in value.array().unwrap_or_default() {
            match pair.array().as_deref() {
                Some([name, text]) => found.extend(name.string().map(|name| (name.to_owned(), text.clone()))),
                Some(_) => {
                    pair.report(format!("{} is a list of pairs", value.key), Some("write [\"name\", \"value\"]".into()))
                }
                None => {}
            }
        }
    } else {
        for (name, inner) in value.entries().unwrap_or_default() {
            found.extend(each(&inner).into_iter().map(|text| (name.to_owned(), text)));
        }
    }
    let texts = found.into_iter().filter_map(|(name, value)| {
        let text = scalar(&value)?;
        note(&text, &value.span, uses);
        Some(Pair { name, text, value })
    });
    texts.collect()
}

/// A string, or a number or boolean as it was written.
fn scalar(value: &Value<'_>) -> Option<String> {
    match value.value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.to_string()),
        DeValue::Boolean(boolean) => Some(boolean.to_string()),
        DeValue::Table(_) => {
            let help = "put a name that has a dot in quotes, as in \"user.name\"".to_owned();
            value.report(format!("{} must be a text, not a table", value.key), Some(help));
            None
        }
        _ => {
            value.wrong_type("a text");
            None
        }
    }
}

/// A name for people.
pub(super) fn name(text: &str) -> Result<String, String> {
    if text.trim().is_empty() || text.contains(char::is_control) || text.chars().count() > NAME_MAX {
        return Err(format!("a name is one line of 1 to {NAME_MAX} characters"));
    }
    Ok(text.to_owned())
}
