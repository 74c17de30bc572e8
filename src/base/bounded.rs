//! Tables and queues with a fixed bound, a deterministic order and a count of every refusal.

use std::collections::VecDeque;
use std::hash::Hash;

use indexmap::IndexMap;

/// The table is full; the value comes back to the caller, who owes an answer for it.
#[derive(Debug, PartialEq, Eq)]
pub struct Full<T>(pub T);

/// A hash table of at most `capacity` entries, pre-sized so that it never grows. Iterates in
/// insertion order as long as entries are removed with `remove` (order of the last entry may
/// change: swap-remove), which is the same for the same history.
#[derive(Debug)]
pub struct BoundedMap<K, V> {
    map: IndexMap<K, V>,
    capacity: usize,
    refused: u64,
}

impl<K: Hash + Eq, V> BoundedMap<K, V> {
    /// `capacity` is the bound; memory for at most 4,096 entries is taken at once, the rest on demand.
    pub fn new(capacity: usize) -> Self {
        Self { map: IndexMap::with_capacity(capacity.min(4096)), capacity, refused: 0 }
    }

    /// Inserts or replaces. A new key past the bound is refused and counted.
    pub fn insert(&mut self, key: K, value: V) -> Result<Option<V>, Full<V>> {
        if self.map.len() >= self.capacity && !self.map.contains_key(&key) {
            self.refused += 1;
            return Err(Full(value));
        }
        Ok(self.map.insert(key, value))
    }

    pub fn get<Q: ?Sized + Hash + indexmap::Equivalent<K>>(&self, key: &Q) -> Option<&V> {
        self.map.get(key)
    }

    pub fn get_mut<Q: ?Sized + Hash + indexmap::Equivalent<K>>(&mut self, key: &Q) -> Option<&mut V> {
        self.map.get_mut(key)
    }

    pub fn remove<Q: ?Sized + Hash + indexmap::Equivalent<K>>(&mut self, key: &Q) -> Option<V> {
        self.map.swap_remove(key)
    }

    pub fn contains_key<Q: ?Sized + Hash + indexmap::Equivalent<K>>(&self, key: &Q) -> bool {
        self.map.contains_key(key)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.map.iter()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.map.iter_mut()
    }

    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.map.keys()
    }

    /// The entry that has been in the table longest (approximately, after removals).
    pub fn oldest(&self) -> Option<(&K, &V)> {
        self.map.first()
    }

    pub fn len(&self) -> usize {
        self.map.len()
    }

    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    pub fn is_full(&self) -> bool {
        self.map.len() >= self.capacity
    }

    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many inserts were refused since the start.
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

/// A first-in first-out queue of at most `capacity` items.
#[derive(Debug)]
pub struct BoundedQueue<T> {
    items: VecDeque<T>,
    capacity: usize,
    refused: u64,
}

impl<T> BoundedQueue<T> {
    pub fn new(capacity: usize) -> Self {
        Self { items: VecDeque::with_capacity(capacity.min(4096)), capacity, refused: 0 }
    }

    pub fn push(&mut self, item: T) -> Result<(), Full<T>> {
        if self.items.len() >= self.capacity {
            self.refused += 1;
            return Err(Full(item));
        }
        self.items.push_back(item);
        Ok(())
    }

    pub fn pop(&mut self) -> Option<T> {
        self.items.pop_front()
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter()
    }

    pub fn len(&self) -> usize {
        self.items.len()
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub fn refused(&self) -> u64 {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_map_gives_the_value_back_and_counts() {
        let mut map = BoundedMap::new(1);
        assert_eq!(map.insert("a", 1), Ok(None));
        assert_eq!(map.insert("b", 2), Err(Full(2)));
        assert_eq!(map.insert("a", 3), Ok(Some(1)));
        assert_eq!((map.len(), map.refused()), (1, 1));
        assert_eq!(map.remove("a"), Some(3));
        assert_eq!(map.insert("b", 2), Ok(None));
    }

    #[test]
    fn a_full_queue_gives_the_item_back_and_counts() {
        let mut queue = BoundedQueue::new(2);
        assert_eq!((queue.push(1), queue.push(2), queue.push(3)), (Ok(()), Ok(()), Err(Full(3))));
        assert_eq!((queue.pop(), queue.refused()), (Some(1), 1));
    }
}
