//! Three together, heard: the caller, a counsellor with two telephones, and a third behind the carrier, each with a
//! tone of its own. Each hears the two others and not itself. That there is no click between is looked at packet by packet
//! in `media/mixer_tests`, where no machine stalls.

mod support;

use std::f64::consts::TAU;
use std::path::Path;

use support::server::{Program, binary};
use support::{Server, Site};

const RATE: f64 = 8000.0;
const AMPLITUDE: f64 = 8000.0;
/// The tones' names and hertz: a whole number of periods in a window.
const TONES: [(&str, f64); 4] = [("caller", 200.0), ("third", 250.0), ("anna", 310.0), ("desk", 405.0)];
/// Samples of a window: 200 ms.
const WINDOW: usize = 1600;

struct Voice {
    program: Program,
}

impl Voice {
    fn start(server: &Server, name: &str, arguments: &str) -> Self {
        let site = server.site();
        write_tone(site, name);
        let mut command = binary();
        for argument in arguments.split_whitespace() {
            command.arg(site.place.fill(argument));
        }
        let (play, record) = (site.dir.join(format!("{name}.wav")), site.dir.join(format!("at-{name}.wav")));
        command.arg("--play").arg(play).arg("--record").arg(record);
        command.env("HULPLIJN_PASSWORD", "geheim-anna");
        Self { program: Program::start(command) }
    }

    fn wait(&self, line: &str) {
        let found = self.program.out.wait_or(|l| l.contains(line), || false);
        assert!(
            found.is_some(),
            "`{line}` was not said:\n{}{}",
            self.program.out.text(),
            self.program.err.text()
        );
    }

    fn ends(&mut self) {
        let ended = self.program.wait_exit();
        self.program.out.wait_or(|_| false, || false);
        assert_eq!(ended, Some(0), "{}{}", self.program.out.text(), self.program.err.text());
    }
}

fn write_tone(site: &Site, name: &str) {
    let hertz = TONES.iter().find(|(n, _)| *n == name).map_or(0.0, |(_, hertz)| *hertz);
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 8000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let path = site.dir.join(format!("{name}.wav"));
    let mut writer = hound::WavWriter::create(path, spec).expect("writable");
    for n in 0..8000 * 60 {
        writer.write_sample((AMPLITUDE * (TAU * hertz * f64::from(n) / RATE).sin()) as i16).expect("written");
    }
    writer.finalize().expect("whole");
}

/// The amplitude of a tone in a window (Goertzel).
fn amplitude(window: &[i16], hertz: f64) -> f64 {
    let coefficient = 2.0 * (TAU * hertz / RATE).cos();
    let (mut one, mut two) = (0.0, 0.0);
    for sample in window {
        (one, two) = (f64::from(*sample) + coefficient * one - two, one);
    }
    let power = one * one + two * two - coefficient * one * two;
    2.0 * power.max(0.0).sqrt() / window.len() as f64
}

/// Who is heard in each window: the names in the order of `TONES`.
fn who_speaks(heard: &[i16]) -> Vec<Vec<&'static str>> {
    let speaks = |window: &[i16], hertz| amplitude(window, hertz) > AMPLITUDE / 2.0;
    let names = |window: &[i16]| {
        TONES.iter().filter(|(_, hertz)| speaks(window, *hertz)).map(|(name, _)| *name).collect()
    };
    heard.chunks_exact(WINDOW).map(names).collect()
}

fn read(server: &Server, name: &str) -> Vec<i16> {
    let path = server.site().dir.join(format!("at-{name}.wav"));
    read_wav(&path)
}

fn read_wav(path: &Path) -> Vec<i16> {
    let mut reader = hound::WavReader::open(path).expect("a WAV");
    reader.samples::<i16>().map(|sample| sample.expect("a sample")).collect()
}

#[test]
fn each_of_three_hears_the_two_others_and_not_itself_and_who_stays_is_bridged_again() {
    let server = Server::helpline("");
    let mut third = Voice::start(&server, "third", "phone --listen NET.2:5060 --once --hang-up 13s");
    third.wait("listening at");
    let line = "phone --line anna --switch NET.1:5060";
    let mut desk = Voice::start(&server, "desk", &format!("{line} --once"));
    desk.wait("registered as anna");
    let from = "call sip:1712@NET.1:5060 --local NET.2:5070 --from +32470123456";
    let mut caller = Voice::start(&server, "caller", from);
    desk.wait("first audio");
    // The same counsellor's other telephone asks, and brings the third in: the one at the desk is hung up.
    let arguments = format!("{line} --dial 106 --calls 0 --press *75@2s --hang-up 8s");
    let mut anna = Voice::start(&server, "anna", &arguments);
    server.wait_log("brought_together");
    desk.ends();
    anna.ends();
    caller.ends();
    third.ends();

    let [at_caller, at_third, at_anna] = ["caller", "third", "anna"].map(|name| read(&server, name));
    for (own, heard, others) in [
        ("caller", &at_caller, ["third", "anna"]),
        ("third", &at_third, ["caller", "anna"]),
        ("anna", &at_anna, ["caller", "third"]),
    ] {
        let windows = who_speaks(heard);
        let both = windows.iter().filter(|names| names[..] == others).count();
        // Five seconds in the room are 25 windows.
        assert!(both >= 12, "{own} hears both others in {both} windows: {windows:?}");
        assert!(windows.iter().all(|names| !names.contains(&own)), "{own} hears itself: {windows:?}");
        let own_tone = TONES.iter().find(|(name, _)| *name == own).map_or(0.0, |(_, hertz)| *hertz);
        let loudest = heard.chunks_exact(WINDOW).zip(&windows).filter(|(_, names)| names[..] == others);
        let loudest = loudest.map(|(window, _)| amplitude(window, own_tone)).fold(0.0, f64::max);
        assert!(loudest < AMPLITUDE / 20.0, "{own} hears itself at {loudest}");
    }
    let windows = who_speaks(&at_caller);
    let order: Vec<&[&str]> = [&["desk"][..], &["third", "anna"], &["third"]].into();
    let mut at = 0;
    for wanted in order {
        let found = windows[at..].iter().position(|names| names[..] == *wanted);
        at += found.unwrap_or_else(|| panic!("no {wanted:?} after window {at}: {windows:?}"));
    }
    // The level of each is what it was (a coding of G.711 changes it by less than 1 dB).
    let third_alone =
        who_speaks(&at_caller).iter().rposition(|names| names[..] == ["third"]).unwrap_or_default();
    let level = amplitude(&at_caller[third_alone * WINDOW..][..WINDOW], 250.0);
    assert!((AMPLITUDE * 0.9..AMPLITUDE * 1.12).contains(&level), "{level}");
}
