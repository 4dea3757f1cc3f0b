use super::*;
use serde_json::json;

fn parse(text: &str) -> Result<BatchTask, TaskError> {
    let options = ParseOptions::default();
    let fields: RawFields<'_> = serde_json::from_str(text).unwrap();
    let parsed = parse_fields(&fields, 7, &options);
    let checked = check_fields(&fields, 7, &options);
    assert_eq!(parsed.as_ref().err(), checked.as_ref().err(), "both passes agree");
    parsed
}

fn error(text: &str) -> String {
    parse(text).unwrap_err().message
}

#[test]
fn aliases_name_the_same_fields() {
    let task = parse(r#"{"instance_id":"a","problem_statement":"fix","repo":"o/r","base_commit":"abc","version":"1"}"#)
        .unwrap();
    assert_eq!((task.id.as_str(), task.messages[0].as_str()), ("a", "fix"));
    assert_eq!((task.repo.as_deref(), task.git_ref.as_deref()), (Some("o/r"), Some("abc")));
    assert_eq!(task.metadata["version"], "1");
}

#[test]
fn two_names_of_one_field_are_refused() {
    assert_eq!(error(r#"{"id":"a","task_id":"b","message":"m"}"#), "`id` and `task_id` are names of the same field");
    assert_eq!(error(r#"{"id":"a","id":"b","message":"m"}"#), "the field `id` occurs twice");
}

#[test]
fn mistyped_field_is_refused() {
    assert_eq!(error(r#"{"id":"a","promt":"m"}"#), "unknown field `promt`: did you mean `prompt`?");
    let strict = ParseOptions { strict: true, template: None };
    let fields = serde_json::from_str(r#"{"id":"a","prompt":"m","stars":3}"#).unwrap();
    assert_eq!(parse_fields(&fields, 1, &strict).unwrap_err().message, "unknown field `stars`");
}

#[test]
fn wrong_types_are_refused() {
    for (text, message) in [
        (r#"{"id":"a"}"#, "the task has no message"),
        (r#"{"id":"a","prompt":" "}"#, "`prompt` is empty"),
        (r#"{"id":"a","prompt":3}"#, "`prompt` must be a string or a list of strings, not a number"),
        (r#"{"id":"a","prompt":"m","timeout":"soon"}"#, "`timeout` must be seconds or a time such as 90s, 5m or 1h30m"),
        (r#"{"id":"a","prompt":"m","priority":1.5}"#, "`priority` must be a whole number"),
        (r#"{"id":"a","prompt":"m","files":[1]}"#, "`files` must be a list of strings"),
        (r#"{"id":"a","prompt":"m","permission":"ask"}"#, "`permission` must be `allow` or `deny`, not `ask`"),
        (r#"{"id":"a\n","prompt":"m"}"#, "the id contains a control character"),
        (r#"{"id":"a","prompt":"m","dir":"d","repo":"r"}"#, "`dir` and `repo` exclude each other"),
        (r#"{"id":"a","prompt":"m","ref":"main"}"#, "`ref` needs a `repo`"),
    ] {
        assert_eq!(error(text), message);
    }
    assert!(error(r#"{"id":"a","prompt":"m","model":"gpt"}"#).starts_with("`model`: "));
    assert!(error(r#"{"id":"a","prompt":"m","model_source_type":"cod"}"#).starts_with("`model_source_type`: "));
}

#[test]
fn messages_may_be_a_conversation() {
    let chat = r#"{"id":1,"messages":[{"role":"system","content":"s"},{"role":"user","content":"one"},"two"]}"#;
    let task = parse(chat).unwrap();
    assert_eq!((task.id.as_str(), task.messages.as_slice()), ("1", ["one".to_owned(), "two".to_owned()].as_slice()));
    assert_eq!(task.context.as_deref(), Some("s"));
}

#[test]
fn task_without_id_is_named_by_repository_or_position() {
    assert_eq!(parse(r#"{"prompt":"m"}"#).unwrap().id, "7");
    assert_eq!(parse(r#"{"prompt":"m","repo":"o/r"}"#).unwrap().id, "o/r");
    assert_eq!(parse(r#"{"prompt":"m","repo":"o/r","ref":"v1"}"#).unwrap().id, "o/r@v1");
    assert_eq!(parse(r#"{"prompt":"m","repo":"https://me:secret@host/r"}"#).unwrap().id, "https://host/r");
}

#[test]
fn half_a_surrogate_pair_is_replaced() {
    let task = parse(r#"{"id":"a","prompt":"cut \ud83d"}"#).unwrap();
    assert!(task.messages[0].starts_with("cut \u{fffd}"), "{:?}", task.messages);
}

#[test]
fn optional_fields_are_read() {
    let task = parse(
        r#"{"id":"a","prompt":"m","timeout":90,"idle_timeout":"0","priority":"2","check_files":{"t.py":"tests/t.py"},
            "artifacts":"*.log","json_schema":{"type":"object"},"metadata":{"k":1},"note":null}"#,
    )
    .unwrap();
    assert_eq!((task.timeout, task.idle_timeout), (Some(Limit::At(Duration::from_secs(90))), Some(Limit::Off)));
    assert_eq!((task.priority, task.artifacts.as_slice()), (2, ["*.log".to_owned()].as_slice()));
    assert_eq!(task.check_files, Some(CheckFiles::Files([("t.py".into(), "tests/t.py".into())].into())));
    assert_eq!(task.json_schema, Some(JsonSchema::Inline(json!({"type": "object"}))));
    assert_eq!(Value::Object(task.metadata), json!({"k": 1, "note": null}));
    let error = parse(r#"{"id":"a","prompt":"m","artifacts":["*.log","a[b"]}"#).unwrap_err();
    assert!(error.to_string().starts_with("`artifacts`: `a[b` is not a glob: "), "{error}");
}
