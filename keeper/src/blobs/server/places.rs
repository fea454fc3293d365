//! How many may do something at a time: all together, and each for itself.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

/// Places of one kind. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Places<K: Hash + Eq + Clone>(Arc<Inner<K>>);

#[derive(Debug)]
struct Inner<K> {
    all: usize,
    each: usize,
    taken: Mutex<Taken<K>>,
}

#[derive(Debug)]
struct Taken<K> {
    all: usize,
    each: HashMap<K, usize>,
}

/// No place is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crowded {
    /// The one who asked has all it may have.
    Own,
    /// There is none for anybody.
    All,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place<K: Hash + Eq + Clone> {
    places: Places<K>,
    key: K,
}

impl<K: Hash + Eq + Clone> Places<K> {
    /// `all` places, at most `each` of them for one key.
    pub(super) fn new(all: usize, each: usize) -> Self {
        Self(Arc::new(Inner { all, each, taken: Mutex::new(Taken { all: 0, each: HashMap::new() }) }))
    }

    /// Takes a place for `key`.
    pub(super) fn take(&self, key: K) -> Result<Place<K>, Crowded> {
        let mut taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.each.get(&key).copied().unwrap_or(0);
        if own >= self.0.each {
            return Err(Crowded::Own);
        }
        if taken.all >= self.0.all {
            return Err(Crowded::All);
        }
        taken.all += 1;
        taken.each.insert(key.clone(), own + 1);
        Ok(Place { places: self.clone(), key })
    }
}

impl<K: Hash + Eq + Clone> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.places.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        match taken.each.get_mut(&self.key) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(taken.each.remove(&self.key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_for_each_and_for_all_and_come_back() {
        let places = Places::new(3, 2);
        let mut held = vec![places.take("a"), places.take("a")];
        assert_eq!(places.take("a").err(), Some(Crowded::Own));
        held.push(places.take("b"));
        assert!(held.iter().all(Result::is_ok));
        assert_eq!(places.take("c").err(), Some(Crowded::All));
        drop(held.remove(0));
        assert!(places.take("c").is_ok());
        held.clear();
        let taken = places.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!((taken.all, taken.each.len()), (0, 0));
    }
}
