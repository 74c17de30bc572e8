//! The published test vectors: RFC 3711 appendix B, RFC 7714 16 and 17, and one whole packet under the keys of
//! appendix B that SRTP libraries share as their reference.

use super::*;

pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex");
    digits.chunks(2).map(byte).collect()
}

const MASTER: &str = "e1f97a0d3e018be0d64fa32c06de4139 0ec675ad498afeebb6960b3aabe6";

#[test]
fn rfc3711_b2_the_key_stream() {
    let aes = Aes128::new_from_slice(&hex("2b7e151628aed2a6abf7158809cf4f3c")).expect("a key");
    let mut stream = vec![0; 16 * 0xff02];
    let iv = hex("f0f1f2f3f4f5f6f7f8f9fafbfcfd0000").try_into().expect("16 bytes");
    counter(&aes, iv, &mut stream).expect("long enough");
    let at = |block: usize| &stream[block * 16..][..48];
    assert_eq!(
        at(0),
        hex(
            "e03ead0935c95e80e166b16dd92b4eb4 d23513162b02d0f72a43a2fe4a5f97ab 41e95b3bb0a2e8dd477901e4fca894c0"
        )
    );
    assert_eq!(
        at(0xfeff),
        hex(
            "ec8cdf7398607cb0f2d21675ea9ea1e4 362b7c3c6773516318a077d7fc5073ae 6a2cc3787889374fbeb4c81b17ba6c44"
        )
    );
}

#[test]
fn rfc3711_b3_key_derivation() {
    let master = hex(MASTER);
    let salt: [u8; 14] = master[16..].try_into().expect("14 bytes");
    let derived = |label: u8, length: usize| {
        let mut out = vec![0xff; length];
        pseudo_random(&master[..16], &salt, label, &mut out).expect("a key");
        out
    };
    assert_eq!(derived(0, 16), hex("c61e7a93744f39ee10734afe3ff7a087"));
    assert_eq!(derived(2, 14), hex("30cbbc08863d8c85d49db34a9ae1"));
    assert_eq!(
        derived(1, 94),
        hex("cebe321f6ff7716b6fd4ab49af256a15 6d38baa48f0a0acf3c34e2359e6cdbce
             e049646c43d9327ad175578ef7227098 6371c10c9a369ac2f94a8c5fbcdddc25
             6d6e919a48b610ef17c2041e47403576 6b68642c59bbfc2f34db60dbdfb2")
    );
    let keys = SessionKeys::derive(Suite::AesCm128Sha1_80, &master, Purpose::Rtp).expect("a master key");
    assert_eq!(keys.salt[..], hex("30cbbc08863d8c85d49db34a9ae1"));
}

/// Packet index 0x1234, payload of 16 bytes.
#[test]
fn a_whole_packet_under_the_keys_of_rfc3711_b3() {
    let plain = hex("800f1234decafbadcafebabe abababababababababababababababab");
    let sealed = hex("800f1234decafbadcafebabe 4e55dc4ce79978d88ca4d215949d2402 b78d6acc99ea179b8dbb");
    let keys = SessionKeys::derive(Suite::AesCm128Sha1_80, &hex(MASTER), Purpose::Rtp).expect("a master key");
    check_rtp(&keys, &plain, &sealed, 0xcafe_babe, 0x1234);
}

const GCM_SALT: &str = "517569642070726f2071756f";
const GCM_128: &str = "000102030405060708090a0b0c0d0e0f";
const GCM_256: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const RTP: &str =
    "8040f17b8041f8d35501a0b2 47616c6c696120657374206f6d6e69732064697669736120696e207061727465732074726573";
const RTCP: &str = "81c8000d4d617273 4e5450314e545032525450200000042a0000e9304c756e61deadbeefdeadbeefdeadbeefdeadbeefdeadbeef";

/// The vectors begin at session keys.
fn gcm(key: &str) -> SessionKeys {
    let key = hex(key);
    let cipher = if key.len() == 16 {
        Cipher::Gcm128(Aes128Gcm::new_from_slice(&key).expect("a key"))
    } else {
        Cipher::Gcm256(Aes256Gcm::new_from_slice(&key).expect("a key"))
    };
    let mut salt = Zeroizing::new([0; 14]);
    salt[..12].copy_from_slice(&hex(GCM_SALT));
    SessionKeys { cipher, salt, tag: GCM_TAG }
}

#[test]
fn rfc7714_16_rtp_with_aead_aes_128_gcm_and_256() {
    for (key, sealed) in [
        (
            GCM_128,
            "8040f17b8041f8d35501a0b2 f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf8833
             899d7f27beb16a9152cf765ee4390cce",
        ),
        (
            GCM_256,
            "8040f17b8041f8d35501a0b2 32b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799b87b
             7aa3db36dfffd6b0f9bb7878d7a76c13",
        ),
    ] {
        check_rtp(&gcm(key), &hex(RTP), &hex(sealed), 0x5501_a0b2, 0xf17b);
    }
}

#[test]
fn rfc7714_17_rtcp_with_aead_aes_128_gcm_and_256() {
    for (key, sealed) in [
        (
            GCM_128,
            "81c8000d4d617273 63e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b4686303ded
             0bb9275bc84aa45896cf4d2fc5abf872 45d9eade 800005d4",
        ),
        (
            GCM_256,
            "81c8000d4d617273 d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50a2eaa5c1110555be8415f658c61de047
             6f1b6fad1d1eb30c4446839f57ff6f6c b26ac3be 800005d4",
        ),
    ] {
        let (keys, plain, sealed) = (gcm(key), hex(RTCP), hex(sealed));
        let mut buffer = [plain.clone(), vec![0; 20]].concat();
        let length = keys.seal_rtcp(&mut buffer, plain.len(), 0x4d61_7273, 0x5d4).expect("room");
        assert_eq!(buffer[..length], sealed);
        assert_eq!(keys.word_of(&buffer[..length]), Some(0x8000_05d4));
        let length = keys.open_rtcp(&mut buffer[..length], 0x4d61_7273, 0x5d4).expect("genuine");
        assert_eq!(buffer[..length], plain);
    }
}

fn check_rtp(keys: &SessionKeys, plain: &[u8], sealed: &[u8], ssrc: u32, index: u64) {
    let mut buffer = [plain, &[0; 16]].concat();
    let length = keys.seal_rtp(&mut buffer, 12, plain.len(), ssrc, index).expect("room");
    assert_eq!(buffer[..length], *sealed);
    for bit in 0..sealed.len() * 8 {
        let mut bent = sealed.to_vec();
        bent[bit / 8] ^= 1 << (bit % 8);
        let before = bent.clone();
        assert!(keys.open_rtp(&mut bent, 12, ssrc, index).is_none() && bent == before, "bit {bit}");
    }
    assert!(keys.open_rtp(&mut sealed.to_vec(), 12, ssrc, index + (1 << 16)).is_none(), "another rollover");
    let length = keys.open_rtp(&mut buffer[..length], 12, ssrc, index).expect("genuine");
    assert_eq!(buffer[..length], *plain);
}
