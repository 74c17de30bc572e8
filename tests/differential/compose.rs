//! Messages put together at random from pieces that are good, odd or bad: unlike a bent message, most are still one.

use hulplijn::base::id::Rng;

pub const URIS: &[&str] = &[
    "sip:1712@h",
    "sip:+32-78.15(17)12@h;user=phone",
    "sip:a:secret@h:5061;transport=tcp;lr",
    "sip:%61lice;x=1@[::1]:5070;transport=TCP;lr",
    "sips:a@[2001:db8::10]",
    "sip:[2001:db8:::192.0.2.1]:5060",
    "sip:EXAMPLE.org",
    "sip:bob.smith@b?subject=x&y=z%20",
    "sip:a%40b%3A%3b@h",
    "sip:caf%E9@h",
    "sip:caf%C3%A9@h",
    "sip:n%00l@h",
    "sip:a@h;lr;lr",
    "sip:a@h;",
    "sip:a@h;;x",
    "sip:a@h;%6C%72;n%61me=v%61lue",
    "sip:a@h:00005060",
    "sip:a@h:65536",
    "sip:a@h:",
    "sip:@h",
    "sip:a@",
    "sip:a@b@c",
    "sip:a%4@h",
    "sip:a#b@h",
    "sip:a[b@h",
    "sip:a b@h",
    "sip:a@192.0.2.999",
    "sip:a@-x_y.z",
    "tel:+32-78-15;phone-context=x",
    "tel:12*#AbC",
    "tel:+",
    "tel:",
    "urn:service:sos",
    "http://x/y?z=1;a",
    "SIP:a@H",
    "1712",
    "sip:a@h;x=\"y\"",
    "*",
];

/// Before the `<`.
const NAMES: &[&str] = &[
    "",
    "",
    "",
    "Anna ",
    "A. G. Bell\t ",
    "\"x <sip:evil@e>;tag=evil\" ",
    "\"a,b;c\\\"d\\\\\" ",
    "\"\"",
    "\"caf\u{e9}\" ",
    "\"open ",
    "Bell, A. ",
    "a@b ",
    "<",
    "caf\u{e9} ",
];

/// Behind the `>`, or the bare URI.
const PARAMS: &[&str] = &[
    "",
    ";tag=1",
    ";tag=1",
    " ; tag = a.b ",
    ";tag=\"q;u\\\"o\"",
    ";tag=1;tag=2",
    ";x=\"a,b>c\";tag=1",
    ";TAG=1;y",
    ";tag=",
    ";;tag=1",
    ";tag=1;",
    ";tag=a/b[c]:d",
    ";tag=a|b{c}",
    ";expires=60;q=0.5;+sip.instance=\"<urn:uuid:0-1-2>\"",
    ";tag=1\"",
    " x",
    ";tag=a b",
    ";=1",
    ";tag\u{a0}=1",
];

const VIAS: &[&str] = &[
    "SIP/2.0/UDP h;branch=z9hG4bK1",
    "SIP/2.0/UDP h;branch=z9hG4bK1",
    "SIP / 2.0 / TCP  h : 5060 ;rport;branch=z9hG4bK1",
    "SIP/2.0/UDP [2001:db8::9:1]:6050;received=2001:db8::9:255;branch=z9hG4bK-a.b",
    "SIP/2.0/UDP 192.0.2.1;received=[::1];branch=z9hG4bK1, SIP/2.0/TLS y;branch=z9hG4bK2",
    "SIP/2.0/UNKNOWN h.example.com:1;ttl=1;maddr=224.2.0.1;branch=x",
    "sip/2.0/udp H",
    "SIP/2.0/UDP h;branch=a|b",
    "SIP/2.0/UDP h;x=\"a,b\";branch=z9hG4bK1",
    "SIP/2.0/UDP h;branch=z9hG4bK1;x=\"",
    "SIP/2.0/UDP h;branch=a;branch=b",
    "SIP/2.0/UDP h;;branch=a",
    "SIP/2.0/UDP h;",
    "SIP/2.0/UDP ho st",
    "SIP/2.0/UDP h:70000",
    "SIP/3.0/UDP h;branch=z9hG4bK1",
    "XIP/2.0/UDP h;branch=z9hG4bK1",
    "SIP/2.0/UDP\u{a0}h;branch=z9hG4bK1",
    "SIP/2.0 h",
    "SIP/2.0/UDP",
    "",
    ",SIP/2.0/UDP h",
    "SIP/2.0/UDP h (a, b);branch=z9hG4bK1",
    "SIP/2.0/UDP h;branch=(a,SIP/2.0/UDP g;branch=b)",
];

const NUMBERS: &[&str] = &[
    "1",
    "1",
    "0",
    "0009",
    "70",
    "255",
    "256",
    "2147483647",
    "2147483648",
    "+1",
    "-1",
    "1;x",
    "1,1",
    "",
    "0x1",
    "1 1",
    "\u{a0}1",
];

const METHODS: &[&str] = &["OPTIONS", "OPTIONS", "INVITE", "REGISTER", "!x%41~", "options", "A B", "A{"];

const BLANKS: &[&str] = &["", " ", " ", " ", "\t", "  \t ", "\r\n ", " \r\n\t ", "\u{a0}", "\u{b}"];

const EXTRAS: &[&str] = &[
    "Subject: one\r\n two\r\n",
    "s : caf\u{e9}\r\n",
    "X-Empty:\r\n",
    "X-Odd: \u{0}\u{1}\u{7f}\r\n",
    "a: x\r\n",
    "n: x\r\n",
    "Content-Type: text/plain\r\n",
    "c: text/plain\r\nContent-Type: text/plain\r\n",
    "Expires: 1\r\nExpires: 2\r\n",
    "no colon\r\n",
    ": nameless\r\n",
    "X Y: z\r\n",
    "X: a\rb\r\n",
    "X: a\nb\r\n",
    " folded onto what was before\r\n",
    "Max-Forwards: 5\r\n",
    "To: <sip:other@h>\r\n",
    "Call-ID: other\r\n",
];

/// A message, most often one that can be read.
pub fn message(rng: &mut Rng) -> Vec<u8> {
    let method = odd(rng, METHODS, "OPTIONS");
    let target = odd(rng, URIS, "sip:1712@h");
    let start = match rng.below(20) {
        0 => format!("SIP/2.0 {} {}", odd(rng, NUMBERS, "200"), odd(rng, NAMES, "OK")),
        1..=4 => format!("SIP/2.0 200 OK{}", odd(rng, BLANKS, "")),
        5 => format!("{method} {target} sip/2.0"),
        6 => format!("{method} {target} SIP/2.1"),
        7 => format!("{method}{}{target} SIP/2.0", pick(rng, BLANKS)),
        _ => format!("{method} {target} SIP/2.0"),
    };
    let mut fields: Vec<String> = vec![
        field(rng, &["Via", "v", "VIA"], |rng| odd(rng, VIAS, VIAS[0]).to_owned()),
        field(rng, &["From", "f", "fRoM"], address),
        field(rng, &["To", "t", "TO"], address),
        field(rng, &["Call-ID", "i", "call-id"], |rng| {
            odd(rng, &["a@b", "a b", "a,b", "", "<a>\"[]"], "c").to_owned()
        }),
        field(rng, &["CSeq", "cseq"], |rng| {
            format!("{}{}{}", odd(rng, NUMBERS, "1"), odd(rng, BLANKS, " "), odd(rng, METHODS, method))
        }),
    ];
    if rng.below(2) == 0 {
        fields.push(field(rng, &["Max-Forwards"], |rng| odd(rng, NUMBERS, "70").to_owned()));
    }
    if rng.below(2) == 0 {
        fields.push(field(rng, &["Contact", "m"], |rng| {
            let one = address(rng);
            if rng.below(4) == 0 { format!("{one}, {}", address(rng)) } else { one }
        }));
    }
    if rng.below(3) == 0 {
        fields.push(field(rng, &["Via", "v"], |rng| pick(rng, VIAS).to_owned()));
    }
    if rng.below(3) == 0 {
        fields.push(pick(rng, EXTRAS).to_owned());
    }
    let body = ["", "abc", "INVITE sip:x@h SIP/2.0\r\n\r\n"][rng.below(3) as usize];
    if rng.below(4) > 0 {
        let length = body.len().to_string();
        fields.push(field(rng, &["Content-Length", "l"], |rng| odd(rng, NUMBERS, &length).to_owned()));
    }
    for index in (1..fields.len()).rev() {
        fields.swap(index, rng.below(index as u64 + 1) as usize);
    }
    let text = format!("{start}\r\n{}\r\n{body}", fields.concat());
    // Half of them in Latin-1.
    if rng.below(2) == 0 && text.chars().all(|c| u32::from(c) < 256) {
        return text.chars().map(|c| c as u8).collect();
    }
    text.into_bytes()
}

fn pick<'a>(rng: &mut Rng, from: &[&'a str]) -> &'a str {
    from[rng.below(from.len() as u64) as usize]
}

/// Mostly the usual one.
fn odd<'a>(rng: &mut Rng, from: &[&'a str], usual: &'a str) -> &'a str {
    if rng.below(4) == 0 { pick(rng, from) } else { usual }
}

fn field(rng: &mut Rng, names: &[&str], value: impl Fn(&mut Rng) -> String) -> String {
    let name = pick(rng, names);
    let (before, after, behind) = (odd(rng, BLANKS, ""), odd(rng, BLANKS, " "), odd(rng, BLANKS, ""));
    format!("{name}{before}:{after}{}{behind}\r\n", value(rng))
}

fn address(rng: &mut Rng) -> String {
    let (name, uri, params) = (odd(rng, NAMES, ""), odd(rng, URIS, URIS[0]), odd(rng, PARAMS, PARAMS[1]));
    if rng.below(4) == 0 { format!("{uri}{params}") } else { format!("{name}<{uri}>{params}") }
}
