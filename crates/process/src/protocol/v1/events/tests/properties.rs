//! Properties that hold for any line.

use super::*;
use crate::protocol::v1::fuzzing::run_output;
use proptest::prelude::*;

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        let key = prop_oneof![
            Just("id".to_owned()),
            Just("text".to_owned()),
            Just("state".to_owned()),
            Just("reason".to_owned()),
            Just("tokens".to_owned()),
            Just("data".to_owned()),
            ".{0,6}",
        ];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::hash_map(key, inner, 0..5).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

fn any_kind() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::sample::select(vec!["step_start", "text", "reasoning", "tool_use", "step_finish", "error"])
            .prop_map(str::to_owned),
        ".{0,10}",
    ]
}

proptest! {
    #[test]
    fn any_bytes_give_events(output in proptest::collection::vec(prop_oneof![1 => Just(b'\n'), 20 => any::<u8>()], 0..200)) {
        run_output(&output);
    }

    #[test]
    fn typed_object_keeps_every_byte(kind in any_kind(), part in any_json(), error in any_json()) {
        let line = json!({"type": kind, "sessionID": part, "part": part, "error": error}).to_string();
        run_output(line.as_bytes());
        let observed = decode(line.as_bytes()).observed;
        prop_assert_eq!(observed.raw.as_ref().unwrap().get(), &line);
        if let Event::Unknown { kind: named, .. } = &observed.event {
            prop_assert_eq!(named, &kind);
        }
    }

    #[test]
    fn damaged_real_output_gives_events(
        number in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let recordings: Vec<_> = recordings().into_iter().filter(|recording| !recording.stdout.is_empty()).collect();
        let mut output = number.get(&recordings).stdout.join("\n").into_bytes();
        let at = at.index(output.len());
        run_output(&output[..at]);
        output[at] = byte;
        run_output(&output);
    }
}
