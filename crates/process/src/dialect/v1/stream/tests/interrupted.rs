use super::*;
use opencode_run_core::{Event, PartId, SessionId};

#[test]
fn a_text_that_was_never_finished_is_told_once_from_the_answer() {
    let answer = r#"{"info":{"id":"msg_2","sessionID":"ses_1","role":"assistant","time":{"created":1,"completed":2},
        "error":{"name":"MessageAbortedError","data":{"message":"The operation was aborted."}}},
        "parts":[{"id":"prt_1","sessionID":"ses_1","messageID":"msg_2","type":"text","text":"Half of","time":{"start":1}}]}"#;
    let answer = read_message(answer).unwrap();
    let mut decoder = TurnDecoder::new(SessionId::new("ses_1"), "msg_1".to_owned());
    let told: Vec<_> = decoder.reconcile(answer.clone()).into_iter().map(|observed| observed.event).collect();
    assert_eq!(told, [Event::Text { part: PartId::new("prt_1"), text: "Half of".to_owned() }]);
    assert_eq!(decoder.reconcile(answer.clone()), []);
    assert!(decoder.has_told(&answer));
}
