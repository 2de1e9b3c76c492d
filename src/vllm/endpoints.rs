//! The servers that agents bring, by their address as given: bounded, since their number is the clients' matter.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use moothall_actors::domain::answer::{Class, Failure};

/// Servers outside the pool that are remembered; agents have at most 64 × 32 seats, most of them in the pool.
const MAX_ENDPOINTS: usize = 256;

/// Remembers a server with its connections and its breaker for as long as there is room.
pub(crate) struct Endpoints<T>(Mutex<HashMap<Arc<str>, Arc<T>>>);

impl<T> Default for Endpoints<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Endpoints<T> {
    pub(crate) fn get(&self, address: &str) -> Option<Arc<T>> {
        self.lock().get(address).cloned()
    }

    /// Keeps a server, unless another one was faster. When all places are taken, one that is `idle` makes room.
    pub(crate) fn keep(&self, address: &Arc<str>, made: T, idle: impl Fn(&T) -> bool) -> Result<Arc<T>, Failure> {
        let mut known = self.lock();
        if known.len() >= MAX_ENDPOINTS && !known.contains_key(address) {
            // Whoever has no calls is soon made anew.
            let leaves = known.iter().find(|(_, server)| idle(server)).map(|(at, _)| Arc::clone(at));
            let Some(leaves) = leaves else {
                let why = format!("calls to {MAX_ENDPOINTS} servers outside the pool are under way already");
                return Err(Failure::new(Class::Busy, why));
            };
            known.remove(&leaves);
        }
        Ok(Arc::clone(known.entry(Arc::clone(address)).or_insert_with(|| Arc::new(made))))
    }

    pub(crate) fn all(&self) -> Vec<Arc<T>> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_server_makes_room_and_a_busy_one_does_not() {
        let endpoints = Endpoints::default();
        for number in 0..MAX_ENDPOINTS {
            endpoints.keep(&number.to_string().into(), number, |_| false).unwrap();
        }
        let refused = endpoints.keep(&"more".into(), 0, |_| false).unwrap_err();
        assert_eq!(refused.class, Class::Busy);
        // One that is known needs no room.
        assert_eq!(*endpoints.keep(&"7".into(), 0, |_| false).unwrap(), 7);
        endpoints.keep(&"more".into(), 1, |&number| number == 7).unwrap();
        assert!(endpoints.get("7").is_none() && endpoints.get("more").is_some());
        assert_eq!(endpoints.all().len(), MAX_ENDPOINTS);
    }
}
