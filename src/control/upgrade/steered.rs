//! What operators have set of endpoints, as a process sends it to its successor. Versions of unstick may differ, so
//! what is not understood is left out.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::wire::Place;
use crate::control::overrides::{Entry, Override, Overrides, state, word};

/// What is set of one endpoint. Empty words stand for nothing.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Steered {
    pool: String,
    endpoint: Option<Place>,
    /// The entry of the file, as it is there.
    backend: String,
    backend_weight: u16,
    backend_state: String,
    /// What is set.
    state: String,
    weight: Option<u16>,
    /// When, in milliseconds since 1970, and by whom.
    since_ms: u64,
    by: String,
}

/// What a process sends.
pub(super) fn offer(overrides: &Overrides) -> Vec<Steered> {
    let since_ms = |at: SystemTime| {
        let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or_default()
    };
    let one = |(pool, address, one): (&str, _, &Override)| {
        let Override { entry: Entry { address: backend, weight, state }, state: set, weight: set_weight, since, by } =
            one;
        Steered {
            pool: pool.to_owned(),
            endpoint: Some(Place::from(address)),
            backend: backend.clone(),
            backend_weight: *weight,
            backend_state: word(*state).to_owned(),
            state: set.map(word).unwrap_or_default().to_owned(),
            weight: *set_weight,
            since_ms: since_ms(*since),
            by: by.clone(),
        }
    };
    overrides.all().map(one).collect()
}

/// What a successor makes of it.
pub(super) fn take(offered: Vec<Steered>) -> Overrides {
    let mut overrides = Overrides::default();
    for one in offered {
        let Steered { pool, endpoint, backend, backend_weight, backend_state, state: set, weight, since_ms, by } = one;
        let (Some(endpoint), Some(backend_state)) = (endpoint, state(&backend_state)) else { continue };
        let entry = Entry { address: backend, weight: backend_weight, state: backend_state };
        let since = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(since_ms));
        let since = since.unwrap_or(SystemTime::UNIX_EPOCH);
        let set = Override { entry, state: state(&set), weight: weight.filter(|weight| *weight > 0), since, by };
        overrides.insert(&pool, endpoint.into(), set);
    }
    overrides
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::config::address::Address;
    use crate::config::model::BackendState;
    use crate::control::overrides::Setting;

    #[test]
    fn what_is_set_arrives_as_it_was() {
        let text = "listen.web.address = ':1'\npool.app.backends = ['a.test:1', 'unix:/run/app.sock']\n";
        let config = config::parse("test.toml", text).unwrap();
        let [named, unix] = [0, 1].map(|nth| config.pools["app"].backends[nth].clone());
        let mut overrides = Overrides::default();
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_234);
        let (one, other) =
            (Address::from(([10, 0, 0, 1], 1)), Address::Unix(std::path::Path::new("/run/app.sock").into()));
        overrides.set(("app", &one, &named), Setting::State(BackendState::Down), ("unix", at)).unwrap();
        overrides.set(("app", &one, &named), Setting::Weight(7), ("unix", at)).unwrap();
        overrides.set(("app", &other, &unix), Setting::Weight(3), ("127.0.0.1", at)).unwrap();
        let sent = serde_json::to_string(&offer(&overrides)).unwrap();
        assert_eq!(take(serde_json::from_str(&sent).unwrap()), overrides, "{sent}");
        assert_eq!(overrides.clone().keep(&config), [""; 0]);
    }

    #[test]
    fn what_another_version_says_is_left_out_if_it_is_not_understood() {
        let known = r#""pool": "app", "endpoint": {"tcp": "10.0.0.1:1"}, "backend": "10.0.0.1:1", "backend_weight": 1"#;
        for (rest, expected) in [
            (r#", "backend_state": "ready", "state": "drain", "later": [1]"#, 1),
            (r#", "backend_state": "ready", "state": "asleep""#, 0),
            (r#", "backend_state": "asleep", "state": "drain""#, 0),
            (r#", "backend_state": "ready", "weight": 0, "since_ms": 18446744073709551615"#, 0),
            ("", 0),
        ] {
            let offered: Steered = serde_json::from_str(&format!("{{{known}{rest}}}")).unwrap();
            assert_eq!(take(vec![offered]).all().count(), expected, "{rest}");
        }
    }
}
