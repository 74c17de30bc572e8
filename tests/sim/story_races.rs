//! Messages that cross or are lost, at every moment of a call.

use hulplijn::sim::phone::{Deed, Script};
use hulplijn::sim::world::World;

#[test]
fn rfc3261_14_a_re_invite_proves_that_the_answer_arrived_also_when_its_ack_is_lost() {
    let mut world = World::open();
    world.calls(
        "kim",
        "1712",
        Script { acks_lost: 1000, ..Script::default() }.then(2, Deed::Reinvite("sendrecv")),
    );
    world.run_s(3);
    assert_eq!(world.hears("kim"), "welcome emergency");
    world.finish();
}
