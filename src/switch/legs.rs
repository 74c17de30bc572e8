//! The table of legs: found by their own key, and by the call that they belong to.

use std::collections::BTreeSet;

use super::leg::Leg;
use crate::base::bounded::BoundedMap;
use crate::base::id::{CallKey, LegKey};

/// Every leg belongs to one call for as long as it lives. The second index is there because a call's end
/// must not look through the legs of thousands of others.
pub struct Legs {
    all: BoundedMap<LegKey, Leg>,
    of_calls: BTreeSet<(CallKey, LegKey)>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // asked as the other tables are
impl Legs {
    pub fn new(capacity: usize) -> Self {
        Self { all: BoundedMap::new(capacity), of_calls: BTreeSet::new() }
    }

    /// Whether there was room.
    pub fn insert(&mut self, key: LegKey, leg: Leg) -> bool {
        let call = leg.call;
        let room = self.all.insert(key, leg).is_ok();
        if room {
            self.of_calls.insert((call, key));
        }
        room
    }

    pub fn remove(&mut self, key: &LegKey) -> Option<Leg> {
        let leg = self.all.remove(key)?;
        self.of_calls.remove(&(leg.call, *key));
        Some(leg)
    }

    /// A leg goes over to another call.
    pub fn rehome(&mut self, key: LegKey, call: CallKey) {
        let Some(leg) = self.all.get_mut(&key) else { return };
        self.of_calls.remove(&(std::mem::replace(&mut leg.call, call), key));
        self.of_calls.insert((call, key));
    }

    pub fn get(&self, key: &LegKey) -> Option<&Leg> {
        self.all.get(key)
    }

    pub fn get_mut(&mut self, key: &LegKey) -> Option<&mut Leg> {
        self.all.get_mut(key)
    }

    /// The legs of a call, the oldest first.
    pub fn of(&self, call: CallKey) -> Vec<LegKey> {
        let range = (call, LegKey(0))..=(call, LegKey(u64::MAX));
        self.of_calls.range(range).map(|(_, leg)| *leg).collect()
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn is_full(&self) -> bool {
        self.all.is_full()
    }
}

#[cfg(test)]
mod tests {
    use super::super::leg::{Description, Role};
    use super::*;
    use crate::base::time::Now;

    #[test]
    fn a_call_has_its_own_legs_and_a_refused_leg_leaves_nothing() {
        let leg = |call| {
            let here = ([127, 0, 0, 1], 5060).into();
            Leg::new(CallKey(call), Role::Caller, here, Description::Settled, Now::read().at)
        };
        let mut legs = Legs::new(3);
        for (key, call) in [(1, 7), (2, 8), (3, 7)] {
            assert!(legs.insert(LegKey(key), leg(call)));
        }
        assert!(legs.is_full() && !legs.insert(LegKey(4), leg(7)));
        assert_eq!((legs.of(CallKey(7)), legs.of(CallKey(8))), (vec![LegKey(1), LegKey(3)], vec![LegKey(2)]));
        legs.rehome(LegKey(2), CallKey(7));
        assert_eq!((legs.of(CallKey(7)).len(), legs.of(CallKey(8))), (3, vec![]));
        legs.rehome(LegKey(2), CallKey(8));
        assert!(legs.remove(&LegKey(1)).is_some() && legs.remove(&LegKey(1)).is_none());
        assert_eq!((legs.of(CallKey(7)), legs.of(CallKey(9)), legs.len()), (vec![LegKey(3)], vec![], 2));
        assert_eq!(legs.of_calls.len(), 2);
    }
}
