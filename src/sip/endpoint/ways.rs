//! Transactions by where they send: when a way fails, only those that used it are looked at, not all that
//! thousands of other calls have left in the table. Servers are here for streams only.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};

use super::call::reopened;
use super::{Endpoint, Machine, Now, TxId, User};
use crate::base::id::FlowKey;
use crate::sip::flow::{Destination, Flow, Transport};

#[derive(Default)]
pub(super) struct Ways {
    users: BTreeSet<(Destination, TxId)>,
}

impl Ways {
    pub(super) fn add(&mut self, to: Destination, id: TxId) {
        self.users.insert((to, id));
    }

    pub(super) fn remove(&mut self, to: Destination, id: TxId) {
        self.users.remove(&(to, id));
    }

    /// Those that send exactly there.
    pub(super) fn to(&self, to: Destination) -> Vec<TxId> {
        self.users.range((to, TxId(0))..=(to, TxId(u64::MAX))).map(|(_, id)| *id).collect()
    }

    /// Those that send over this stream.
    pub(super) fn over(&self, key: FlowKey) -> Vec<TxId> {
        // The smallest flow of that key; the key is what flows are ordered by first.
        let local = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let first = Destination::Flow(Flow { key, transport: Transport::Udp, local, peer: local });
        self.users
            .range((first, TxId(0))..)
            .take_while(|(to, _)| matches!(to, Destination::Flow(flow) if flow.key == key))
            .filter(|(to, _)| to.transport().is_reliable())
            .map(|(_, id)| *id)
            .collect()
    }
}

impl Endpoint {
    /// These can't send the way that they did.
    pub(super) fn fail_transport(&mut self, now: Now, ids: Vec<TxId>) {
        for id in ids {
            if self.as_datagram(now, id) {
                continue;
            }
            let Some(slot) = self.slots.get_mut(&id) else { continue };
            let actions = match &mut slot.machine {
                Machine::InviteClient(m) => m.on_transport_error(),
                Machine::Client(m) => m.on_transport_error(),
                // A response that cannot be sent is not worth ending a call for.
                Machine::InviteServer(_) | Machine::Server(_) => {
                    self.reopen(id);
                    continue;
                }
            };
            self.perform(now, id, actions, None);
        }
    }

    /// What is still to be answered when its connection has gone is answered over a new one (18.2.2).
    fn reopen(&mut self, id: TxId) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let (old, user) = (slot.to, slot.user);
        let via = slot.request.as_ref().and_then(|r| crate::sip::transaction::top_via(&r.headers));
        let Some(new) = reopened(old, via.and_then(|via| via.port)) else { return };
        slot.to = new;
        self.ways.remove(old, id);
        self.ways.add(new, id);
        if let User::Invite(key) | User::Reinvite(key) = user {
            let ok = self.calls.get_mut(&key).and_then(|call| call.ok.as_mut());
            if let Some(ok) = ok.filter(|ok| ok.to == old) {
                ok.to = new;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_that_fails_takes_its_own_transactions_and_no_others() {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let flow = |key, transport, peer| {
            Destination::Flow(Flow { key: FlowKey(key), transport, local: at(5060), peer: at(peer) })
        };
        let address = Destination::address(Transport::Udp, at(7));
        let mut ways = Ways::default();
        let all = [
            (flow(1, Transport::Tcp, 2), 10),
            (flow(2, Transport::Tcp, 1), 11),
            (flow(2, Transport::Tcp, 1), 12),
            (flow(3, Transport::Udp, 1), 13),
            (flow(3, Transport::Udp, 2), 14),
            (address, 15),
        ];
        for (to, id) in all {
            ways.add(to, TxId(id));
        }
        assert_eq!(ways.over(FlowKey(2)), [TxId(11), TxId(12)]);
        assert!(ways.over(FlowKey(3)).is_empty(), "a listener for datagrams is never closed");
        assert!(ways.over(FlowKey(4)).is_empty());
        assert_eq!((ways.to(flow(3, Transport::Udp, 2)), ways.to(address)), (vec![TxId(14)], vec![TxId(15)]));
        ways.remove(flow(2, Transport::Tcp, 1), TxId(11));
        assert_eq!(ways.over(FlowKey(2)), [TxId(12)]);
    }
}
