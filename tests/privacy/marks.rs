//! Marks: secrets that can be told from everything else and from each other, and the search for them in
//! whatever form they may come out.

/// Every marked word begins so; no program text and (but for one in a thousand million) no random token does.
const WORD: &str = "qzxjvw";
/// Every marked number holds these digits.
const NUMBER: &str = "479031652";

/// A secret, and where the caller put it.
pub struct Mark {
    pub place: String,
    /// As the caller writes it.
    pub text: String,
    form: Form,
}

enum Form {
    /// A word or number with the common beginning: found in any encoding.
    Common,
    /// Something particular such as an address, found as these texts.
    Texts(Vec<String>),
    /// Octets that nobody chose, such as a key: found as they are, in hexadecimal and in base64.
    Octets(Vec<u8>),
}

/// Something to search in.
pub struct Outlet {
    pub name: String,
    pub bytes: Vec<u8>,
}

impl Outlet {
    pub fn new(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), bytes: bytes.into() }
    }
}

/// All the secrets of a caller.
#[derive(Default)]
pub struct Marks {
    all: Vec<Mark>,
}

impl Marks {
    /// A new secret word for this place.
    pub fn word(&mut self, place: &str) -> String {
        let mut n = self.all.len() as u32;
        let mut tail = String::new();
        for _ in 0..4 {
            tail.push(char::from(b'a' + (n % 26) as u8));
            n /= 26;
        }
        self.add(place, format!("{WORD}{tail}"), Form::Common)
    }

    /// A new secret telephone number (E.164 without the plus, 15 digits) for this place.
    pub fn number(&mut self, place: &str) -> String {
        let n = self.all.len();
        self.add(place, format!("32{NUMBER}{n:04}"), Form::Common)
    }

    /// A secret of a form of its own, sought as these texts.
    pub fn particular(&mut self, place: &str, text: &str, sought: &[String]) -> String {
        self.add(place, text.to_owned(), Form::Texts(sought.to_vec()))
    }

    /// Octets that are a secret of a call's though the caller did not write them.
    pub fn ours(&mut self, place: &str, octets: &[u8]) {
        self.add(place, String::new(), Form::Octets(octets.to_vec()));
    }

    pub fn all(&self) -> &[Mark] {
        &self.all
    }

    fn add(&mut self, place: &str, text: String, form: Form) -> String {
        self.all.push(Mark { place: place.to_owned(), text: text.clone(), form });
        text
    }

    /// What of the secrets stands in an outlet: each find with its place and form.
    pub fn find(&self, outlet: &Outlet) -> Vec<String> {
        let text = latin(&outlet.bytes);
        let low = text.to_ascii_lowercase();
        let mut finds = Vec::new();
        for (form, needle, folded) in forms(WORD).into_iter().chain(forms(NUMBER)) {
            let hay = if folded { &low } else { &text };
            if let Some(at) = hay.find(&needle) {
                finds.push(format!("{}: {} as {form}", outlet.name, self.whose(hay, at)));
            }
        }
        for line in text.lines() {
            let digits: String = line.chars().filter(char::is_ascii_digit).collect();
            if digits.contains(NUMBER) && !line.contains(NUMBER) {
                finds.push(format!("{}: a number with other signs between: {line}", outlet.name));
            }
        }
        for mark in &self.all {
            let found = match &mark.form {
                Form::Common => None,
                Form::Texts(sought) => sought.iter().find(|n| low.contains(n.as_str())).cloned(),
                Form::Octets(octets) => octets_in(octets, outlet, &text, &low),
            };
            finds.extend(found.map(|found| format!("{}: {} as `{found}`", outlet.name, mark.place)));
        }
        finds
    }

    /// Which secret it is, when it stands there in full, and what is around it.
    fn whose(&self, hay: &str, at: usize) -> String {
        let around: String = hay.chars().skip(at.saturating_sub(40)).take(120).collect();
        let place = self
            .all
            .iter()
            .find(|m| matches!(m.form, Form::Common) && around.contains(&m.text))
            .map_or("?", |m| m.place.as_str());
        format!("{place} in `{}`", around.escape_debug())
    }
}

/// Bytes as characters of the same code, so that positions are positions of bytes.
fn latin(bytes: &[u8]) -> String {
    bytes.iter().map(|b| if b.is_ascii() { char::from(*b) } else { '\u{7f}' }).collect()
}

/// The forms in which a text may come out, and whether case is ignored.
fn forms(text: &str) -> Vec<(&'static str, String, bool)> {
    let hex: String = text.bytes().map(|b| format!("{b:02x}")).collect();
    let spaced: Vec<String> = text.bytes().map(|b| format!("{b:02x}")).collect();
    let decimal: Vec<String> = text.bytes().map(|b| b.to_string()).collect();
    let reversed: String = text.chars().rev().collect();
    let wide: String = text.chars().flat_map(|c| [c, '\0']).collect();
    let mut forms = vec![
        ("itself", text.to_owned(), true),
        ("percent-encoded", text.bytes().map(|b| format!("%{b:02x}")).collect(), true),
        ("hexadecimal", hex, true),
        ("hexadecimal with spaces", spaced.join(" "), true),
        ("hexadecimal with colons", spaced.join(":"), true),
        ("a list of bytes", decimal.join(", "), true),
        ("UTF-16", wide.trim_end_matches('\0').to_owned(), true),
        ("itself backwards", reversed, true),
        ("escaped", text.bytes().map(|b| format!("\\x{b:02x}")).collect(), true),
    ];
    forms.extend((0..3).map(|shift| ("base64", base64_inside(text.as_bytes(), shift), false)));
    forms
}

/// The form in which these octets stand there; the first sixteen of them are enough.
fn octets_in(octets: &[u8], outlet: &Outlet, text: &str, low: &str) -> Option<String> {
    let octets = &octets[..octets.len().min(16)];
    let hex: Vec<String> = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    let decimal: Vec<String> = octets.iter().map(ToString::to_string).collect();
    let raw = outlet.bytes.windows(octets.len()).any(|window| window == octets).then(|| "itself".to_owned());
    let folded = [hex.concat(), hex.join(" "), hex.join(":"), decimal.join(", ")];
    raw.or_else(|| folded.into_iter().find(|form| low.contains(form)))
        .or_else(|| (0..3).map(|shift| base64_inside(octets, shift)).find(|form| text.contains(form)))
}

/// The characters of base64 that a text gives whatever stands around it, when `shift` bytes of a group of three
/// come before it.
fn base64_inside(text: &[u8], shift: usize) -> String {
    let whole = base64(&[&vec![0; shift], text].concat());
    // Characters that hold bits of what comes before or after.
    let (before, bits) = ([0, 2, 3][shift], (shift + text.len()) * 8);
    whole[before..bits / 6].to_owned()
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let word = group.iter().fold(0_u32, |w, b| w << 8 | u32::from(*b)) << (8 * (3 - group.len()));
        for n in 0..=group.len() {
            out.push(char::from(ALPHABET[(word >> (18 - 6 * n)) as usize & 63]));
        }
    }
    out
}

/// The search finds a secret in every form that it claims to: else its silence would prove nothing.
#[test]
fn the_search_finds_what_is_planted_in_every_form() {
    let mut marks = Marks::default();
    let (word, number) = (marks.word("From"), marks.number("P-Asserted-Identity"));
    marks.particular("address", "127.9.8.7", &["127.9.8.7".to_owned()]);
    let found = |bytes: &[u8]| !marks.find(&Outlet::new("x", bytes)).is_empty();
    for secret in [&word, &number] {
        let upper = secret.to_ascii_uppercase();
        let hex: String = secret.bytes().map(|b| format!("{b:02X}")).collect();
        let percent: String = secret.bytes().map(|b| format!("%{b:02X}")).collect();
        let wide: Vec<u8> = secret.bytes().flat_map(|b| [b, 0]).collect();
        for planted in [secret, &upper, &hex, &percent, &format!("{:?}", secret.as_bytes())] {
            assert!(found(format!("INFO x={planted};").as_bytes()), "{planted}");
        }
        assert!(found(&wide));
        for before in ["", "a", "ab", "abc"] {
            let encoded = base64(format!("{before}{secret}!").as_bytes());
            assert!(found(encoded.as_bytes()), "{encoded}");
        }
        assert!(found(&[b"\xff\x00\xfe", secret.as_bytes(), b"\x80"].concat()));
    }
    let dotted = number.replace("4790", "(0)47 90.").replace("652", "-652");
    assert!(dotted != number && found(format!("tel:+{dotted}").as_bytes()));
    assert!(found(b"to 127.9.8.7:5") && !found(b"to 127.9.8.6:5, qzxj vw 47903 tokens 4790316 51\n"));
}

#[test]
fn the_search_finds_a_key_in_every_form() {
    let key: Vec<u8> = (0..30).map(|n: u8| n.wrapping_mul(37).wrapping_add(200)).collect();
    let mut marks = Marks::default();
    marks.ours("a key", &key);
    let found = |bytes: &[u8]| !marks.find(&Outlet::new("x", bytes)).is_empty();
    let hex = |separator: &str| key.iter().map(|b| format!("{b:02X}")).collect::<Vec<_>>().join(separator);
    for planted in [hex(""), hex(" "), hex(":"), format!("{key:?}"), base64(&key)] {
        assert!(found(format!("INFO x={planted};").as_bytes()), "{planted}");
    }
    for before in [&b"a"[..], b"ab"] {
        assert!(found(base64(&[before, &key].concat()).as_bytes()));
    }
    assert!(found(&[b"\xff", &key[..], b"\x80"].concat()));
    assert!(!found(&key[..15]) && !found(hex("").to_ascii_lowercase().split_at(31).0.as_bytes()));
}

#[test]
fn rfc4648_10_base64() {
    for (text, expected) in [("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
        assert_eq!(base64(text.as_bytes()), expected);
    }
}
