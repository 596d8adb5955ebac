//! Config files as operators write them. Good ones are understood, bad ones are explained, and nothing makes the reader
//! panic.
//!
//! Each `config/invalid/NAME.toml` has one theme, and `NAME.txt` beside it has the whole text that the operator sees.
//! After a change of wording run with `BLESS=1` to write these texts anew, and read the difference. `{algorithms}` in a
//! text means all names.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use unstick::config::{self, Algorithm, BackendState, Config, HostPattern, PathPattern, Probe};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config").join(name)
}

/// The TOML files of a folder, by name.
fn files(of: &str) -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder(of)).expect("the folder is part of the repository");
    let paths = entries.map(|entry| entry.expect("it can be listed").path());
    let toml = paths.filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
    let named = toml.map(|path| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        (name, fs::read_to_string(path).expect("it is readable text"))
    });
    named.collect()
}

fn valid(name: &str) -> Config {
    config::load(&folder("valid").join(format!("{name}.toml"))).unwrap_or_else(|problems| panic!("{problems}")).config
}

#[test]
fn valid_files_are_understood() {
    let files = files("valid");
    assert!(files.len() >= 6, "where are they?");
    for (name, text) in files {
        // Relative paths start at the folder of the file.
        let path = folder("valid").join(&name).display().to_string();
        let parsed = config::parse(&path, &text).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(parsed, valid(&name), "{name}: reading the file or its text must make no difference");
    }
}

#[test]
fn the_smallest_file_is_the_same_as_flags() {
    let flags = config::from_flags(&[":8080".to_owned()], &["127.0.0.1:3001".to_owned()], None).unwrap();
    assert_eq!(valid("smallest"), flags);
}

#[test]
fn routes_keep_their_order_and_get_normal_names() {
    let config = valid("shop");
    let route = |route: &'_ config::Route| (route.host.clone(), route.path.clone(), route.pools().collect::<String>());
    let routes: Vec<_> = config.routes.iter().map(route).collect();
    let (host, root) = (HostPattern::Exact("shop.example.com".into()), PathPattern::Prefix("/".into()));
    let expected = [
        (&host, &PathPattern::Prefix("/api/".into()), "api"),
        (&host, &PathPattern::Exact("/favicon.ico".into()), "files"),
        (&HostPattern::Below("cdn.example.com".into()), &root, "files"),
        (&HostPattern::Any, &root, "app"),
    ];
    let expected = expected.map(|(host, path, pool)| (vec![host.clone()], path.clone(), pool.to_owned()));
    assert_eq!(routes, expected);
}

#[test]
fn backends_of_both_forms_keep_their_order() {
    let config = valid("backends");
    let backends = config.pools["app"].backends.iter();
    let found: Vec<_> = backends.map(|backend| (backend.address.to_string(), backend.weight, backend.state)).collect();
    let expected = [
        ("10.0.0.1:3000", 1, BackendState::Ready),
        ("10.0.0.2:3000", 256, BackendState::Ready),
        ("10.0.0.3:3000", 1, BackendState::Down),
        ("app.internal.:3000", 1, BackendState::Ready),
        ("[::1]:3000", 2, BackendState::Drain),
    ];
    assert_eq!(found, expected.map(|(address, weight, state)| (address.to_owned(), weight, state)));
}

#[test]
fn a_health_check_is_there_when_its_table_is() {
    let config = valid("health");
    let health = |pool: &str| config.pools[pool].health.as_ref();
    assert_eq!(health("unchecked"), None);
    let plain = health("plain").unwrap();
    assert_eq!((plain.interval, plain.timeout), (Duration::from_secs(2), Duration::from_secs(1)));
    assert_eq!(health("connects").unwrap().probe, Probe::Tcp);
    let full = health("full").unwrap();
    let Probe::Http { path, host, status, body } = &full.probe else { panic!("{full:?}") };
    assert_eq!((path.as_str(), host.as_deref()), ("/healthz?deep=1", Some("shop.example.com")));
    assert_eq!(body.as_deref(), Some("all is well"));
    let accepted = [200, 204, 300, 399, 400, 403].map(|code| status.contains(code));
    let refused = [100, 201, 203, 404, 500].map(|code| status.contains(code));
    assert_eq!((accepted, refused), ([true; 6], [false; 5]));
}

#[test]
fn retries_are_what_is_written() {
    let config = valid("retry");
    let retry = &config.pools["app"].retry;
    assert_eq!((retry.attempts.get(), retry.attempt_timeout), (5, Some(Duration::from_secs(1))));
    assert_eq!((&*retry.on_status, retry.budget, retry.budget_per_second), (&[502, 503, 504][..], 0, 0));
    assert_eq!(config.limits.replay, 0);
}

#[test]
fn ejection_is_what_is_written() {
    let config = valid("eject");
    let eject = &config.pools["app"].eject;
    assert_eq!((eject.failures, eject.share, config.pools["app"].slow_start), (0, 34, Duration::ZERO));
    assert_eq!((eject.duration, eject.max_duration), (Duration::from_secs(1), Duration::from_secs(60)));
}

#[test]
fn bounds_of_a_pool_are_what_is_written() {
    let pool = &valid("overload").pools["app"];
    assert_eq!((pool.max_requests, pool.queue.size), (Some(50), 0));
    assert_eq!(pool.queue.timeout, Duration::from_millis(250));
    assert_eq!(valid("smallest").pools["app"].max_requests, None);
}

#[test]
fn zero_means_none_only_where_it_may() {
    let bounds = valid("bounds");
    assert_eq!(bounds.limits.idle_per_endpoint, 0);
    assert_eq!(
        (bounds.timeouts.request, bounds.limits.request_body),
        (Some(Duration::from_secs(20)), Some(10_000_000))
    );
    let none = valid("smallest");
    assert_eq!((none.workers, none.timeouts.request, none.limits.request_body), (None, None, None));
}

#[test]
fn the_admin_port_is_on_unless_it_is_switched_off() {
    assert_eq!(valid("smallest").admin.address, Some(SocketAddr::from(([127, 0, 0, 1], 9900))));
    assert_eq!(valid("logs").admin.address, None);
}

#[test]
fn invalid_files_are_explained() {
    let files = files("invalid");
    assert!(files.len() >= 20, "where are they?");
    let mut surprises = String::new();
    for (name, text) in files {
        let file_name = format!("{name}.toml");
        let rendered = match config::parse(&file_name, &text) {
            Ok(_) => panic!("{file_name} is valid"),
            Err(problems) => format!("{problems}\n").replace(&Algorithm::names(), "{algorithms}"),
        };
        let expected_file = folder("invalid").join(format!("{name}.txt"));
        if std::env::var_os("BLESS").is_some() {
            fs::write(&expected_file, &rendered).expect("the folder can be written");
        }
        let expected = fs::read_to_string(&expected_file).unwrap_or_default();
        if rendered != expected {
            surprises.push_str(&format!("--- {name}.txt expects\n{expected}--- but the operator sees\n{rendered}\n"));
        }
    }
    assert!(surprises.is_empty(), "{surprises}BLESS=1 accepts what is seen now");
}

#[test]
fn five_mistakes_are_five_problems() {
    let text = fs::read_to_string(folder("invalid").join("five_mistakes.toml")).unwrap();
    let problems = config::parse("five_mistakes.toml", &text).unwrap_err();
    let places: Vec<_> = problems.iter().map(|problem| (problem.line, problem.column)).collect();
    assert_eq!(places, [(6, 8), (9, 1), (10, 70), (11, 16), (14, 11)]);
    assert_eq!(problems.len(), 5);
    assert!(problems.to_string().ends_with("five_mistakes.toml: 5 problems"));
    let line = "five_mistakes.toml:6:8: there is no pool `ap`, did you mean `app`? (and 4 more)";
    assert_eq!(problems.one_line(), line);
}

#[test]
fn the_hash_follows_the_contents_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let [one, two] = ["one.toml", "two.toml"].map(|name| folder.path().join(name));
    let text = "listen.web.address = ':0'\npool.app.backends = ['a:1']\n";
    let hash = |file: &Path, text: &str| {
        fs::write(file, text).unwrap();
        config::load(file).unwrap().origin.text_hash()
    };
    assert_eq!(hash(&one, text), hash(&two, text));
    assert_ne!(hash(&one, text), hash(&one, &format!("{text}# edited")));
}

#[test]
fn a_file_that_is_not_text_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("binary.toml");
    fs::write(&file, b"workers = 1 # \xff").unwrap();
    let problems = config::load(&file).unwrap_err();
    assert!(problems.one_line().contains("not UTF-8 (byte 14)"), "{problems}");
}

/// Reads a text, and renders the problems in it.
fn read(text: &str) {
    if let Err(problems) = config::parse("any.toml", text) {
        assert!(problems.len() > 0 && problems.iter().count() == problems.len());
        let lines = text.matches('\n').count() + 1;
        for problem in problems.iter() {
            assert!((1..=lines).contains(&problem.line) && problem.column >= 1, "{problem:?}");
        }
        for rendered in [problems.render(true), problems.render(false), problems.one_line()] {
            assert!(rendered.contains("any.toml"), "{rendered}");
        }
        assert!(!problems.one_line().contains(char::is_control), "a log line is one line: {problems}");
    }
}

/// Every sample file, good and bad.
fn samples() -> Vec<String> {
    let ours = ["unstick.toml", "reference.toml"].map(|name| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
        fs::read_to_string(path).expect("it is part of the repository")
    });
    ours.into_iter().chain(files("valid").into_values()).chain(files("invalid").into_values()).collect()
}

/// Pieces that mean something to the reader. They are put where they are not expected.
const PIECES: [&str; 24] = [
    "${",
    "${file:",
    "\"",
    "'",
    "=",
    "[",
    "]",
    "[[",
    "{",
    "}",
    ",",
    "\n",
    ".",
    "\0",
    "é",
    "\u{1F980}",
    "\r\n",
    "-1",
    "1e999",
    "0x",
    "99999999999999999999",
    "\"\"\"",
    "\\u{",
    "# ",
];

/// Replaces `length` characters from character `at` by `piece`.
fn splice(text: &str, at: usize, length: usize, piece: &str) -> String {
    let count = text.chars().count();
    let at = at % (count + 1);
    let rest = text.chars().skip(at + length);
    text.chars().take(at).chain(piece.chars()).chain(rest).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_reader_panic(text in any::<String>()) {
        read(&text);
    }

    #[test]
    fn no_toml_like_text_makes_the_reader_panic(
            text in r#"([a-z]{1,6}|[\[\]{}=.,'"\n# ]|[0-9]{1,3}|\[\[route\]\]\n|\[pool\.a\]\n|backends = )*"#
        ) {
        read(&text);
    }

    #[test]
    fn no_edit_of_a_file_makes_the_reader_panic(
        text in prop::sample::select(samples()),
        edits in prop::collection::vec((any::<usize>(), 0..20_usize, prop::sample::select(&PIECES[..])), 1..4),
    ) {
        read(&edits.into_iter().fold(text, |text, (at, length, piece)| splice(&text, at, length, piece)));
    }

    #[test]
    fn no_flag_makes_the_reader_panic(listen in any::<String>(), backend in any::<String>()) {
        if let Err(problems) = config::from_flags(&[listen], &[backend], None) {
            prop_assert!(problems.len() <= 2, "{}", problems);
        }
    }
}
