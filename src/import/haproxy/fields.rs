//! Values of fields, cookies and arguments, as unstick writes them.

use super::conditions::Criterion;
use super::test::Test;

pub(super) fn field(criterion: &Criterion<'_>) -> Result<Vec<Test>, String> {
    let name = criterion.argument.to_ascii_lowercase();
    let test = |expected: String| Test { header: vec![(name.clone(), expected)], ..Test::default() };
    if criterion.matching == "found" {
        return Ok(vec![test("*".to_owned())]);
    }
    criterion.each(|value| {
        let expected = match criterion.base {
            "fhdr" => pattern(value, criterion.matching, criterion.is_caseless),
            _ => element(value, criterion.matching, criterion.is_caseless),
        };
        expected.map(&test)
    })
}

/// `cook(name)`: the value of a cookie, somewhere in the field.
pub(super) fn cookie(criterion: &Criterion<'_>) -> Result<Vec<Test>, String> {
    let begin = format!("(^|;)\\s*{}\\s*=", regex::escape(criterion.argument));
    let test = |expected: String| Test { header: vec![("cookie".to_owned(), expected)], ..Test::default() };
    if criterion.matching == "found" {
        return Ok(vec![test(format!("~{begin}"))]);
    }
    criterion.each(|value| {
        let value = format!("{}{}", caseless(criterion.is_caseless), regex::escape(value));
        let rest = match criterion.matching {
            "" | "str" => format!("\\s*(?:{value})\\s*(;|$)"),
            "beg" => format!("\\s*(?:{value})"),
            "sub" => format!("[^;]*(?:{value})"),
            other => return Err(format!("`{other}` of a cookie has no translation")),
        };
        Ok(test(format!("~{begin}{rest}")))
    })
}

pub(super) fn parameter(criterion: &Criterion<'_>) -> Result<Vec<Test>, String> {
    let test = |expected: String| Test { query: vec![(criterion.argument.to_owned(), expected)], ..Test::default() };
    if criterion.matching == "found" {
        return Ok(vec![test("*".to_owned())]);
    }
    criterion.each(|value| pattern(value, criterion.matching, criterion.is_caseless).map(&test))
}

fn pattern(value: &str, matching: &str, is_caseless: bool) -> Result<String, String> {
    match matching {
        "" | "str" if !is_caseless && !value.starts_with(['~', '*', '!']) => Ok(value.to_owned()),
        "" => Ok(format!("~{}", regular(value, "str", is_caseless)?)),
        matching => Ok(format!("~{}", regular(value, matching, is_caseless)?)),
    }
}

/// The same for each element of a list with commas: so `hdr` compares, and `fhdr` whole fields.
fn element(value: &str, matching: &str, is_caseless: bool) -> Result<String, String> {
    const BEGIN: &str = r"(^|,)\s*";
    const END: &str = r"\s*(,|$)";
    let escaped = regex::escape(value);
    let found = match matching {
        "" | "str" => format!("{BEGIN}{escaped}{END}"),
        "beg" => format!("{BEGIN}{escaped}"),
        "end" => format!("{escaped}{END}"),
        "reg" => {
            let (begin, rest) = value.strip_prefix('^').map_or(("", value), |rest| (BEGIN, rest));
            let ends = rest.ends_with('$') && !rest.ends_with("\\$");
            let rest = if ends { &rest[..rest.len() - 1] } else { rest };
            if rest.replace("[^", "").replace("\\^", "").replace("\\$", "").contains(['^', '$']) {
                return Err("`hdr` compares each element of a list, and this has anchors within; see `fhdr`".to_owned());
            }
            format!("{begin}{rest}{}", if ends { END } else { "" })
        }
        other => return Ok(format!("~{}", regular(value, other, is_caseless)?)),
    };
    Ok(format!("~{}", regular(&found, "reg", is_caseless)?))
}

pub(super) fn caseless(is_caseless: bool) -> &'static str {
    if is_caseless { "(?i)" } else { "" }
}

/// A regular expression that finds the same.
pub(super) fn regular(value: &str, matching: &str, is_caseless: bool) -> Result<String, String> {
    let escaped = regex::escape(value);
    let found = match matching {
        "str" => format!("^{escaped}$"),
        "beg" => format!("^{escaped}"),
        "end" => format!("{escaped}$"),
        "sub" => escaped,
        "reg" => value.to_owned(),
        other => return Err(format!("`{other}` has no translation")),
    };
    let found = format!("{}{found}", caseless(is_caseless));
    let is_linear = regex::Regex::new(&found).is_ok();
    is_linear.then_some(found).ok_or_else(|| "this regular expression has no equal that takes linear time".to_owned())
}
