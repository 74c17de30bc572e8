//! Session keys of one direction, for RTP or for RTCP: derived from the master key, used on packets in place.
//!
//! `RustCrypto`'s ciphers are used because they wipe their keys; measured on 160 bytes of voice with AES and SHA
//! instructions, nanoseconds a packet: AES-CM 75 and HMAC-SHA1 190 (`ring` has no AES-CM, its HMAC-SHA1 takes
//! 690), AES-GCM 220 to 270 (`ring`: 100, but its keys stay in memory); beside them one packet's system calls
//! take 5000.

use aes::cipher::{InnerIvInit as _, KeyInit as _, StreamCipher as _, StreamCipherCoreWrapper};
use aes::{Aes128, Aes256};
use aes_gcm::aead::AeadInOut as _;
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use ctr::CtrCore;
use ctr::flavors::Ctr128BE;
use hmac::{Hmac, Mac as _};
use sha1::Sha1;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::super::keying::Suite;

/// Header of an RTCP packet that stays in the clear (RFC 3711 3.4).
pub const RTCP_HEADER: usize = 8;
/// The word that bears the E bit and the SRTCP index.
pub const WORD: usize = 4;
/// Marks an RTCP packet as encrypted.
pub const ENCRYPTED: u32 = 1 << 31;
const GCM_TAG: usize = 16;

/// What the keys are for, by the labels of RFC 3711 4.3.1 and 4.3.2.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Rtp,
    Rtcp,
}

/// See the module.
pub struct SessionKeys {
    cipher: Cipher,
    salt: Zeroizing<[u8; 14]>,
    /// Bytes of the tag.
    tag: usize,
}

/// All three wipe themselves.
enum Cipher {
    Cm { aes: Aes128, mac: Hmac<Sha1> },
    Gcm128(Aes128Gcm),
    Gcm256(Aes256Gcm),
}

impl SessionKeys {
    /// `master`: a key and its salt, of the suite's length. `None` when it is not.
    pub fn derive(suite: Suite, master: &[u8], purpose: Purpose) -> Option<Self> {
        let (key, salt) = master.split_at_checked(suite.key_length())?;
        // A salt of 96 bits stands at the beginning of the 112 (RFC 7714 11).
        let mut padded = Zeroizing::new([0; 14]);
        padded.get_mut(..suite.salt_length())?.copy_from_slice(salt);
        let label = if purpose == Purpose::Rtp { 0 } else { 3 };
        let mut session_key = Zeroizing::new([0; 32]);
        let session_key = session_key.get_mut(..suite.key_length())?;
        let (mut mac_key, mut session_salt) = (Zeroizing::new([0; 20]), Zeroizing::new([0; 14]));
        pseudo_random(key, &padded, label, session_key)?;
        pseudo_random(key, &padded, label + 1, &mut *mac_key)?;
        pseudo_random(key, &padded, label + 2, session_salt.get_mut(..suite.salt_length())?)?;
        let cipher = match suite {
            Suite::AesCm128Sha1_80 | Suite::AesCm128Sha1_32 => Cipher::Cm {
                aes: Aes128::new_from_slice(session_key).ok()?,
                mac: Hmac::new_from_slice(&*mac_key).ok()?,
            },
            Suite::AeadAes128Gcm => Cipher::Gcm128(Aes128Gcm::new_from_slice(session_key).ok()?),
            Suite::AeadAes256Gcm => Cipher::Gcm256(Aes256Gcm::new_from_slice(session_key).ok()?),
        };
        Some(Self { cipher, salt: session_salt, tag: tag_length(suite, purpose) })
    }

    /// Encrypts `buffer[header..length]` and adds the tag; gives the new length.
    pub fn seal_rtp(
        &self,
        buffer: &mut [u8],
        header: usize,
        length: usize,
        ssrc: u32,
        index: u64,
    ) -> Option<usize> {
        let whole = length + self.tag;
        let (packet, tag) = buffer.get_mut(..whole)?.split_at_mut_checked(length)?;
        let (clear, payload) = packet.split_at_mut_checked(header)?;
        if let Cipher::Cm { aes, mac } = &self.cipher {
            self.count(aes, ssrc, index, payload)?;
            let rollovers = (index >> 16) as u32;
            put_tag(tag, &authenticate(mac, packet, rollovers.to_be_bytes()))?;
        } else {
            tag.copy_from_slice(&self.encrypt(ssrc, index, clear, payload)?);
        }
        Some(whole)
    }

    /// Checks and decrypts a packet; gives its length without the tag. `None`: it is not from who has the key,
    /// or not of this index; then nothing has changed.
    pub fn open_rtp(&self, packet: &mut [u8], header: usize, ssrc: u32, index: u64) -> Option<usize> {
        let length = packet.len().checked_sub(self.tag)?;
        let (body, tag) = packet.split_at_mut_checked(length)?;
        if let Cipher::Cm { aes, mac } = &self.cipher {
            let rollovers = (index >> 16) as u32;
            is_tag(tag, &authenticate(mac, body, rollovers.to_be_bytes()))?;
            self.count(aes, ssrc, index, body.get_mut(header..)?)?;
        } else {
            let (clear, payload) = body.split_at_mut_checked(header)?;
            self.decrypt(ssrc, index, clear, payload, tag)?;
        }
        Some(length)
    }

    /// Encrypts `buffer[8..length]` and adds index and tag; gives the new length.
    pub fn seal_rtcp(&self, buffer: &mut [u8], length: usize, ssrc: u32, index: u32) -> Option<usize> {
        let whole = length + WORD + self.tag;
        let word = (ENCRYPTED | index).to_be_bytes();
        let (packet, trailer) = buffer.get_mut(..whole)?.split_at_mut_checked(length)?;
        let (clear, body) = packet.split_at_mut_checked(RTCP_HEADER)?;
        if let Cipher::Cm { aes, mac } = &self.cipher {
            self.count(aes, ssrc, index.into(), body)?;
            let (place, tag) = trailer.split_at_mut_checked(WORD)?;
            place.copy_from_slice(&word);
            put_tag(tag, &authenticate(mac, packet, word))?;
        } else {
            // The index comes after the tag (RFC 7714 9.2).
            let aad = associated(clear, word)?;
            let (tag, place) = trailer.split_at_mut_checked(self.tag)?;
            tag.copy_from_slice(&self.encrypt(ssrc, index.into(), &aad, body)?);
            place.copy_from_slice(&word);
        }
        Some(whole)
    }

    /// Checks and decrypts a packet whose E bit is set; gives its length without what SRTCP adds.
    pub fn open_rtcp(&self, packet: &mut [u8], ssrc: u32, index: u32) -> Option<usize> {
        let length = packet.len().checked_sub(self.tag + WORD)?;
        let (body, trailer) = packet.split_at_mut_checked(length)?;
        let (clear, rest) = body.split_at_mut_checked(RTCP_HEADER)?;
        let word = (ENCRYPTED | index).to_be_bytes();
        if let Cipher::Cm { aes, mac } = &self.cipher {
            is_tag(trailer.get(WORD..)?, &authenticate(mac, body, word))?;
            self.count(aes, ssrc, index.into(), body.get_mut(RTCP_HEADER..)?)?;
        } else {
            let aad = associated(clear, word)?;
            self.decrypt(ssrc, index.into(), &aad, rest, trailer.get(..self.tag)?)?;
        }
        Some(length)
    }

    /// The word with E bit and index, of a packet that came.
    pub fn word_of(&self, packet: &[u8]) -> Option<u32> {
        let end = match self.cipher {
            Cipher::Cm { .. } => packet.len().checked_sub(self.tag)?,
            Cipher::Gcm128(_) | Cipher::Gcm256(_) => packet.len(),
        };
        let word: [u8; WORD] = packet.get(end.checked_sub(WORD)?..end)?.try_into().ok()?;
        Some(u32::from_be_bytes(word))
    }

    /// AES in counter mode (RFC 3711 4.1.1).
    fn count(&self, aes: &Aes128, ssrc: u32, index: u64, data: &mut [u8]) -> Option<()> {
        let mut iv = [0; 16];
        iv[..14].copy_from_slice(&*self.salt);
        mix(iv.get_mut(4..14)?, ssrc, index);
        counter(aes, iv, data)
    }

    fn encrypt(&self, ssrc: u32, index: u64, aad: &[u8], data: &mut [u8]) -> Option<[u8; GCM_TAG]> {
        let nonce = self.nonce(ssrc, index)?.into();
        let tag = match &self.cipher {
            Cipher::Cm { .. } => return None,
            Cipher::Gcm128(gcm) => gcm.encrypt_inout_detached(&nonce, aad, data.into()),
            Cipher::Gcm256(gcm) => gcm.encrypt_inout_detached(&nonce, aad, data.into()),
        };
        Some(tag.ok()?.into())
    }

    fn decrypt(&self, ssrc: u32, index: u64, aad: &[u8], data: &mut [u8], tag: &[u8]) -> Option<()> {
        let nonce = self.nonce(ssrc, index)?.into();
        let tag: [u8; GCM_TAG] = tag.try_into().ok()?;
        let opened = match &self.cipher {
            Cipher::Cm { .. } => return None,
            Cipher::Gcm128(gcm) => gcm.decrypt_inout_detached(&nonce, aad, data.into(), &tag.into()),
            Cipher::Gcm256(gcm) => gcm.decrypt_inout_detached(&nonce, aad, data.into(), &tag.into()),
        };
        opened.ok()
    }

    /// RFC 7714 8.1 and 9.1.
    fn nonce(&self, ssrc: u32, index: u64) -> Option<[u8; 12]> {
        let mut nonce: [u8; 12] = self.salt.get(..12)?.try_into().ok()?;
        mix(nonce.get_mut(2..)?, ssrc, index);
        Some(nonce)
    }
}

/// RFC 3711 5.2; of SRTCP RFC 4568 6.2.2.
fn tag_length(suite: Suite, purpose: Purpose) -> usize {
    match suite {
        Suite::AesCm128Sha1_32 if purpose == Purpose::Rtp => 4,
        Suite::AesCm128Sha1_80 | Suite::AesCm128Sha1_32 => 10,
        Suite::AeadAes128Gcm | Suite::AeadAes256Gcm => GCM_TAG,
    }
}

/// SSRC and the 48 bits of the index, in a row, into ten bytes.
fn mix(bytes: &mut [u8], ssrc: u32, index: u64) {
    let [_, _, index @ ..] = index.to_be_bytes();
    for (byte, value) in bytes.iter_mut().zip(ssrc.to_be_bytes().into_iter().chain(index)) {
        *byte ^= value;
    }
}

/// AES-CM as the key derivation's generator (RFC 3711 4.3.3, RFC 6188 for 256 bits); the derivation rate is 0.
fn pseudo_random(key: &[u8], salt: &[u8; 14], label: u8, out: &mut [u8]) -> Option<()> {
    let mut iv = [0; 16];
    iv[..14].copy_from_slice(salt);
    iv[7] ^= label;
    out.fill(0);
    if key.len() == 16 {
        return counter(&Aes128::new_from_slice(key).ok()?, iv, out);
    }
    let aes = Aes256::new_from_slice(key).ok()?;
    let core = CtrCore::<&Aes256, Ctr128BE>::inner_iv_init(&aes, &iv.into());
    StreamCipherCoreWrapper::from_core(core).try_apply_keystream(out).ok()
}

fn counter(aes: &Aes128, iv: [u8; 16], data: &mut [u8]) -> Option<()> {
    let core = CtrCore::<&Aes128, Ctr128BE>::inner_iv_init(aes, &iv.into());
    StreamCipherCoreWrapper::from_core(core).try_apply_keystream(data).ok()
}

fn authenticate(mac: &Hmac<Sha1>, packet: &[u8], after: [u8; 4]) -> [u8; 20] {
    let mut mac = mac.clone();
    mac.update(packet);
    mac.update(&after);
    mac.finalize().into_bytes().into()
}

fn put_tag(place: &mut [u8], whole: &[u8; 20]) -> Option<()> {
    place.copy_from_slice(whole.get(..place.len())?);
    Some(())
}

/// In constant time.
fn is_tag(found: &[u8], whole: &[u8; 20]) -> Option<()> {
    bool::from(whole.get(..found.len())?.ct_eq(found)).then_some(())
}

fn associated(header: &[u8], word: [u8; WORD]) -> Option<[u8; RTCP_HEADER + WORD]> {
    let mut aad = [0; RTCP_HEADER + WORD];
    aad.get_mut(..RTCP_HEADER)?.copy_from_slice(header);
    aad.get_mut(RTCP_HEADER..)?.copy_from_slice(&word);
    Some(aad)
}

#[cfg(test)]
#[path = "vectors.rs"]
mod tests;
