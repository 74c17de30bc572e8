//! Who is rung: lines, the queue and the choice; pure.
