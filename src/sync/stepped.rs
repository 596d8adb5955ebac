//! The types of `sync` with a step in front of each operation. Outside a model a step does nothing.

#![allow(unreachable_pub, reason = "they stand for types that are public")]

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{self, Ordering};
use std::sync::{self, Arc, LockResult, PoisonError};

use tokio::sync::futures::Notified;

use super::model::{is_running, step};

macro_rules! atomic {
    ($name:ident, $value:ty) => {
        #[derive(Debug, Default)]
        pub struct $name(atomic::$name);

        #[allow(dead_code, reason = "not every type needs every operation")]
        impl $name {
            pub const fn new(value: $value) -> Self {
                Self(atomic::$name::new(value))
            }

            pub fn load(&self, order: Ordering) -> $value {
                step();
                self.0.load(order)
            }

            pub fn store(&self, value: $value, order: Ordering) {
                step();
                self.0.store(value, order);
            }

            pub fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                step();
                self.0.compare_exchange(current, new, success, failure)
            }

            /// The loop of the standard library, with a step before each of its operations.
            pub fn fetch_update(
                &self,
                set: Ordering,
                fetch: Ordering,
                mut change: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                let mut seen = self.load(fetch);
                while let Some(next) = change(seen) {
                    match self.compare_exchange(seen, next, set, fetch) {
                        Err(now) => seen = now,
                        done => return done,
                    }
                }
                Err(seen)
            }
        }
    };
}

macro_rules! counting {
    ($name:ident, $value:ty) => {
        atomic!($name, $value);

        #[allow(dead_code, reason = "not every type needs every operation")]
        impl $name {
            pub fn fetch_add(&self, n: $value, order: Ordering) -> $value {
                step();
                self.0.fetch_add(n, order)
            }

            pub fn fetch_sub(&self, n: $value, order: Ordering) -> $value {
                step();
                self.0.fetch_sub(n, order)
            }
        }
    };
}

atomic!(AtomicBool, bool);
counting!(AtomicU8, u8);
counting!(AtomicU32, u32);
counting!(AtomicU64, u64);
counting!(AtomicUsize, usize);

/// The gate is the lock of the model: it lets others go on while one waits, and a model in which all wait fails.
#[derive(Debug, Default)]
pub struct Mutex<T> {
    gate: shuttle::sync::Mutex<()>,
    value: sync::Mutex<T>,
}

impl<T> Mutex<T> {
    pub const fn new(value: T) -> Self {
        Self { gate: shuttle::sync::Mutex::new(()), value: sync::Mutex::new(value) }
    }

    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        let gate = is_running().then(|| self.gate.lock().unwrap_or_else(PoisonError::into_inner));
        match self.value.lock() {
            Ok(value) => Ok(MutexGuard { value, _gate: gate }),
            Err(poisoned) => Err(PoisonError::new(MutexGuard { value: poisoned.into_inner(), _gate: gate })),
        }
    }
}

/// The value is let go of before the gate, as the order of the fields says.
#[derive(Debug)]
pub struct MutexGuard<'a, T> {
    value: sync::MutexGuard<'a, T>,
    _gate: Option<shuttle::sync::MutexGuard<'a, ()>>,
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

/// What happens within tokio's own is one step.
#[derive(Debug, Default)]
pub struct Notify(tokio::sync::Notify);

impl Notify {
    pub fn notify_one(&self) {
        step();
        self.0.notify_one();
    }

    pub fn notified(&self) -> Notified<'_> {
        step();
        self.0.notified()
    }
}

/// What happens within arc-swap's own is one step.
#[derive(Debug)]
pub struct ArcSwap<T>(arc_swap::ArcSwap<T>);

impl<T> ArcSwap<T> {
    pub fn new(value: Arc<T>) -> Self {
        Self(arc_swap::ArcSwap::new(value))
    }

    pub fn load_full(&self) -> Arc<T> {
        step();
        self.0.load_full()
    }

    pub fn store(&self, value: Arc<T>) {
        step();
        self.0.store(value);
    }
}
