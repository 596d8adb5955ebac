//! The replicas of a pool: `backends = [...]` and `[[pool.NAME.backend]]`.

use std::collections::BTreeMap;

use toml::de::DeValue;
use unstick_reading::{Section, Value};

use super::key::{self, Key, Kind, Shown, keys};
use super::kinds::{Number, Word, list, quoted};
use super::model::{Backend, BackendAddress, BackendState};
use super::values;

/// Both forms, in their order.
pub(super) struct Backends;

const STATES: &[(&str, BackendState)] =
    &[("ready", BackendState::Ready), ("drain", BackendState::Drain), ("down", BackendState::Down)];

/// Every key of a backend but its address, which is required.
const KEYS: &[Key<Backend>] = keys!(Backend { weight: Number(1..=256), state: Word(STATES) });

impl Kind<Vec<Backend>> for Backends {
    fn read(&self, section: &Section<'_>, _: &'static str) -> Option<Vec<Backend>> {
        let mut backends: Vec<Backend> = Vec::new();
        let mut places: BTreeMap<BackendAddress, usize> = BTreeMap::new();
        let arrays = ["backends", "backend"].map(|key| section.get(key).and_then(|value| value.array()));
        for value in arrays.into_iter().flatten().flatten() {
            let backend = backend(&value);
            let place = value.span.start;
            if let Some(first) = places.get(&backend.address) {
                let first = value.sink.line_seen_from(*first, place);
                let help = "remove one of the two; weight = 2 gives a backend twice the traffic".to_owned();
                value.report(format!("{} is in this pool already, in {first}", backend.address), Some(help));
            }
            places.entry(backend.address.clone()).or_insert(place);
            backends.push(backend);
        }
        Some(backends)
    }

    fn show(&self, key: &str, value: &Vec<Backend>, shown: &mut Shown) {
        shown.add(key, list(value.iter().map(written)));
    }
}

/// A backend as the file would say it, in the short form if that is enough.
fn written(backend: &Backend) -> String {
    let Backend { address, weight, state } = backend;
    let address = quoted(&address.to_string());
    if (*weight, *state) == (Backend::WEIGHT, BackendState::default()) {
        return address;
    }
    let state = Word(STATES).name(*state);
    format!("{{ address = {address}, weight = {weight}, state = \"{state}\" }}")
}

/// A string or a table. What is wrong with it was reported; a stand-in keeps the pool from seeming empty.
fn backend(value: &Value<'_>) -> Backend {
    match value.value {
        DeValue::String(_) => Backend::new(value.parsed(values::backend_address).unwrap_or_else(|| stand_in(value))),
        DeValue::Table(table) => {
            let section = Section::new(&value.key, "pool.*.backend", table, value.span.clone(), value.sink);
            let address = section.get("address");
            let mut backend = Backend::new(stand_in(value));
            key::read(&section, KEYS, &mut backend);
            section.finish();
            match address {
                Some(address) => {
                    backend.address = address.parsed(values::backend_address).unwrap_or(backend.address);
                }
                None => {
                    let help = "add address = \"127.0.0.1:3000\"";
                    section.missing("address", value.span.clone(), "this backend has no address", help);
                }
            }
            backend
        }
        _ => {
            value.wrong_type("\"host:port\" or a table with address");
            Backend::new(stand_in(value))
        }
    }
}

/// An address that nobody can have written, different for each place in the file.
fn stand_in(value: &Value<'_>) -> BackendAddress {
    BackendAddress::Name { host: format!("?{}", value.span.start), port: 0 }
}
