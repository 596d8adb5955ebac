//! Strings and what becomes of them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;

use super::*;
use crate::{Problems, Section, document};

/// The contents of a file that is large for a secret.
const BIG: &[u8] = &[b'x'; 64 << 10];

/// An environment of these variables, and files.
#[derive(Default)]
struct Given {
    variables: BTreeMap<&'static str, OsString>,
    files: BTreeMap<&'static str, &'static [u8]>,
}

impl Given {
    fn new() -> Self {
        let variables =
            [("HOST", "shop.test"), ("EMPTY", ""), ("PORT", "8080"), ("EVIL", "\"\nevil = \"1"), ("YES", "true")];
        let variables = variables.map(|(name, value)| (name, OsString::from(value)));
        let with_credentials = variables.into_iter().chain([(CREDENTIALS, "/run/credentials".into())]);
        let files: [(&str, &[u8]); 7] = [
            ("/big", BIG),
            ("/run/secrets/token", b"hunter2\n"),
            ("conf/password", b"pass word\r\n"),
            ("/run/credentials/key", b"from systemd"),
            ("/two", b"a\n\n"),
            ("/empty", b""),
            ("/binary", b"\xff"),
        ];
        Self { variables: with_credentials.collect(), files: files.into() }
    }
}

impl Outside for Given {
    fn variable(&self, name: &str) -> Option<OsString> {
        self.variables.get(name).cloned()
    }

    fn secret(&self, file: &Path) -> io::Result<Vec<u8>> {
        let contents = self.files.get(file.to_str().unwrap_or_default());
        contents.map(|contents| contents.to_vec()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// Reads `key` of a text, with `read`.
fn filled<T>(text: &str, read: impl Fn(&Section<'_>) -> Option<T>) -> Result<Option<T>, Problems> {
    let sink = Sink::new("conf/test.toml", text, &[]);
    let mut document = document(&sink, 0);
    fill(document.table.get_mut(), &sink, &Given::new());
    let found = read(&Section::new("", "", document.table.get_ref(), document.table.span(), &sink));
    if sink.is_clean() { Ok(found) } else { Err(sink.into_problems()) }
}

fn string(text: &str) -> Result<Option<String>, Problems> {
    filled(&format!("key = {text}"), |top| top.parsed("key", |text| Ok(text.to_owned())))
}

#[test]
fn references_are_replaced_by_what_they_refer_to() {
    for (text, expected) in [
        ("'plain $ {x} $x $'", "plain $ {x} $x $"),
        ("'${HOST}'", "shop.test"),
        ("'http://${HOST}:${PORT}/'", "http://shop.test:8080/"),
        ("'${EMPTY}'", ""),
        ("'${EMPTY:-full}${NONE:-}${NONE:-a:-b $c}'", "fulla:-b $c"),
        ("'${HOST:-other}'", "shop.test"),
        ("'$${HOST} $$${HOST} $$ ${HOST}$'", "${HOST} $${HOST} $$ shop.test$"),
        ("'${EVIL}'", "\"\nevil = \"1"),
        ("'Bearer ${file:/run/secrets/token}'", "Bearer hunter2"),
        ("'${file:password}'", "pass word"),
        ("'${file:/two}${file:/empty}'", "a\n"),
        ("'${credential:key}'", "from systemd"),
        ("'''${HOST}'''", "shop.test"),
        ("\"\\u0024{HOST}\"", "shop.test"),
    ] {
        let found = string(text).unwrap_or_else(|problems| panic!("{text}: {problems}"));
        assert_eq!(found.as_deref(), Some(expected), "{text}");
    }
}

#[test]
fn what_cannot_be_filled_in_is_a_problem_at_its_place() {
    for (text, column, expected) in [
        ("'a ${NONE} b'", 10, "the environment variable NONE is not set"),
        ("'${HOST} ${HOST} ${}'", 24, "`${}` refers to nothing"),
        ("'$${NONE} ${NONE}'", 17, "the environment variable NONE is not set"),
        ("'${1x}'", 8, "`${1x}` refers to nothing"),
        ("'${a-b}'", 8, "`${a-b}` refers to nothing"),
        ("'${NAME:default}'", 8, "`${NAME:default}` refers to nothing"),
        ("'${HOST'", 8, "there is no } for this ${"),
        ("'${NONE:-${HOST}}'", 8, "`${NONE:-${HOST}` has another ${ in it"),
        ("'${file:}'", 8, "`${file:}` names no file"),
        ("'${file:/gone}'", 8, "cannot read /gone: entity not found"),
        ("'${file:/binary}'", 8, "/binary is not UTF-8"),
        ("'${credential:../key}'", 8, "`${credential:../key}` names no credential"),
        ("'${credential:.key}'", 8, "`${credential:.key}` names no credential"),
        ("'${credential:a/b}'", 8, "`${credential:a/b}` names no credential"),
        ("'${vault:x}'", 8, "`${vault:x}` refers to nothing"),
        ("\"\\t${NONE}\"", 10, "the environment variable NONE is not set"),
        ("\"${\\u004eONE}\"", 7, "the environment variable NONE is not set"),
        ("[['x', { a = '${NONE}' }]]", 21, "the environment variable NONE is not set"),
    ] {
        let problems = filled(&format!("key = {text}"), |top| top.get("key").map(|_| ())).unwrap_err();
        let found: Vec<_> = problems.iter().map(|problem| (problem.line, problem.column, &*problem.message)).collect();
        assert_eq!(found, [(1, column, expected)], "{text}");
        assert!(problems.iter().all(|problem| problem.help.is_some()), "{text}");
    }
}

#[test]
fn each_mistake_is_told_and_what_follows_from_it_is_not() {
    let problems =
        filled("key = '${A} ${B:-} ${C}'", |top| top.parsed("key", |_| Err::<(), _>("no".into()))).unwrap_err();
    let columns: Vec<_> = problems.iter().map(|problem| problem.column).collect();
    assert_eq!(columns, [8, 20], "{problems}");
}

#[test]
fn there_are_no_credentials_without_systemd() {
    struct Nothing;
    impl Outside for Nothing {
        fn variable(&self, _: &str) -> Option<OsString> {
            None
        }

        fn secret(&self, _: &Path) -> io::Result<Vec<u8>> {
            panic!("there is no folder")
        }
    }
    let sink = Sink::new("test.toml", "key = '${credential:token}'", &[]);
    let mut document = document(&sink, 0);
    fill(document.table.get_mut(), &sink, &Nothing);
    let line = sink.into_problems().one_line();
    assert!(line.contains("CREDENTIALS_DIRECTORY is not set") && line.contains("LoadCredential=token:"), "{line}");
}

#[test]
fn numbers_and_switches_may_be_filled_in_but_not_quoted() {
    let number = |text: &str| filled(text, |top| top.integer("key", 1..=9000));
    assert_eq!(number("key = '${PORT}'"), Ok(Some(8080)));
    assert_eq!(number("key = '${NONE:-7}'"), Ok(Some(7)));
    let switch = |text: &str| filled(text, |top| top.boolean("key"));
    assert_eq!((switch("key = '${YES}'"), switch("key = '${NONE:-false}'")), (Ok(Some(true)), Ok(Some(false))));
    for (text, expected) in [
        ("key = '8080'", "key must be a whole number, not a string"),
        ("key = '${HOST}'", "key must be a whole number, not a string"),
        ("key = '${NONE:-9001}'", "key must be from 1 to 9000"),
        ("key = '${PORT} '", "key must be a whole number, not a string"),
    ] {
        let message = number(text).unwrap_err().iter().next().map(|problem| problem.message.clone());
        assert_eq!(message.as_deref(), Some(expected), "{text}");
    }
    assert!(switch("key = 'true'").is_err());
}

#[test]
fn no_message_says_a_secret() {
    let text = "key = 'x:${file:/run/secrets/token}'\nother = 1\nlist = ['${file:password}']";
    let parse =
        |text: &str| Err::<(), _>(format!("`{text}`: half of it is `{}`; write {text}", &text[..text.len() / 2]));
    let problems = filled(text, |top| {
        top.parsed("key", parse);
        top.integer("key", 0..=1);
        top.duration("key", std::time::Duration::ZERO..=std::time::Duration::MAX);
        crate::strings(top, "list", parse);
        let value = top.get("key")?;
        value.sink.report(value.span.clone(), "it is `x:hunter2`, and HUNTER2", Some("not hunter2".into()));
        // Another place may speak of it too.
        top.get("other")?.report("hunter2 is there already", Some("remove one hunter2".into()));
        Some(())
    })
    .unwrap_err();
    let said = format!("{problems}\n{}\n{problems:?}", problems.one_line()).to_lowercase();
    assert!(!said.contains("hunter") && !said.contains("pass w"), "{said}");
    assert!(said.contains("key is not valid") && said.contains("*** is there already"), "{said}");
    assert!(said.contains("${file:/run/secrets/token}"), "it is said where it comes from: {said}");
}

#[test]
fn what_is_filled_in_has_a_bound() {
    let times = |times: usize| format!("'{}'", "${file:/big}".repeat(times));
    assert_eq!(string(&times(2)).unwrap().map(|text| text.len()), Some(2 * BIG.len()));
    let most = FILLED_MAX / BIG.len();
    let problems = filled(&format!("a = {}\nkey = {}", times(most / 2), times(most)), |_| Some(())).unwrap_err();
    let line = problems.one_line();
    assert!(line.starts_with("conf/test.toml:2:7: the strings of this file have more than 64 MiB"), "{line}");
}
