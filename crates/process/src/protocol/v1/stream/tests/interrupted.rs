use super::*;
use opencode_run_core::{Event, PartId, SessionId};

#[test]
fn unfinished_text_is_read_from_the_answer() {
    let answer = r#"{"info":{"id":"msg_2","sessionID":"ses_1","role":"assistant","time":{"created":1,"completed":2},
        "error":{"name":"MessageAbortedError","data":{"message":"The operation was aborted."}}},
        "parts":[{"id":"prt_1","sessionID":"ses_1","messageID":"msg_2","type":"text","text":"Half of","time":{"start":1}}]}"#;
    let answer = read_message(answer).unwrap();
    let mut decoder = TurnDecoder::new(SessionId::new("ses_1"), "msg_1".to_owned());
    let told: Vec<_> = decoder.reconcile(answer.clone()).into_iter().map(|observed| observed.event).collect();
    assert_eq!(told, [Event::Text { part: PartId::new("prt_1"), text: "Half of".to_owned() }]);
    assert_eq!(decoder.reconcile(answer.clone()), []);
    assert!(decoder.has_emitted(&answer.expected()));
}

#[test]
fn finished_step_does_not_restart() {
    let part = |id: u32, rest: &str| format!(r#"{{"id":"prt_{id}","sessionID":"ses_1","messageID":"msg_2",{rest}}}"#);
    let text = part(2, r#""type":"text","text":"hello","time":{"start":1,"end":2}"#);
    let tokens = r#""tokens":{"input":1,"output":1,"reasoning":0,"cache":{"read":0,"write":0}}"#;
    let ends = part(3, &format!(r#""type":"step-finish","reason":"stop","cost":0,{tokens}"#));
    let begins = part(1, r#""type":"step-start""#);
    let info = r#"{"id":"msg_2","sessionID":"ses_1","role":"assistant","time":{"created":1,"completed":2}}"#;
    let answer = read_message(&format!(r#"{{"info":{info},"parts":[{begins},{text},{ends}]}}"#)).unwrap();
    let event = |kind: &str, properties: &str| {
        route(&format!(r#"{{"payload":{{"type":"{kind}","properties":{properties}}}}}"#)).unwrap()
    };
    for (lost, told) in [(&[][..], 0), (&[0], 0), (&[0, 2], 2), (&[2], 1)] {
        let mut decoder = TurnDecoder::new(SessionId::new("ses_1"), "msg_1".to_owned());
        decoder.decode(event("message.updated", &format!(r#"{{"info":{info}}}"#)), 0.0);
        for (place, part) in [&begins, &text, &ends].into_iter().enumerate() {
            if !lost.contains(&place) {
                let told = decoder.decode(event("message.part.updated", &format!(r#"{{"part":{part}}}"#)), 0.0);
                assert!(told.is_some(), "{part}");
            }
        }
        let late: Vec<_> = decoder.reconcile(answer.clone()).into_iter().map(|observed| observed.event).collect();
        assert_eq!(late.len(), told, "{lost:?}: {late:?}");
        assert!(decoder.has_emitted(&answer.expected()), "{lost:?}");
    }
}
