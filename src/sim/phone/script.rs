//! What a simulated phone does, who it is, and what it saw.

use std::time::Duration;

/// What somebody at a phone does with a call that has been set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// A key by RFC 4733; the world hands it to the media room.
    Press(char),
    /// Begins to speak, or stops.
    Speak(bool),
    /// A key by SIP INFO (`application/dtmf-relay`).
    PressByInfo(char),
    /// re-INVITE with this direction (`sendonly` is hold).
    Reinvite(&'static str),
    /// re-INVITE without a description: the switch offers.
    AskForOffer,
    /// re-INVITE from another RTP port.
    MoveMedia,
    /// REFER to this URI.
    Refer(String),
    /// REFER to this URI with a Replaces that names this phone's newest other call (RFC 3891, 5589).
    HandOver(String),
    /// BYE; before an answer CANCEL or a refusal.
    HangUp,
    /// Stops to answer anything, as a phone whose battery is empty.
    Vanish,
    /// CANCEL for an INVITE that has been answered, which must change nothing (RFC 3261 9.2).
    LateCancel,
}

/// How a phone takes an incoming call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Rings and answers after this time.
    Answers(Duration),
    /// Rings for ever.
    NeverAnswers,
    Busy,
    Declines,
    /// Refuses with this status.
    Refuses(u16),
    /// Does not say a word.
    Dead,
    /// Answers, and hangs up before the ACK can arrive.
    AnswersAndHangsUp(Duration),
    /// Rings so long, then refuses: the counsellor presses "reject".
    RingsThenDeclines(Duration),
    /// Answers with a description that nothing can be said by.
    AnswersBadly(Duration),
}

/// What a phone does in its life.
#[derive(Debug, Clone)]
pub struct Script {
    pub manner: Manner,
    /// Deeds, each so long after the call was answered.
    pub deeds: Vec<(Duration, Deed)>,
    /// Registers under this name and password when it starts; the same for `*` codes.
    pub registers: Option<(String, String)>,
    /// Takes only calls for this user; `None` takes all. Several phones may share one address.
    pub takes: Option<String>,
    /// A caller that gives up before an answer, so long after dialling.
    pub cancels_after: Option<Duration>,
    /// Sends CANCEL in the very moment in which the 200 comes.
    pub cancels_at_answer: bool,
    /// Never acknowledges a 200.
    pub never_acks: bool,
    /// The ACKs to the first 200 are lost, so many of them.
    pub acks_lost: u32,
    /// Sends BYE before the ACK.
    pub bye_before_ack: bool,
    /// INVITE without a description; the ACK answers the switch's offer.
    pub late_offer: bool,
    /// With `late_offer`: an ACK without the answer.
    pub forgets_answer: bool,
    /// How long somebody speaks after the tone of an answering machine.
    pub speaks: Duration,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            manner: Manner::Busy,
            deeds: Vec::new(),
            registers: None,
            takes: None,
            cancels_after: None,
            cancels_at_answer: false,
            never_acks: false,
            acks_lost: 0,
            bye_before_ack: false,
            late_offer: false,
            forgets_answer: false,
            speaks: Duration::from_secs(10),
        }
    }
}

impl Script {
    /// Answers after so many seconds.
    pub fn answers(seconds: u64) -> Self {
        Self::manner(Manner::Answers(Duration::from_secs(seconds)))
    }

    pub fn manner(manner: Manner) -> Self {
        Self { manner, ..Self::default() }
    }

    /// And then, so many seconds after the answer.
    pub fn then(mut self, seconds: u64, deed: Deed) -> Self {
        self.deeds.push((Duration::from_secs(seconds), deed));
        self
    }

    /// So many milliseconds after the answer.
    pub fn then_ms(mut self, milliseconds: u64, deed: Deed) -> Self {
        self.deeds.push((Duration::from_millis(milliseconds), deed));
        self
    }

    pub fn speaks(mut self, seconds: u64) -> Self {
        self.speaks = Duration::from_secs(seconds);
        self
    }
}

/// All by which a phone could be recognised. Two phones that differ in nothing else must look the
/// same from a counsellor's side.
#[derive(Debug, Clone)]
pub struct Identity {
    pub user: String,
    pub display: String,
    pub host: String,
    pub user_agent: String,
    /// More header lines for every request, complete with CR LF.
    pub headers: String,
    /// Lines put into the session description after `t=`.
    pub sdp_session: String,
    /// The `o=` line's user.
    pub sdp_origin: String,
}

impl Identity {
    pub fn plain(user: &str) -> Self {
        Self {
            user: user.into(),
            display: String::new(),
            host: "phone.invalid".into(),
            user_agent: "phone".into(),
            headers: String::new(),
            sdp_session: String::new(),
            sdp_origin: "-".into(),
        }
    }

    /// One that has the word in all that may say who somebody is, so that it can be searched for elsewhere.
    pub fn marked(word: &str) -> Self {
        Self {
            display: format!("{word}-display"),
            host: format!("{word}-host.invalid"),
            user_agent: format!("{word}-agent"),
            headers: format!(
                "P-Asserted-Identity: <sip:{word}-asserted@carrier>\r\nSubject: {word}-subject\r\n"
            ),
            sdp_session: format!("s={word}-session\r\n"),
            sdp_origin: format!("{word}-origin"),
            ..Self::plain(&format!("{word}-user"))
        }
    }
}

/// What became of the phone's calls, for the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    Ringing,
    /// An INVITE came.
    Invited,
    /// As UAC: a 2xx; as UAS: the ACK for our 200.
    Up,
    Refused(u16),
    /// The other side said BYE.
    ByePeer,
    /// Our BYE was answered (or given up).
    ByeOurs,
    Cancelled,
    Registered,
    NotRegistered(u16),
    /// A request of ours within the call was answered so.
    Replied(u16),
    /// A key that the switch sent by INFO.
    Info(char),
    /// NOTIFY about a transfer: the status in its body.
    Notified(u16),
    /// No final response at all.
    TimedOut,
}
