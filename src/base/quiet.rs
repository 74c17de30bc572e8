//! `Debug` that gives nothing away. What holds a caller's words, address, keys or voice says its own name and
//! no more, so that no log line, panic or failed assertion can print them.

/// `quiet_debug!(Packet<'_> => "Packet")`: the type prints as this word.
macro_rules! quiet_debug {
    ($($type:ty => $word:literal),+ $(,)?) => {$(
        impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str($word)
            }
        }
    )+};
}
pub(crate) use quiet_debug;
