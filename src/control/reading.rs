//! Reads the config and every file that it names, away from the control thread, for one reload after the other.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::Instant;

use super::build::{Material, Protocols, protocols};
use super::files::Files;
use super::plans::pages;
use super::reload::Source;
use super::reloads::CERTIFICATE_CHANGE;
use super::watch::{Look, POLL};
use crate::config::model::{Protocol, Traces, UpstreamTls};
use crate::config::{self, Config, Listener, Origin};
use crate::listen::tls::ServerTls;
use crate::pool::protocol::PoolProtocol;

/// A file that cannot be read for no longer than this is being replaced.
const REPLACED_WITHIN: Duration = Duration::from_secs(1);

/// Why the config is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trigger {
    /// Somebody asks for it.
    Signal,
    /// Somebody asks for it over the admin port.
    Admin,
    /// The file may have changed.
    File(Look),
    /// A TLS file of a pool was replaced. The config is not read, because an unfinished edit in it must not interfere.
    Certificates,
}

impl Trigger {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Signal => "signal",
            Self::Admin => "admin",
            Self::File(_) => "file change",
            Self::Certificates => CERTIFICATE_CHANGE,
        }
    }
}

/// The TLS settings of listeners by name, each with the listener that it was loaded for.
pub(super) type ListenerTls = HashMap<String, (Listener, Arc<ServerTls>)>;

/// What the files that a config names contain.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) material: Material,
    /// The TLS settings of listeners, by name.
    pub(super) tls: HashMap<String, Arc<ServerTls>>,
}

impl Contents {
    /// Reads the files that `config` names, but not those that are the same as at `present`. It blocks.
    ///
    /// # Errors
    /// Each file that is not usable, and why.
    pub(super) fn read(config: &Config, present: Option<&Present>) -> Result<Self, Vec<String>> {
        let (mut contents, mut problems) = (Self::default(), Vec::new());
        for listener in &config.listeners {
            let Some(wanted) = &listener.tls else { continue };
            // Certificates that stay keep their tickets.
            let mut in_use = present.iter().flat_map(|present| present.in_use.values());
            let kept =
                in_use.find(|(known, tls)| known.address == listener.address && tls.serves(wanted, listener.protocols));
            let tls = match kept {
                Some((_, tls)) => Ok(Arc::clone(tls)),
                None => ServerTls::load(wanted, listener.protocols).map(Arc::new),
            };
            match tls {
                Ok(tls) => _ = contents.tls.insert(listener.name.clone(), tls),
                Err(why) => problems.push(format!("listener {}: {why}", listener.name)),
            }
        }
        match protocols(config, present.map_or(&Protocols::new(), |present| &present.protocols)) {
            Ok(protocols) => contents.material.protocols = protocols,
            Err(why) => problems.push(why),
        }
        match pages(config) {
            Ok(pages) => contents.material.pages = Arc::new(pages),
            Err(why) => problems.extend(why),
        }
        problems.extend(config.log.access.as_ref().and_then(|log| unusable_log(&log.to)));
        // An edit that does not concern traces must not fail because of them.
        let files = |config: &Config| (config.traces.endpoint.clone(), config.traces.ca.clone());
        let is_news = present.is_none_or(|present| files(&present.config) != files(config));
        problems.extend(is_news.then(|| unusable_ca(&config.traces)).flatten());
        if problems.is_empty() { Ok(contents) } else { Err(problems) }
    }
}

/// Why an access log cannot be written there. Nothing is created.
fn unusable_log(target: &config::AccessLogTarget) -> Option<String> {
    let config::AccessLogTarget::File(path) = target else { return None };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let why = match (std::fs::metadata(path), std::fs::metadata(folder)) {
        (Ok(found), _) if found.is_dir() => "it is a folder",
        (Err(_), Ok(folder)) if !folder.is_dir() => "its folder is a file",
        (Err(_), Err(_)) => "its folder does not exist",
        _ => return None,
    };
    Some(format!("log.access: cannot write to {}: {why}", path.display()))
}

/// Why a collector cannot be believed. Its certificates are read again for each connection to it.
fn unusable_ca(traces: &Traces) -> Option<String> {
    traces.endpoint.as_ref().filter(|collector| collector.is_tls)?;
    let settings = UpstreamTls { ca: traces.ca.clone(), ..UpstreamTls::default() };
    PoolProtocol::load(Protocol::Https, &settings, None).err().map(|why| format!("traces: {why}"))
}

/// What a read has brought: a config, or why there is none.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) trigger: Trigger,
    pub(super) result: Result<(Config, Contents), String>,
}

/// What a read needs to know of the present.
pub(super) struct Present {
    pub(super) config: Config,
    pub(super) protocols: Protocols,
    pub(super) in_use: ListenerTls,
}

/// Reads for one reload at a time.
pub(super) struct Reader {
    files: Files,
    source: Source,
    /// The files that were last read, and their contents.
    origin: Origin,
    /// Contents that nobody has said to be whole, and when they were first seen.
    seen_once: Option<(u64, Instant)>,
    /// Whether the last look hung. That is reported once, not at every look.
    is_hanging: bool,
    trouble: Option<Trouble>,
    results: (mpsc::Sender<Outcome>, mpsc::Receiver<Outcome>),
    is_busy: bool,
    /// When the present read began, or the last one.
    began: Instant,
    waiting: BTreeSet<Trigger>,
}

/// How far apart two looks are that find the same, if that means anything. A little less than the time from one to the
/// next where there are no events.
const APART_MIN: Duration = POLL.saturating_sub(Duration::from_millis(100));

/// What a thread has read.
type Outcome = (Trigger, Result<Found, String>);

enum Found {
    /// There is nothing to read.
    Nothing,
    /// The first file cannot be read, for this reason.
    Unreadable(String),
    Fetched(Box<Fetched>),
}

struct Fetched {
    /// The files of the config, if they were read.
    origin: Option<Origin>,
    is_whole: bool,
    config: Option<Result<(Config, Contents), String>>,
}

impl From<Fetched> for Found {
    fn from(fetched: Fetched) -> Self {
        Self::Fetched(Box::new(fetched))
    }
}

/// The first file cannot be read.
struct Trouble {
    since: Instant,
    is_told: bool,
}

impl Reader {
    /// Whether a read is under way, or waits.
    pub(super) fn is_busy(&self) -> bool {
        self.is_busy || !self.waiting.is_empty()
    }

    /// Whether a read is under way.
    pub(super) fn is_reading(&self) -> bool {
        self.is_busy
    }

    pub(super) fn new(files: Files, source: Source, origin: Origin) -> Self {
        let (results, waiting) = (mpsc::channel(1), BTreeSet::new());
        Self {
            files,
            source,
            origin,
            seen_once: None,
            is_hanging: false,
            trouble: None,
            results,
            is_busy: false,
            began: Instant::now(),
            waiting,
        }
    }

    /// Begins to read, or notes that it must be done again after the present read.
    pub(super) fn begin(&mut self, trigger: Trigger, present: impl FnOnce() -> Present) {
        if self.is_busy {
            self.waiting.insert(trigger);
            return;
        }
        (self.is_busy, self.began) = (true, Instant::now());
        let (source, present) = (self.source.clone(), present());
        // After it was said that the file is unreadable, it is also said that it is readable.
        let is_told = self.trouble.as_ref().is_some_and(|trouble| trouble.is_told);
        let origin = self.origin.clone();
        // Events of other files in the folder make further looks, which say nothing.
        let is_old = |seen: &(u64, Instant)| seen.1.elapsed() >= APART_MIN;
        let seen_once = self.seen_once.filter(is_old).map(|(hash, _)| hash);
        let known = (!is_told).then_some(origin.text_hash());
        let (files, sender) = (self.files.clone(), self.results.0.clone());
        spawn_local(async move {
            let read = files.read(move || fetch(trigger, &source, &present, &origin, (known, seen_once))).await;
            sender.send((trigger, read)).await.ok();
        });
    }

    /// What the present read has brought; for ever if there is none. `None` if the file is as it was.
    pub(super) async fn next(&mut self) -> Option<Read> {
        let Some((trigger, read)) = self.results.1.recv().await else { return std::future::pending().await };
        self.is_busy = false;
        let was_hanging = std::mem::replace(&mut self.is_hanging, read.is_err());
        match read {
            Ok(Found::Nothing) => None,
            Ok(Found::Unreadable(why)) => self.unreadable().then_some(Read { trigger, result: Err(why) }),
            Ok(Found::Fetched(fetched)) if !fetched.is_whole => {
                let seen = fetched.origin.map(|origin| (origin.text_hash(), Instant::now()));
                let is_same = |(hash, _): &(u64, Instant)| seen.is_some_and(|(now, _)| now == *hash);
                self.seen_once = self.seen_once.filter(is_same).or(seen);
                None
            }
            Ok(Found::Fetched(fetched)) => {
                let Fetched { origin, config, is_whole: _ } = *fetched;
                if let Some(origin) = origin {
                    (self.origin, self.seen_once, self.trouble) = (origin, None, None);
                }
                config.map(|result| Read { trigger, result })
            }
            Err(_) if matches!(trigger, Trigger::File(_)) && was_hanging => None,
            Err(why) => Some(Read { trigger, result: Err(why) }),
        }
    }

    /// When the read began whose result [`Self::next`] has returned.
    pub(super) fn began(&self) -> Instant {
        self.began
    }

    /// The files of the config.
    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Notes that the file could not be read. Returns whether that is to be told: once, and not while it may be being
    /// replaced.
    fn unreadable(&mut self) -> bool {
        let now = Instant::now();
        let trouble = self.trouble.get_or_insert(Trouble { since: now, is_told: false });
        let is_news = !trouble.is_told && now.duration_since(trouble.since) >= REPLACED_WITHIN;
        trouble.is_told |= is_news;
        is_news
    }

    /// The next read that was asked for meanwhile.
    pub(super) fn take_waiting(&mut self) -> Option<Trigger> {
        self.waiting.pop_first()
    }
}

/// Reads what `trigger` is about: the files of `origin`, of which two hashes are known, that of what was last read and
/// that of what was seen once. It blocks.
fn fetch(
    trigger: Trigger,
    source: &Source,
    present: &Present,
    origin: &Origin,
    (known, seen_once): (Option<u64>, Option<u64>),
) -> Found {
    let contents = |config: Config| {
        let read = Contents::read(&config, Some(present));
        read.map_err(|problems| config.secrets.mask(&problems.join("; "))).map(|contents| (config, contents))
    };
    let Some(file) = source.file.as_deref() else { return Found::Nothing };
    if let Trigger::File(look) = trigger {
        let seen = match origin.look() {
            Ok(Some(seen)) => seen,
            Ok(None) => return Found::Nothing,
            Err(error) => return Found::Unreadable(format!("cannot read {}: {error}", file.display())),
        };
        let text_hash = Some(seen.text_hash());
        // Without the word of the writer, the same contents at two looks are taken for whole.
        let is_whole = look == Look::Whole || seen_once == text_hash;
        if text_hash == known || !is_whole {
            return Fetched { origin: Some(seen), is_whole: text_hash == known, config: None }.into();
        }
    }
    if trigger == Trigger::Certificates {
        let config = Some(contents(present.config.clone()));
        return Fetched { origin: None, is_whole: true, config }.into();
    }
    let (origin, config) = source.read(file);
    let config = config.map_err(|problems| problems.one_line()).and_then(contents);
    Fetched { origin, is_whole: true, config: Some(config) }.into()
}
