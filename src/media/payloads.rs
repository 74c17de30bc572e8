//! Which payload type stands for what on one stream, each way: by RFC 3264 6.1 each side names the numbers by
//! which it wants to receive.

use super::command::{Codec, Payload, Payloads, Sound};

impl Sound {
    /// Timestamp units a second of its packets.
    pub fn clock(self) -> u32 {
        match self {
            Self::Audio(codec) => codec.clock(),
            Self::Key { clock } => clock,
            Self::Noise => 8000,
        }
    }
}

impl Payloads {
    /// What a payload type of the peer's is. One that sends by its own numbers, where it was to send by ours,
    /// is understood too.
    pub fn sound(&self, payload_type: u8) -> Option<Sound> {
        let ours = self.0.iter().find(|p| p.receive == payload_type);
        ours.or_else(|| self.0.iter().find(|p| p.send == payload_type)).map(|p| p.sound)
    }

    /// By which payload type we send it; `None`: it was not agreed on.
    pub fn send(&self, sound: Sound) -> Option<u8> {
        self.0.iter().find(|p| p.sound == sound).map(|p| p.send)
    }

    /// By which payload type we send keys beside audio of a codec: those of its own clock (RFC 4733 2.1).
    pub fn send_key(&self, beside: Codec) -> Option<u8> {
        self.send(Sound::Key { clock: beside.clock() })
    }

    pub fn takes(&self, codec: Codec) -> bool {
        self.send(Sound::Audio(codec)).is_some()
    }

    /// The same both ways, for each in its order.
    pub fn same_both_ways(list: &[(Sound, u8)]) -> Self {
        list.iter().map(|(sound, pt)| Payload { sound: *sound, receive: *pt, send: *pt }).collect()
    }

    /// G.711 and keys by the numbers that everybody uses.
    pub fn g711() -> Self {
        Self::same_both_ways(&[
            (Sound::Audio(Codec::Pcma), 8),
            (Sound::Audio(Codec::Pcmu), 0),
            (Sound::Key { clock: 8000 }, 101),
        ])
    }

    /// All but keys: what a peer has agreed to that wants them by INFO.
    #[must_use]
    pub fn without_keys(self) -> Self {
        self.0.into_iter().filter(|p| !matches!(p.sound, Sound::Key { .. })).collect()
    }
}

impl FromIterator<Payload> for Payloads {
    fn from_iter<T: IntoIterator<Item = Payload>>(payloads: T) -> Self {
        Self(payloads.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3264_6_1_each_side_receives_by_its_own_numbers() {
        let key = Sound::Key { clock: 8000 };
        let payloads: Payloads = [
            Payload { sound: Sound::Audio(Codec::Pcma), receive: 8, send: 8 },
            Payload { sound: key, receive: 101, send: 96 },
        ]
        .into_iter()
        .collect();
        assert_eq!((payloads.sound(101), payloads.send_key(Codec::Pcma)), (Some(key), Some(96)));
        assert_eq!(payloads.sound(96), Some(key), "a peer that sends by its own numbers");
        assert_eq!((payloads.sound(0), payloads.send(Sound::Noise)), (None, None));
        assert!(payloads.takes(Codec::Pcma) && !payloads.takes(Codec::Pcmu));
    }

    #[test]
    fn a_number_that_is_ours_for_one_thing_and_theirs_for_another_is_read_as_ours() {
        let payloads: Payloads = [
            Payload { sound: Sound::Audio(Codec::Pcmu), receive: 96, send: 97 },
            Payload { sound: Sound::Audio(Codec::Pcma), receive: 97, send: 96 },
        ]
        .into_iter()
        .collect();
        assert_eq!(payloads.sound(96), Some(Sound::Audio(Codec::Pcmu)));
        assert_eq!(payloads.sound(97), Some(Sound::Audio(Codec::Pcma)));
    }
}
