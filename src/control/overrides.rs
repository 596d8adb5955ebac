//! What operators have set of endpoints while the process runs, over what the file says.
//!
//! It lasts until the entry of the file changes that an endpoint is from, over all other reloads, and over upgrades.
//! It is data: a snapshot is built from the config, the addresses of names, and this.

use std::collections::BTreeMap;
use std::time::SystemTime;

use crate::config::address::Address;
use crate::config::model::{Backend, BackendState, Config};
use crate::pool::MemberState;

/// The most endpoints of which something may be set at one time. Those of names may come and go.
const OVERRIDES_MAX: usize = 10_000;

/// What is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setting {
    State(BackendState),
    Weight(u16),
}

/// An entry of the file, as it was when something was set of its endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) address: String,
    pub(super) weight: u16,
    pub(super) state: BackendState,
}

impl From<&Backend> for Entry {
    fn from(backend: &Backend) -> Self {
        let Backend { address, weight, state } = backend;
        Self { address: address.to_string(), weight: *weight, state: *state }
    }
}

/// What is set of one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Override {
    pub(crate) entry: Entry,
    /// `None`: as the file says. It never is what the file says.
    pub(crate) state: Option<BackendState>,
    /// Likewise.
    pub(crate) weight: Option<u16>,
    /// When it was set last.
    pub(crate) since: SystemTime,
    /// Who has set it last.
    pub(crate) by: String,
}

impl Override {
    /// What is set, in words.
    pub(super) fn words(&self) -> String {
        let state = self.state.map(|state| word(state).to_owned());
        let weight = self.weight.map(|weight| format!("weight {weight}"));
        state.into_iter().chain(weight).collect::<Vec<_>>().join(" and ")
    }
}

/// All that is set, by pool and address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Overrides(BTreeMap<String, BTreeMap<Address, Override>>);

impl Overrides {
    /// What is set of an endpoint. Of several entries with one address it does not matter which one comes first.
    pub(crate) fn of(&self, pool: &str, address: &Address) -> Option<&Override> {
        self.0.get(pool)?.get(address)
    }

    /// All that is set of endpoints of a pool.
    pub(crate) fn of_pool(&self, pool: &str) -> impl Iterator<Item = (&Address, &Override)> {
        self.0.get(pool).into_iter().flatten()
    }

    /// Sets something of an endpoint that is from this entry. What is then as in the file is no override. Where nothing
    /// changes, it stays known since when it is set, and by whom.
    ///
    /// # Errors
    /// There are too many.
    pub(super) fn set(
        &mut self,
        (pool, address, backend): (&str, &Address, &Backend),
        setting: Setting,
        (by, now): (&str, SystemTime),
    ) -> Result<(), String> {
        let known = self.of(pool, address);
        if known.is_none() && self.all().count() >= OVERRIDES_MAX {
            return Err(format!("{OVERRIDES_MAX} endpoints have something else than the file says already: edit it"));
        }
        let (mut state, mut weight) = known.map_or((None, None), |known| (known.state, known.weight));
        match setting {
            Setting::State(wanted) => state = (wanted != backend.state).then_some(wanted),
            Setting::Weight(wanted) => weight = (wanted != backend.weight).then_some(wanted),
        }
        // It may have been set when another entry had the address.
        let (state, weight) = (state.filter(|set| *set != backend.state), weight.filter(|set| *set != backend.weight));
        if known.is_some_and(|known| (known.state, known.weight) == (state, weight)) {
            return Ok(());
        }
        let next = Override { entry: backend.into(), state, weight, since: now, by: by.to_owned() };
        self.insert(pool, address.clone(), next);
        Ok(())
    }

    /// Takes in what is set of one endpoint. Nothing set is nothing.
    pub(super) fn insert(&mut self, pool: &str, address: Address, one: Override) {
        if one.state.is_some() || one.weight.is_some() {
            self.0.entry(pool.to_owned()).or_default().insert(address, one);
        } else if let Some(pool) = self.0.get_mut(pool) {
            pool.remove(&address);
        }
    }

    /// Forgets what is set of endpoints whose entry is not in `config` any more as it was. Returns what is forgotten,
    /// in words.
    pub(super) fn keep(&mut self, config: &Config) -> Vec<String> {
        let mut ended = Vec::new();
        for (name, pool) in &mut self.0 {
            let entries: Vec<Entry> =
                config.pools.get(name).into_iter().flat_map(|pool| &pool.backends).map(Entry::from).collect();
            let kept = |address: &Address, one: &mut Override| {
                let is_kept = entries.contains(&one.entry);
                if !is_kept {
                    let (what, by) = (one.words(), &one.by);
                    ended.push(format!("pool {name}: {address} is as the file says, no longer {what} (set by {by})"));
                }
                is_kept
            };
            pool.retain(kept);
        }
        self.0.retain(|_, pool| !pool.is_empty());
        ended
    }

    /// All of them: pool, address, and what is set.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &Address, &Override)> {
        self.0.iter().flat_map(|(pool, of)| of.iter().map(|(address, one)| (pool.as_str(), address, one)))
    }
}

/// The word for a state.
pub(crate) fn word(state: BackendState) -> &'static str {
    MemberState::from(state).name()
}

/// The state that a word stands for.
pub(super) fn state(word: &str) -> Option<BackendState> {
    match word {
        "ready" => Some(BackendState::Ready),
        "drain" => Some(BackendState::Drain),
        "down" => Some(BackendState::Down),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    const DRAIN: Setting = Setting::State(BackendState::Drain);

    fn config(backends: &str) -> Config {
        let text = format!("listen.web.address = ':1'\npool.app.backends = [{backends}]\n");
        config::parse("test.toml", &text).unwrap_or_else(|problems| panic!("{problems}"))
    }

    fn set(overrides: &mut Overrides, config: &Config, nth: usize, setting: Setting) {
        let backend = &config.pools["app"].backends[nth];
        let address = backend.address.to_string().parse::<std::net::SocketAddr>().unwrap().into();
        overrides.set(("app", &address, backend), setting, ("unix", SystemTime::UNIX_EPOCH)).unwrap();
    }

    fn left(overrides: &Overrides) -> Vec<String> {
        overrides.all().map(|(_, address, one)| format!("{address} {}", one.words())).collect()
    }

    #[test]
    fn what_is_as_in_the_file_is_no_override() {
        let config = config("'127.0.0.1:1', { address = '127.0.0.1:2', state = 'down', weight = 3 }");
        let mut overrides = Overrides::default();
        set(&mut overrides, &config, 0, Setting::State(BackendState::Ready));
        set(&mut overrides, &config, 1, Setting::Weight(3));
        assert_eq!(left(&overrides), [""; 0]);
        set(&mut overrides, &config, 0, DRAIN);
        set(&mut overrides, &config, 0, Setting::Weight(7));
        set(&mut overrides, &config, 1, Setting::State(BackendState::Ready));
        assert_eq!(left(&overrides), ["127.0.0.1:1 drain and weight 7", "127.0.0.1:2 ready"]);
        set(&mut overrides, &config, 0, Setting::State(BackendState::Ready));
        set(&mut overrides, &config, 1, Setting::State(BackendState::Down));
        assert_eq!(left(&overrides), ["127.0.0.1:1 weight 7"]);
    }

    #[test]
    fn who_changes_nothing_has_set_nothing() {
        let config = config("'127.0.0.1:1'");
        let (address, backend) = (Address::from(([127, 0, 0, 1], 1)), &config.pools["app"].backends[0]);
        let mut overrides = Overrides::default();
        let at = |seconds| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        for (setting, by, second, expected) in [
            (DRAIN, "one", 1, ("one", 1)),
            (DRAIN, "two", 2, ("one", 1)),
            (Setting::Weight(1), "two", 2, ("one", 1)),
            (Setting::Weight(2), "three", 3, ("three", 3)),
        ] {
            overrides.set(("app", &address, backend), setting, (by, at(second))).unwrap();
            let set = overrides.of("app", &address).unwrap();
            assert_eq!((&*set.by, set.since), (expected.0, at(expected.1)), "{setting:?} by {by}");
        }
    }

    #[test]
    fn it_lasts_until_its_entry_changes() {
        let before = config("'127.0.0.1:1', '127.0.0.1:2'");
        for (next, kept) in [
            ("'127.0.0.1:1', '127.0.0.1:2'", true),
            ("'127.0.0.1:3', '127.0.0.1:1'", true),
            ("{ address = '127.0.0.1:1', weight = 1 }", true),
            ("{ address = '127.0.0.1:1', weight = 2 }", false),
            ("{ address = '127.0.0.1:1', state = 'drain' }", false),
            ("'127.0.0.1:2'", false),
        ] {
            let mut overrides = Overrides::default();
            set(&mut overrides, &before, 0, DRAIN);
            let said = overrides.keep(&config(next));
            assert_eq!((said.is_empty(), overrides != Overrides::default()), (kept, kept), "{next}: {said:?}");
        }
    }

    #[test]
    fn it_stays_when_another_entry_comes_to_have_the_address() {
        let before = config("'127.0.0.1:1', 'a.test:1'");
        let mut overrides = Overrides::default();
        set(&mut overrides, &before, 0, DRAIN);
        let after = config("'a.test:1', '127.0.0.1:1'");
        assert_eq!(overrides.keep(&after), [""; 0]);
        let (address, by) = (Address::from(([127, 0, 0, 1], 1)), ("unix", SystemTime::UNIX_EPOCH));
        assert_eq!(overrides.of("app", &address).and_then(|set| set.state), Some(BackendState::Drain));
        let named = ("app", &address, &after.pools["app"].backends[0]);
        overrides.set(named, Setting::Weight(2), by).unwrap();
        assert_eq!(left(&overrides), ["127.0.0.1:1 drain and weight 2"]);
        let drained = config("'127.0.0.1:1', { address = 'a.test:1', state = 'drain' }");
        overrides.set(("app", &address, &drained.pools["app"].backends[1]), Setting::Weight(3), by).unwrap();
        assert_eq!(left(&overrides), ["127.0.0.1:1 weight 3"], "what is as in the file is no override");
    }

    #[test]
    fn there_are_not_any_number_of_them() {
        let config = config("'127.0.0.1:1'");
        let (mut overrides, backend) = (Overrides::default(), &config.pools["app"].backends[0]);
        let address = |nth: usize| Address::from(([127, 0, 0, 1], nth as u16 + 1));
        let at = SystemTime::UNIX_EPOCH;
        for nth in 0..OVERRIDES_MAX {
            overrides.set(("app", &address(nth), backend), DRAIN, ("unix", at)).unwrap();
        }
        let further = overrides.set(("app", &address(OVERRIDES_MAX), backend), DRAIN, ("unix", at));
        assert!(further.unwrap_err().contains("edit it"));
        overrides.set(("app", &address(0), backend), Setting::Weight(2), ("unix", at)).unwrap();
    }
}
