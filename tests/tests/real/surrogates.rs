//! Text that opencode cuts within an emoji.

use crate::stage::Stage;
use opencode_run_scripted_model::{Part, Script, When};
use serde_json::{Value, json};

/// Returns a line with a pair across the place where opencode's `read` cuts it, after 2,000 UTF-16 code units.
fn long_line() -> String {
    "x".repeat(1999) + &"\u{1f600}".repeat(40)
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn tool_output_cut_in_an_emoji_is_read() {
    for transport in ["serve", "run"] {
        let script = Script::new()
            .rule(When::agent().after_tools(0).reply(Part::tool_call("read", json!({"filePath": "long.txt"}))))
            .rule(When::agent().after_tools(1).reply("Done."));
        let stage = Stage::new(script);
        stage.write("workspace/long.txt", &long_line());
        let arguments = ["-m", "stub/gpt-4", "--dir", ".", "--transport", transport, "--output-format", "stream-json"];
        let done = stage.run(arguments.into_iter().chain(["--idle-timeout", "60s", "read it"])).with_code(0);
        let lines: Vec<Value> = done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let read = lines.iter().find(|line| line["type"] == "tool" && line["state"]["status"] == "completed");
        let output =
            read.unwrap_or_else(|| panic!("{transport}: {}", done.stdout))["state"]["output"].as_str().unwrap();
        assert!(output.contains("x\u{fffd}"), "{transport}: {output}");
        assert!(!lines.iter().any(|line| line["kind"] == "unreadable"), "{transport}: {}", done.stdout);
        assert_eq!(lines.last().unwrap()["output"], "Done.", "{transport}");
        stage.end();
    }
}
