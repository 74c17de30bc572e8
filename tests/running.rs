//! The running binary answers: the first thing that must be so, and the harness's own test.

mod support;

use support::{Dialog, Rtp, Sdp, Server, prompts};

#[test]
fn a_caller_hears_the_prompt_octet_for_octet_and_is_hung_up_on() {
    let server = Server::helpline("");
    let mut carrier = server.carrier();
    let mut ear = Rtp::bind(server.place().host(2));
    let (dialog, _) = Dialog::call(&mut carrier, "say", &Sdp::pcma(ear.local));
    let goodbye = prompts::alaw("nl", "goodbye");
    ear.hear_until("the goodbye", |ear| ear.has_heard(&goodbye));
    dialog.await_bye(&mut carrier);
    server.wait_metric(r#"hulplijn_calls_total{outcome="goodbye"}"#, 1.0);
    assert_eq!(server.get("/health/ready"), (200, "ready\n".to_owned()));
}
