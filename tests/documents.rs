//! The documents say what the program does: samples are its output, tables are complete, links have a target.
//!
//! After a change of a message, the sample in the document must be taken anew. Each failure says which one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use http::StatusCode;
use unstick::app::{Outcome, Question, answer};
use unstick::config;

use crate::cli::{Running, unstick};
use crate::support::client::exchange;
use crate::support::tls::Authority;
use crate::support::{App, connect, pool_of, text};

/// The longest README, in bytes. People read it to the end only if it is short.
const README_BYTES_MAX: usize = 12 * 1024;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[track_caller]
fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Every document of the repository.
fn documents() -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![root().to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && name != "target" && name != "node_modules" {
                folders.push(path);
            } else if name.ends_with(".md") {
                found.push(path);
            }
        }
    }
    assert!(found.len() >= 9, "where are they? {found:?}");
    found
}

/// The fenced blocks of a document in this language.
fn blocks(document: &str, language: &str) -> Vec<String> {
    let mut parts = document.split("```").skip(1).step_by(2);
    let opening = format!("{language}\n");
    let found = parts.by_ref().filter_map(|block| block.strip_prefix(&opening)).map(str::to_owned).collect();
    assert!(document.matches("```").count().is_multiple_of(2), "a block is open");
    found
}

/// The one block in this language that contains `part`.
#[track_caller]
fn block(document: &str, language: &str, part: &str) -> String {
    let mut found = blocks(document, language).into_iter().filter(|block| block.contains(part));
    let block = found.next().unwrap_or_else(|| panic!("no block of {language} with {part:?}"));
    assert!(found.next().is_none(), "several blocks of {language} with {part:?}");
    block
}

/// The cells of all rows of the tables below a heading, code without its backticks.
#[track_caller]
fn rows(document: &str, heading: &str) -> Vec<Vec<String>> {
    let section = document.split(&format!("\n## {heading}\n")).nth(1).unwrap_or_else(|| panic!("no {heading}"));
    let section = section.split("\n## ").next().unwrap_or_default();
    let lines = section.lines().filter(|line| !line.starts_with("|---"));
    let lines = lines.filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'));
    lines.map(|line| line.split('|').map(|cell| cell.trim().replace('`', "")).collect()).collect()
}

#[test]
fn the_readme_is_short() {
    assert!(read("README.md").len() <= README_BYTES_MAX);
}

/// The links of a document in `folder` that have no target.
fn broken_links(folder: &Path, document: &str) -> Vec<String> {
    let links = document.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let is_broken = |link: &&str| {
        let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
        let target = if file.is_empty() { Ok(document.to_owned()) } else { fs::read_to_string(folder.join(file)) };
        let has_anchor = |target: &str| anchor.is_empty() || anchors(target).contains(anchor);
        !link.contains("://") && !target.map_or_else(|_| folder.join(file).exists(), |target| has_anchor(&target))
    };
    links.filter(is_broken).map(str::to_owned).collect()
}

/// The anchors of the headings of a document.
fn anchors(document: &str) -> BTreeSet<String> {
    let headings = document.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#'));
    let slug = |c: char| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c.to_ascii_lowercase()),
        _ => None,
    };
    headings.map(|heading| heading.trim().chars().filter_map(slug).collect()).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut count = 0;
    for path in documents() {
        let document = fs::read_to_string(&path).unwrap();
        let broken = broken_links(path.parent().unwrap(), &document);
        assert!(broken.is_empty(), "{}: {broken:?}", path.display());
        count += document.matches("](").count();
    }
    assert!(count >= 20, "only {count} links");
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    let document = "## Two words, and more\n[a](README.md) [b](nowhere.md) [c](#two-words-and-more) [d](#three)\n\
                    [e](README.md#the-proof) [f](README.md#nothing) [g](docs/rolling.png) [h](https://example.com/)";
    assert_eq!(broken_links(root(), document), ["nowhere.md", "#three", "README.md#nothing"]);
}

#[test]
fn every_toml_sample_is_a_valid_config_or_a_journey() {
    let smallest = smallest();
    let mut count = 0;
    for path in documents() {
        for sample in blocks(&fs::read_to_string(&path).unwrap(), "toml") {
            if sample.contains("[[step]]") {
                is_journey(&path, &sample);
                continue;
            }
            let whole = if sample.contains("[listen.") { sample } else { format!("{smallest}{sample}") };
            config::parse(&path.display().to_string(), &whole).unwrap_or_else(|problems| panic!("{problems}"));
            count += 1;
        }
    }
    assert!(count >= 3, "only {count} samples");
}

/// Checks that a sample can be played by `unstick audit`, where the build has it.
#[track_caller]
fn is_journey(path: &Path, sample: &str) {
    if cfg!(not(feature = "audit")) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("journey.toml"), sample).unwrap();
    let output = unstick(&["audit", "journey.toml", "--print"]).current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}: {}", path.display(), text(&output.stderr));
}

/// The smallest useful file, as it is in the README.
fn smallest() -> String {
    let samples = blocks(&read("README.md"), "toml");
    samples.into_iter().next().expect("the README has samples")
}

/// The output of the binary in `folder`, stdout and stderr.
fn said(folder: &Path, args: &[&str]) -> String {
    let output = unstick(args).current_dir(folder).output().unwrap();
    text(&output.stdout) + &text(&output.stderr)
}

#[test]
fn check_says_what_the_readme_says() {
    let (readme, folder) = (read("README.md"), tempfile::tempdir().unwrap());
    fs::write(folder.path().join("unstick.toml"), smallest()).unwrap();
    let sample = block(&readme, "text", ": ok: ");
    let said_of_it = said(folder.path(), &["check", "-c", "unstick.toml"]);
    let (of_the_file, of_the_machine) = said_of_it.split_at(sample.len());
    assert_eq!(of_the_file, sample);
    assert!(of_the_machine.starts_with("on this machine: "), "{of_the_machine}");

    let whole = said(&root().join("tests/config/invalid"), &["check", "-c", "five_mistakes.toml"]);
    let problems: Vec<&str> = whole.split("\n\n").collect();
    let sample = block(&readme, "text", "five_mistakes.toml");
    assert!(sample.split("\n\n").count() >= 3, "{sample}");
    sample.split("\n\n").for_each(|shown| assert!(problems.contains(&shown), "{shown}\nis none of\n{whole}"));
}

/// A log line without its time, with every duration replaced by 0.
fn timeless(line: &str) -> String {
    let (_, line) = line.trim_end().split_once("Z ").unwrap_or_else(|| panic!("{line} has no time"));
    match line.split_once(" (in ") {
        Some((before, after)) => format!("{before} (in 0{}", &after[after.find(" ms").unwrap_or_default()..]),
        None => line.to_owned(),
    }
}

#[test]
fn reloads_are_logged_as_the_readme_shows() {
    // The same file on loopback. Additions come at its end, so that its lines keep their numbers.
    let here = |text: &str| text.replace("10.0.0.", "127.0.0.");
    let more = "[admin]\naddress = \"off\"\n[log]\nformat = \"text\"\n";
    let smallest = here(&smallest()).replace("0.0.0.0:8080", "127.0.0.1:0");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("unstick.toml");
    fs::write(&file, format!("{smallest}{more}")).unwrap();
    let mut command = unstick(&["run", "-c", "unstick.toml", "--workers", "1"]);
    command.current_dir(folder.path());
    let mut running = Running::of(command);
    running.line("serving web on");

    let readme = read("README.md");
    let added = smallest.replace("12:3000\"", "12:3000\", \"127.0.0.13:3000\"");
    for (edited, part) in [(&added, "reloaded: "), (&added.replace("balance ", "balanse "), "reload refused")] {
        fs::write(&file, format!("{edited}{more}")).unwrap();
        assert_eq!(timeless(&running.line(part)), timeless(&here(&block(&readme, "text", part))));
    }
}

#[test]
fn errors_look_as_the_readme_shows() {
    let sample = block(&read("README.md"), "text", "x-unstick-error");
    let (head, body) = sample.split_once("\n\n").unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let app = App::over(&[nobody]);
    let response = exchange(&mut connect(app.address), "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(response.text(), body);
    let fields = |head: &str| -> BTreeSet<String> {
        head.lines().filter(|line| !line.is_empty() && !line.starts_with("date: ")).map(str::to_owned).collect()
    };
    assert_eq!(fields(&response.head.replace('\r', "")), fields(head));
}

#[test]
fn every_flag_of_the_readme_exists() {
    let readme = read("README.md");
    let commands = blocks(&readme, "sh").concat();
    let mut count = 0;
    for line in commands.lines().filter_map(|line| line.strip_prefix("unstick ")) {
        let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
        if words[0] == "audit" && cfg!(not(feature = "audit")) {
            continue;
        }
        let help = said(root(), &[words[0], "--help"]);
        for flag in words.iter().filter(|word| word.starts_with('-')) {
            assert!(help.split([' ', ',', '\n']).any(|word| word == *flag), "{line}: {flag}\n{help}");
            count += 1;
        }
    }
    assert!(count >= 4, "only {count} flags in {commands}");
}

#[test]
fn an_endpoint_looks_as_operations_shows() {
    let app = App::over(&["127.0.0.1:1".parse().unwrap()]);
    let sample: serde_json::Value =
        serde_json::from_str(&block(&read("docs/operations.md"), "json", "in_flight")).unwrap();
    let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&sample), keys(&app.status()["pools"][0]["endpoints"][0]));
}

/// The type and the labels of each metric, by name.
type Metrics = BTreeMap<String, (String, BTreeSet<String>)>;

/// The metrics of a scrape, by the names under which they are asked for.
fn scraped(page: &str) -> Metrics {
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let metric = |(name, kind): (&str, &str)| {
        let name = name.to_owned();
        let sample = if kind == "histogram" { format!("{name}_sum") } else { name.clone() };
        let line = page.lines().find_map(|line| line.strip_prefix(&sample).filter(|rest| rest.starts_with(['{', ' '])));
        let line = line.unwrap_or_else(|| panic!("no sample of {name}"));
        let labels = line.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(labels, _)| labels);
        let labels = labels.split(',').filter_map(|label| label.split_once('=')).map(|(label, _)| label.to_owned());
        (name, (kind.to_owned(), labels.collect()))
    };
    types.map(metric).collect()
}

#[test]
fn operations_lists_every_metric() {
    let folder = tempfile::tempdir().unwrap();
    Authority::new("ca").issue(folder.path(), "a", &["a.test"]);
    let listen = "[listen.web]\naddress = \"127.0.0.1:0\"\ntls = { cert = \"a.pem\", key = \"a.key\" }\n";
    let admin = "[admin]\naddress = \"127.0.0.1:0\"\n";
    let file = folder.path().join("unstick.toml");
    let route = "[[route]]\nrate = { requests = 1, in = \"1m\" }\n";
    fs::write(&file, format!("{listen}{admin}{}", pool_of(&["127.0.0.1:1".parse().unwrap()], "", route))).unwrap();
    let app = App::start_file(folder, file, 1);
    let found = scraped(&app.admin_get("/metrics").text());
    let listed =
        rows(&read("docs/operations.md"), "Metrics").into_iter().filter(|row| row.len() == 4 && row[0] != "metric");
    let labels = |cell: &str| cell.split(", ").filter(|label| !label.is_empty()).map(str::to_owned).collect();
    let listed: Metrics = listed.map(|row| (row[0].clone(), (row[1].clone(), labels(&row[2])))).collect();
    assert_eq!(listed, found);
}

/// What the arms of a `match` in fn `name` of `impl Cause` lead to: the next word after them that `value` accepts.
fn arms(source: &str, name: &str, value: impl Fn(&str) -> Option<String>) -> BTreeMap<String, String> {
    let body = source.split(&format!("fn {name}(self)")).nth(1).unwrap_or_else(|| panic!("no fn {name}"));
    let body = body.split("\n    }\n").next().unwrap_or_default();
    let (mut arms, mut waiting) = (BTreeMap::new(), Vec::new());
    for word in body.split_whitespace().map(|word| word.trim_end_matches(',')) {
        if let Some(variant) = word.strip_prefix("Self::") {
            waiting.push(variant.trim_end_matches("(_)").to_owned());
        } else if let Some(value) = value(word) {
            arms.extend(waiting.drain(..).map(|variant| (variant, value.clone())));
        }
    }
    arms
}

#[test]
fn operations_lists_every_cause() {
    let sources = fs::read_dir(root().join("src/proxy")).unwrap().map(|entry| entry.unwrap().path());
    let mut sources = sources.filter(|path| path.is_file()).map(|path| fs::read_to_string(path).unwrap());
    let source =
        sources.find(|source| source.contains("pub(super) enum Cause {") || source.contains("pub(crate) enum Cause {"));
    let source = source.expect("some file of src/proxy has the causes");
    let names = arms(&source, "name", |word| Some(word.strip_prefix('"')?.strip_suffix('"')?.to_owned()));
    let statuses = arms(&source, "status", |word| word.strip_prefix("StatusCode::").map(str::to_owned));
    assert!(names.len() >= 19 && names.keys().eq(statuses.keys()), "{names:?} {statuses:?}");
    let known: BTreeMap<&str, &str> = names.iter().map(|(cause, name)| (&**name, &*statuses[cause])).collect();

    let listed =
        rows(&read("docs/operations.md"), "Errors").into_iter().filter(|row| row.len() == 5 && row[0] != "cause");
    let status = |cell: &str| {
        let reason = StatusCode::from_bytes(cell.as_bytes()).unwrap().canonical_reason().unwrap();
        reason.to_ascii_uppercase().replace(' ', "_")
    };
    let listed: BTreeMap<String, String> = listed.map(|row| (row[0].clone(), status(&row[1]))).collect();
    let listed: BTreeMap<&str, &str> = listed.iter().map(|(name, status)| (&**name, &**status)).collect();
    assert_eq!(listed, known);
}

#[test]
fn operations_lists_every_deadline_and_bound_with_its_default() {
    let (reference, operations) = (read("config/reference.toml"), read("docs/operations.md"));
    for (table, heading, prefix) in [("timeouts", "Deadlines", ""), ("limits", "Bounds", "limits.")] {
        let section = reference.split(&format!("\n[{table}]\n")).nth(1).unwrap().split("\n[").next().unwrap();
        let keys = section.lines().filter(|line| !line.starts_with(['#', ' '])).filter_map(|line| line.split_once('='));
        let by_memory = ["connections", "h2_streams"];
        let default =
            |key: &str, value: &str| match value.split('#').next().unwrap_or_default().trim().trim_matches('"') {
                "0s" => "none".to_owned(),
                "0B" => "no limit".to_owned(),
                "0" if by_memory.contains(&key) => "[by memory](#memory-cpus-and-file-descriptors)".to_owned(),
                "0" => "any number".to_owned(),
                value => value.to_owned(),
            };
        let expected: BTreeMap<_, _> =
            keys.map(|(key, value)| (format!("{prefix}{}", key.trim()), default(key.trim(), value))).collect();
        let rows = rows(&operations, heading).into_iter().filter(|row| row.len() == 4 && row[0] != "key");
        let listed = rows.map(|row| (row[0].clone(), row[1].clone()));
        let is_of_the_table = |(key, _): &(String, String)| match prefix {
            "" => !key.contains('.'),
            prefix => key.starts_with(prefix),
        };
        assert!(expected.len() >= 9, "{expected:?}");
        assert_eq!(listed.filter(is_of_the_table).collect::<BTreeMap<_, _>>(), expected, "[{table}]");
    }
}

/// Every recipe of the cookbook is a whole config, and does what its text says.
#[test]
fn recipes_are_valid() {
    let recipes = blocks(&read("docs/cookbook.md"), "toml");
    // A part of the recipe, a request, and what becomes of it.
    let expected = [
        ("split = {", "GET http://a.test/", "pool app"),
        ("pool = \"blue\"", "GET http://a.test/", "pool blue"),
        ("maintenance = true", "GET http://a.test/", "503 maintenance"),
        ("listen.inner", "GET http://a.test/admin", "404"),
        ("2GiB", "PUT http://a.test/files/7", "pool app"),
        ("x-powered-by", "GET http://a.test/", "pool app"),
        ("=/login", "POST http://a.test/login", "pool app"),
        ("=/ping", "GET http://a.test/ping", "200"),
        ("www.example.com", "", ""),
        ("/api/admin", "GET http://a.test/api/admin/x", "403 forbidden"),
    ];
    assert_eq!(recipes.len(), expected.len());
    for (recipe, (part, request, expected)) in recipes.iter().zip(expected) {
        assert!(recipe.contains(part), "another recipe than {part}:\n{recipe}");
        let config = config::parse("recipe.toml", recipe).unwrap_or_else(|problems| panic!("{problems}"));
        let Some((method, url)) = request.split_once(' ') else { continue };
        let request = http::Request::builder().method(method).uri(url).header("host", "a.test").body(()).unwrap();
        let listener = recipe.contains("listen.public").then(|| "public".to_owned());
        let question = Question { listener, peer: [192, 0, 2, 1].into(), request };
        let found = match answer(&config, question).unwrap().explained.outcome {
            Outcome::Pool(pool) => format!("pool {pool}"),
            Outcome::Here(status, _) => status.as_u16().to_string(),
            Outcome::Refused(status, cause, _) => format!("{} {cause}", status.as_u16()),
        };
        assert_eq!(found, expected, "{part}");
    }
}
