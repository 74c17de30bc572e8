//! SDES (RFC 4568): `a=crypto` lines, read and written, and what we want of them.
//!
//! One line that we can't take (an unknown suite, an MKI, a parameter that weakens it) is passed over, as another
//! may do (5.1.2, 5.1.3).

use std::fmt::Write as _;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use crate::base::id::Rng;
use crate::base::quiet::quiet_debug;
use crate::base::secret::Secret;

/// Lines of one section that are looked at.
pub const MAX_CRYPTO: usize = 16;

/// Some phones leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Whether a leg is encrypted; the strictest is the greatest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Srtp {
    #[default]
    Never,
    /// When the peer can.
    Optional,
    /// Else there is no call.
    Mandatory,
}

/// Crypto suites by their names in SDP (RFC 4568 6.2, RFC 7714 14.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    AesCm128Sha1_80,
    AesCm128Sha1_32,
    AeadAes128Gcm,
    AeadAes256Gcm,
}

impl Suite {
    const ALL: [Self; 4] =
        [Self::AeadAes256Gcm, Self::AeadAes128Gcm, Self::AesCm128Sha1_80, Self::AesCm128Sha1_32];
    /// What we offer unless told otherwise, the preferred one first. The short tag of the fourth is only for peers
    /// with nothing else.
    const OFFERED: [Self; 3] = [Self::AeadAes256Gcm, Self::AeadAes128Gcm, Self::AesCm128Sha1_80];

    /// By its name in SDP.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::AesCm128Sha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128Sha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    /// Bytes of a master key and its salt.
    fn length(self) -> usize {
        match self {
            Self::AesCm128Sha1_80 | Self::AesCm128Sha1_32 => 16 + 14,
            Self::AeadAes128Gcm => 16 + 12,
            Self::AeadAes256Gcm => 32 + 12,
        }
    }
}

/// One line: the key is that of who wrote it, for what it sends.
#[derive(Clone, PartialEq, Eq)]
pub struct Crypto {
    pub tag: u32,
    pub suite: Suite,
    pub key: Secret,
}

impl Crypto {
    /// Reads what stands after `a=crypto:`; `None` when it can't be taken.
    pub fn parse(value: &str) -> Option<Self> {
        let mut words = value.split_ascii_whitespace();
        let (tag, suite, key) = (words.next()?, words.next()?, words.next()?);
        // At most nine digits (9.1).
        let tag = tag.parse().ok().filter(|_| tag.len() <= 9)?;
        let suite = Suite::from_name(suite)?;
        let key = parse_inline(key, suite)?;
        words.all(is_harmless).then_some(Self { tag, suite, key })
    }

    /// The whole attribute line.
    pub(super) fn write(&self, out: &mut String) {
        let key = Zeroizing::new(BASE64.encode(self.key.expose()));
        let _ = write!(out, "a=crypto:{} {} inline:{}\r\n", self.tag, self.suite.name(), &*key);
    }
}

/// One key with an optional lifetime. Several keys need an MKI (6.1), of which we have none: a key is renewed by a
/// new offer.
fn parse_inline(word: &str, suite: Suite) -> Option<Secret> {
    let mut parts = word.strip_prefix("inline:")?.split('|');
    let key = Zeroizing::new(BASE64.decode(parts.next()?).ok()?);
    let lifetime = parts.next().is_none_or(is_lifetime);
    (key.len() == suite.length() && lifetime && parts.next().is_none()).then(|| Secret::copy_of(&key))
}

/// `2^31`, or a number of packets: the peer sends no more than that under this key, at most 2^48 (6.1).
fn is_lifetime(text: &str) -> bool {
    match text.strip_prefix("2^") {
        Some(power) => power.parse::<u32>().is_ok_and(|power| (1..=48).contains(&power)),
        None => text.parse::<u64>().is_ok_and(|packets| (1..=1 << 48).contains(&packets)),
    }
}

/// Of the session parameters only those that change nothing for us (6.3): the window that is hinted at, the rate of
/// key derivation that we have, and extensions that need not be understood.
fn is_harmless(parameter: &str) -> bool {
    parameter.starts_with('-') || parameter.starts_with("WSH=") || parameter == "KDR=0"
}

/// What we want of a leg, and our keys for it: one for each suite (6.1).
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Security {
    srtp: Srtp,
    /// Whether an offer of ours bears keys where they are not required: not over a transport that everybody
    /// on the way can read.
    offers: bool,
    /// Of the suites that we take; the first so many are those that we offer.
    keys: Vec<(Suite, Secret)>,
    offered: usize,
}

impl Security {
    /// Draws the keys. `confidential`: signalling goes over TLS. `suites`, the preferred one first, are offered and
    /// taken; with none those of this room are.
    pub fn new(srtp: Srtp, confidential: bool, suites: &[Suite], rng: &mut Rng) -> Self {
        let (suites, offered) =
            if suites.is_empty() { (&Suite::ALL[..], Suite::OFFERED.len()) } else { (suites, suites.len()) };
        let wanted = suites.iter().filter(|_| srtp != Srtp::Never);
        let keys = wanted.map(|suite| (*suite, Secret::random(rng, suite.length()))).collect();
        Self { srtp, offers: confidential, keys, offered }
    }

    pub fn srtp(&self) -> Srtp {
        self.srtp
    }

    /// The lines of a first offer.
    pub(super) fn offer(&self) -> Vec<Crypto> {
        if self.srtp == Srtp::Never || (self.srtp == Srtp::Optional && !self.offers) {
            return Vec::new();
        }
        let tagged = (1..).zip(self.keys.iter().take(self.offered));
        tagged.map(|(tag, (suite, key))| Crypto { tag, suite: *suite, key: key.clone() }).collect()
    }

    /// Our line with that tag.
    pub(super) fn line(&self, tag: u32, suite: Suite) -> Option<Crypto> {
        let (_, key) = self.keys.iter().find(|(known, _)| *known == suite)?;
        Some(Crypto { tag, suite, key: key.clone() })
    }
}

/// What an exchange agreed on.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    pub suite: Suite,
    /// For what we send.
    pub ours: Secret,
    /// For what we receive.
    pub theirs: Secret,
}

quiet_debug!(Crypto => "Crypto", Security => "Security", Keys => "Keys");

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR";

    fn parsed(text: &str) -> Option<(u32, Suite, usize)> {
        Crypto::parse(text).map(|c| (c.tag, c.suite, c.key.expose().len()))
    }

    #[test]
    fn rfc4568_9_1_lines_of_phones_are_read() {
        let cm = "AES_CM_128_HMAC_SHA1_80";
        for text in [
            format!("1 {cm} {KEY}"),
            format!("1  {cm} {KEY}|2^20"),
            format!("1 {cm} {KEY}|2^48 WSH=128"),
            format!("1 {cm} {KEY}|1048576 KDR=0 -X=1"),
        ] {
            assert_eq!(parsed(&text), Some((1, Suite::AesCm128Sha1_80, 30)), "{text}");
        }
        let gcm = "AEAD_AES_128_GCM inline:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYg";
        assert_eq!(parsed(&format!("999999999 {gcm}==")), Some((999_999_999, Suite::AeadAes128Gcm, 28)));
        assert_eq!(parsed(&format!("2 {gcm}")), Some((2, Suite::AeadAes128Gcm, 28)), "without padding");
    }

    #[test]
    fn rfc4568_6_what_weakens_or_is_not_understood_is_passed_over() {
        let cm = "AES_CM_128_HMAC_SHA1_80";
        for text in [
            String::new(),
            format!("1 {cm}"),
            format!("x {cm} {KEY}"),
            format!("1234567890 {cm} {KEY}"),
            format!("1 F8_128_HMAC_SHA1_80 {KEY}"),
            format!("1 AEAD_AES_256_GCM {KEY}"),
            format!("1 {cm} {KEY}|2^20|1:4"),
            format!("1 {cm} {KEY}|1:4"),
            format!("1 {cm} {KEY}|2^49"),
            format!("1 {cm} {KEY}|0"),
            format!("1 {cm} {KEY};{KEY}"),
            format!("1 {cm} inline:%%%%"),
            format!("1 {cm} {}", &KEY[..30]),
            format!("1 {cm} {KEY} UNENCRYPTED_SRTP"),
            format!("1 {cm} {KEY} UNENCRYPTED_SRTCP"),
            format!("1 {cm} {KEY} UNAUTHENTICATED_SRTP"),
            format!("1 {cm} {KEY} KDR=1"),
            format!("1 {cm} {KEY} FEC_ORDER=FEC_SRTP"),
            format!("1 {cm} {KEY} SOMETHING"),
        ] {
            assert_eq!(parsed(&text), None, "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_and_each_suite_has_a_key_of_its_own() {
        let security = Security::new(Srtp::Mandatory, false, &[], &mut Rng::from_number(1));
        let lines = security.offer();
        assert_eq!(lines.len(), 3);
        for line in &lines {
            let mut text = String::new();
            line.write(&mut text);
            let value = text.strip_prefix("a=crypto:").expect("an attribute").trim_end();
            assert!(Crypto::parse(value) == Some(line.clone()), "{text}");
            assert!(lines.iter().all(|other| other.tag == line.tag || other.key != line.key));
            assert_eq!(format!("{line:?}"), "Crypto");
        }
    }

    #[test]
    fn keys_that_are_not_required_are_offered_over_tls_only() {
        let lines = |srtp, tls| Security::new(srtp, tls, &[], &mut Rng::from_number(1)).offer().len();
        assert_eq!([lines(Srtp::Never, true), lines(Srtp::Optional, false)], [0, 0]);
        assert_eq!([lines(Srtp::Optional, true), lines(Srtp::Mandatory, false)], [3, 3]);
    }

    #[test]
    fn suites_that_the_operator_chose_are_offered_in_that_order_and_no_other_is_taken() {
        let suites = [Suite::AesCm128Sha1_32, Suite::AeadAes128Gcm];
        let security = Security::new(Srtp::Mandatory, false, &suites, &mut Rng::from_number(1));
        assert_eq!(security.offer().iter().map(|line| line.suite).collect::<Vec<_>>(), suites);
        assert!(security.line(1, Suite::AeadAes256Gcm).is_none());
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[ -~]{0,80}", rest in "\\PC{0,40}") {
            let _ = Crypto::parse(&text);
            let _ = Crypto::parse(&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{rest}"));
        }
    }
}
