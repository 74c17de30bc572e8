//! What the phone prints: one line for each thing that happens.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::media::command::{Codec, LegStats};
use crate::media::keying::Suite;
use crate::sip::wire::print::reason;

/// One line, without its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// It takes calls here without being registered.
    Listening {
        at: SocketAddr,
    },
    Registered {
        line: String,
        seconds: u64,
    },
    RegistrationRefused {
        status: u16,
    },
    RegistrationLost {
        again_in: Duration,
    },
    Unregistered,
    NobodyCalled,
    Calling {
        uri: String,
    },
    /// The other side rings.
    Ringing {
        status: u16,
    },
    /// This phone rings; what its display shows.
    Rings {
        shown: String,
    },
    Refusing {
        status: u16,
    },
    Answered {
        codec: Codec,
        security: Option<Suite>,
    },
    Refused {
        status: u16,
    },
    NoReply,
    GaveUp,
    CallerGaveUp,
    FirstAudio,
    AudioAgain,
    NoAudioFor {
        quiet: Duration,
    },
    Played,
    Pressed {
        key: char,
        by_info: bool,
    },
    KeyHeard {
        key: char,
    },
    Held,
    TakenBack,
    HeldByOther,
    TakenBackByOther,
    OfferRefused {
        status: u16,
    },
    Transferring {
        to: String,
    },
    TransferTold {
        status: u16,
    },
    TransferRefused {
        status: u16,
    },
    HungUp,
    OtherHungUp,
    BrokenOff {
        why: &'static str,
    },
    Recorded {
        path: PathBuf,
        length: Duration,
    },
    NotRecorded {
        path: PathBuf,
    },
    NothingHeard,
    OnlySilence,
    Summary(Summary),
}

/// The account of one call that was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// From the INVITE to its answer.
    pub until_answer: Duration,
    pub talk: Duration,
    pub stats: LegStats,
}

impl Happening {
    /// What whoever tries the switch can do about it, where there is something.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Refused { status } => refusal(*status),
            Self::RegistrationRefused { status: 401 | 403 | 407 } => Some(
                "give the `name` and `password` of a [[line]]; after a change of the configuration the switch must be \
                 reloaded",
            ),
            Self::RegistrationRefused { status: 503 } => {
                Some("as many phones are registered as `registrations` of [limits] allows")
            }
            Self::NoReply => Some(
                "does the switch run, has it a [[listen]] with this address, port and transport, and does a firewall \
                 let SIP through?",
            ),
            _ => None,
        }
    }
}

fn refusal(status: u16) -> Option<&'static str> {
    Some(match status {
        401 | 407 => {
            "a password is needed: codes such as *71 are dialled by `hulplijn phone --line NAME --dial CODE`"
        }
        403 => {
            "the switch takes calls only from the `sources` of a [[trunk]]: call from one of them with --local, or \
             add this address and reload"
        }
        404 => {
            "no [[number]] of the switch has this `dial`, nor is it a code of [helpline]: see its configuration"
        }
        488 => {
            "no codec in common (see `codecs` of [helpline] and --codec), or one side wants encryption that the other \
             does not take (see `srtp` of the [[line]] or [[trunk]] and --srtp)"
        }
        503 => {
            "the switch is full (see [limits]), is being stopped, or has no port for audio: its log and /health/ready say \
             which"
        }
        _ => return None,
    })
}

impl fmt::Display for Happening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listening { at } => write!(f, "listening at {at}"),
            Self::Registered { line, seconds } => write!(f, "registered as {line} for {seconds} s"),
            Self::RegistrationRefused { status } => write!(f, "registration refused: {}", Status(*status)),
            Self::RegistrationLost { again_in } => {
                write!(f, "registration lost, trying again in {} s", again_in.as_secs())
            }
            Self::Unregistered => f.write_str("unregistered"),
            Self::NobodyCalled => f.write_str("nobody called in time"),
            Self::Calling { uri } => write!(f, "calling {uri}"),
            Self::Ringing { status } => write!(f, "ringing ({status})"),
            Self::Rings { shown } => write!(f, "rings, showing {shown}"),
            Self::Refusing { status } => write!(f, "refusing with {}", Status(*status)),
            Self::Answered { codec, security: None } => write!(f, "answered {}", name_of(*codec)),
            Self::Answered { codec, security: Some(suite) } => {
                write!(f, "answered {}, encrypted with {}", name_of(*codec), suite_name(*suite))
            }
            Self::Refused { status } => write!(f, "refused with {}", Status(*status)),
            Self::NoReply => f.write_str("nothing there answers SIP"),
            Self::GaveUp => f.write_str("nobody answered in time"),
            Self::CallerGaveUp => f.write_str("the caller gave up"),
            Self::FirstAudio => f.write_str("first audio"),
            Self::AudioAgain => f.write_str("audio again"),
            Self::NoAudioFor { quiet } => write!(f, "no audio for {} s", quiet.as_secs()),
            Self::Played => f.write_str("played to the end"),
            Self::Pressed { key, by_info: false } => write!(f, "pressed {key}"),
            Self::Pressed { key, by_info: true } => write!(f, "pressed {key} by INFO"),
            Self::KeyHeard { key } => write!(f, "heard key {key}"),
            Self::Held => f.write_str("holding the other side"),
            Self::TakenBack => f.write_str("taken back"),
            Self::HeldByOther => f.write_str("held by the other side"),
            Self::TakenBackByOther => f.write_str("taken back by the other side"),
            Self::OfferRefused { status } => write!(f, "a change was refused with {}", Status(*status)),
            Self::Transferring { to } => write!(f, "transferring to {to}"),
            Self::TransferTold { status } => write!(f, "transfer: {}", Status(*status)),
            Self::TransferRefused { status } => write!(f, "transfer refused with {}", Status(*status)),
            Self::HungUp => f.write_str("hung up"),
            Self::OtherHungUp => f.write_str("the other side hung up"),
            Self::BrokenOff { why } => write!(f, "broken off: {why}"),
            Self::Recorded { path, length } => {
                write!(f, "recorded {:.1} s to {}", length.as_secs_f64(), path.display())
            }
            Self::NotRecorded { path } => write!(f, "could not record to {}", path.display()),
            Self::NothingHeard => f.write_str("no audio was heard"),
            Self::OnlySilence => f.write_str("no voice was heard"),
            Self::Summary(summary) => summary.fmt(f),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LegStats {
            sent,
            received,
            lost,
            late,
            foreign,
            malformed,
            flood,
            forged,
            replayed,
            security,
            jitter,
            mos,
            ..
        } = self.stats;
        let expected = received + lost;
        let percent = if expected == 0 { 0.0 } else { lost as f64 * 100.0 / expected as f64 };
        write!(
            f,
            "summary: answered after {:.3} s, lasted {:.1} s, sent {sent} packets, received {received}, lost {lost} \
             ({percent:.1} %), late {late}, jitter {:.1} ms",
            self.until_answer.as_secs_f64(),
            self.talk.as_secs_f64(),
            f64::from(jitter) / 8.0
        )?;
        if foreign + malformed + flood > 0 {
            write!(f, ", {foreign} from elsewhere, {malformed} unreadable, {flood} too many")?;
        }
        if let Some(suite) = security {
            write!(f, ", encrypted with {}", suite_name(suite))?;
        }
        if forged + replayed > 0 {
            write!(f, ", {forged} forged, {replayed} repeated")?;
        }
        if let Some(mos) = mos {
            write!(f, ", mean opinion score {:.1}", f64::from(mos) / 100.0)?;
        }
        Ok(())
    }
}

/// A status with its reason.
struct Status(u16);

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0, reason(self.0))
    }
}

fn name_of(codec: Codec) -> &'static str {
    match codec {
        Codec::Pcma => "pcma",
        Codec::Pcmu => "pcmu",
        Codec::G722 => "g722",
        Codec::Opus => "opus",
    }
}

/// As SDP has it.
fn suite_name(suite: Suite) -> &'static str {
    match suite {
        Suite::AesCm128Sha1_80 => "AES_CM_128_HMAC_SHA1_80",
        Suite::AesCm128Sha1_32 => "AES_CM_128_HMAC_SHA1_32",
        Suite::AeadAes128Gcm => "AEAD_AES_128_GCM",
        Suite::AeadAes256Gcm => "AEAD_AES_256_GCM",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_of_a_call_is_one_line() {
        let stats = LegStats { sent: 200, received: 99, lost: 1, jitter: 12, ..LegStats::default() };
        let (until_answer, talk) = (Duration::from_millis(12), Duration::from_millis(2040));
        let mut summary = Summary { until_answer, talk, stats };
        assert_eq!(
            Happening::Summary(summary).to_string(),
            "summary: answered after 0.012 s, lasted 2.0 s, sent 200 packets, received 99, lost 1 (1.0 %), late 0, \
             jitter 1.5 ms"
        );
        summary.stats.foreign = 3;
        assert!(summary.to_string().ends_with(", 3 from elsewhere, 0 unreadable, 0 too many"));
        (summary.stats.security, summary.stats.forged) = (Some(Suite::AeadAes128Gcm), 2);
        assert!(summary.to_string().ends_with(", encrypted with AEAD_AES_128_GCM, 2 forged, 0 repeated"));
        assert_eq!(Happening::Refused { status: 404 }.to_string(), "refused with 404 Not Found");
    }

    #[test]
    fn what_an_operator_can_mend_comes_with_a_remedy_and_a_busy_phone_with_none() {
        let refused = |status| Happening::Refused { status }.remedy();
        assert!(refused(403).is_some_and(|remedy| remedy.contains("`sources` of a [[trunk]]")));
        assert!(refused(404).is_some_and(|remedy| remedy.contains("[[number]]")));
        assert!(refused(401).is_some_and(|remedy| remedy.contains("--line")));
        let registration = Happening::RegistrationRefused { status: 401 }.remedy();
        assert!(registration.is_some_and(|remedy| remedy.contains("`password` of a [[line]]")));
        assert!(Happening::NoReply.remedy().is_some_and(|remedy| remedy.contains("[[listen]]")));
        assert_eq!((refused(486), Happening::GaveUp.remedy()), (None, None));
    }
}
