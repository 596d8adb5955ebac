//! Looks at the TLS files of listeners and pools, away from the control thread: a file may be on a mount that hangs.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::files::Files;
use super::status::Status;
use crate::net::pem::{Stamps, Watched, stamps};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How often the log warns of certificates that expire soon.
const EXPIRY_LOOK: Duration = Duration::from_secs(24 * 3600);

/// The TLS files of the pools.
#[derive(Debug, Clone, Default)]
pub(super) struct PoolFiles(Rc<RefCell<(Vec<PathBuf>, Watched)>>);

impl PoolFiles {
    /// These files are in use, with the stamps that they had when they were read.
    pub(super) fn set(&self, paths: Vec<PathBuf>, seen: Stamps) {
        *self.0.borrow_mut() = (paths, Watched::new(seen));
    }
}

/// Says when TLS files of pools were replaced.
pub(super) async fn look_after_pools(pools: PoolFiles, replaced: Rc<Notify>) {
    let (files, mut told) = (Files::default(), None);
    loop {
        sleep(LOOK).await;
        let paths = pools.0.borrow().0.clone();
        if paths.is_empty() {
            continue;
        }
        let looked_at = paths.clone();
        let now = match files.read(move || stamps(looked_at.iter())).await {
            Ok(now) => now,
            Err(why) => {
                if told.as_ref() != Some(&why) {
                    tracing::error!("the TLS files of pools cannot be looked at, what was read stays in use: {why}");
                    told = Some(why);
                }
                continue;
            }
        };
        if told.take().is_some() {
            tracing::info!("the TLS files of pools can be looked at again");
        }
        let (present, watched) = &mut *pools.0.borrow_mut();
        if *present == paths && watched.look(now).is_some() {
            replaced.notify_one();
        }
    }
}

/// Puts new certificates of listeners to use, and warns of those that expire soon.
pub(super) async fn look_after_listeners(status: Arc<Status>) {
    let (mut files, mut warned) = (HashMap::<String, Files>::new(), Instant::now());
    loop {
        sleep(LOOK).await;
        let listeners = status.state().tls.clone();
        files.retain(|name, _| listeners.iter().any(|(listener, _)| listener == name));
        let warns = warned.elapsed() >= EXPIRY_LOOK;
        if warns {
            warned = Instant::now();
        }
        for (listener, tls) in listeners {
            // Each has its own threads: one whose files hang must not keep the others from being looked at for ever.
            let (name, looked_at) = (listener.clone(), Arc::clone(&tls));
            let look = files.entry(listener.clone()).or_default().read(move || looked_at.look(&name));
            if let Err(why) = look.await {
                tls.give_up_look(&listener, &why);
            }
            if warns {
                tls.warn_of_expiry();
            }
        }
    }
}
