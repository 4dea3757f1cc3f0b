//! Keys appear only in requests to the provider.

use crate::stage::{Running, Stage, bash, until};
use opencode_run_scripted_model::{Answer, Part, Script, Usage, When};
use std::path::Path;
use std::time::Duration;

const KEY: &str = "sk-very-secret-0123456789";

/// Returns the files below a directory that contain the key.
fn files_with_key(folder: &Path) -> Vec<String> {
    let output = std::process::Command::new("grep").args(["-rlaF", KEY]).arg(folder).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn key_is_in_no_output_or_file() {
    let wait = "until [ -e ../go ]; do sleep 0.1; done";
    let script = Script::new()
        .rule(When::agent().after_tools(0).reply(vec![Part::text("I wait."), bash(wait)]))
        .rule(When::agent().after_tools(1).reply("Done."));
    let stage = Stage::new(script);
    let text = format!(
        "MODEL_DEFAULT_BASEURL={}\nMODEL_DEFAULT_APIKEY={KEY}\nMODEL_DEFAULT_MODEL=m\n",
        stage.model.base_url()
    );
    let file = stage.write("keys/named.env", &text);
    let arguments =
        ["-vvv", "--config", file.to_str().unwrap(), "--save-markdown", "--output-format", "stream-json", "x"];
    let running = Running::start(stage.command(arguments));
    stage.wait_for_requests(1);
    until("the tool", || running.stdout_so_far().contains("I wait."));
    let command_lines: Vec<String> = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read(entry.unwrap().path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .collect();
    assert!(command_lines.iter().any(|line| line.contains("serve --hostname 127.0.0.1")), "no opencode");
    assert!(!command_lines.iter().any(|line| line.contains(KEY)), "a key in argv");
    stage.write("workspace/go", "");
    let done = running.end().with_code(0);
    assert_eq!(stage.requests()[0].header("authorization").unwrap(), format!("Bearer {KEY}"));
    assert!(!done.stdout.contains(KEY) && !done.stderr.contains(KEY), "{}\n{}", done.stdout, done.stderr);
    assert_eq!(files_with_key(stage.sandbox.root()), [file.to_str().unwrap()]);
    stage.end();
}

const TRANSPORTS: [&str; 2] = ["serve", "run"];

/// Writes a file of model sources outside of the agent's directories, and returns it.
fn keys(stage: &Stage) -> String {
    let text = format!(
        "MODEL_DEFAULT_BASEURL={}\nMODEL_DEFAULT_APIKEY={KEY}\nMODEL_DEFAULT_MODEL=m\n",
        stage.model.base_url()
    );
    stage.write("keys/named.env", &text).to_str().unwrap().to_owned()
}

/// Allows the agent to read everything, so that opencode's own rules do not protect the key.
fn all_allowed() -> serde_json::Value {
    serde_json::json!({"permission": {"*": "allow", "external_directory": "allow"}})
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn agent_cannot_find_the_key() {
    // The command does not contain the key itself, or it would find itself.
    let look = "{ printenv; cat /proc/*/environ /proc/*/cmdline; grep -ra 'very-[s]ecret-0123456789' $HOME . $TMPDIR; } \
                2>/dev/null | grep -ac 'very-[s]ecret-0123456789'; echo looked";
    for transport in TRANSPORTS {
        let script = Script::new()
            .rule(When::agent().after_tools(0).reply(bash(look)))
            .rule(When::agent().after_tools(1).reply("Done."));
        let mut stage = Stage::new(script);
        stage.configure(&all_allowed());
        let file = keys(&stage);
        let arguments = ["--transport", transport, "--config", &file, "--output-format", "stream-json", "look"];
        let done = stage.run(arguments).with_code(0);
        let tools = done.stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let found: Vec<_> = tools.filter_map(|line| line["state"]["output"].as_str().map(str::to_owned)).collect();
        assert_eq!(found.last().map(|output| output.trim()), Some("0\nlooked"), "{transport}");
        for request in stage.requests() {
            assert_eq!(request.header("authorization").unwrap(), format!("Bearer {KEY}"), "{transport}");
        }
        stage.end();
    }
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn found_key_is_redacted() {
    let pieces = Part::chunked_text(format!("It is {KEY}, I think."), 3, Duration::from_millis(1));
    for transport in TRANSPORTS {
        let script = Script::new()
            .rule(When::agent().after_tools(0).reply(bash("cat ../../keys/named.env")))
            .rule(When::agent().after_tools(1).reply(vec![pieces.clone()]));
        let mut stage = Stage::new(script);
        stage.configure(&all_allowed());
        let file = keys(&stage);
        let common = ["--transport", transport, "--config", &file, "--save-markdown=../talk.md"];
        // On `run`, the fake plays all formats (`faults/privacy.rs`).
        for format in if transport == "serve" { ["stream-json"] } else { ["json"] } {
            let done = stage.run(common.into_iter().chain(["--output-format", format, "-vvv", "look"])).with_code(0);
            assert!(done.stdout.contains("It is [redacted], I think."), "{transport}: {}", done.stdout);
            assert!(!done.stdout.contains(KEY) && !done.stderr.contains(KEY), "{transport}: {}", done.stderr);
            // Nor in consecutive pieces.
            let lines = done.stdout.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
            let pieces = lines.filter(|line| line["type"] == "text_delta");
            let raws: String =
                pieces.filter_map(|line| line["raw"]["properties"]["delta"].as_str().map(str::to_owned)).collect();
            assert!(!raws.contains(KEY), "{transport}: {raws}");
        }
        let talk = std::fs::read_to_string(stage.sandbox.path("talk.md")).unwrap();
        assert!(
            talk.contains("MODEL_DEFAULT_APIKEY=[redacted]") && talk.contains("It is [redacted], I think."),
            "{talk}"
        );
        // opencode's own history contains opencode's input; our files do not.
        let of_ours: Vec<_> =
            files_with_key(stage.sandbox.root()).into_iter().filter(|path| !path.contains("/opencode/")).collect();
        assert_eq!(of_ours, [file.as_str()], "{transport}");
        stage.end();
    }
}

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn budget_ends_a_turn() {
    for transport in TRANSPORTS {
        let usage = || Usage::new(100, 10);
        let calls = Answer::new([bash("true")]).usage(usage());
        let script = Script::new()
            .rule(When::agent().after_tools(0).reply(calls))
            .rule(When::agent().after_tools(1).reply(Answer::text("Done.").usage(usage())));
        let stage = Stage::new(script);
        let file = keys(&stage);
        let common = ["--transport", transport, "--config", &file, "--output-format", "json"];
        let result = stage.run(common.into_iter().chain(["--max-requests", "1", "hello"])).with_code(1).json();
        assert_eq!(result["error"]["kind"], "limit", "{transport}: {result}");
        assert!(result["error"]["message"].as_str().unwrap().contains("1 requests"), "{result}");
        assert_eq!((&result["model_traffic"]["requests"], &result["model_traffic"]["refused"]), (&1.into(), &1.into()));

        if transport == "run" {
            // The gateway counts the requests of both transports in the same way.
            stage.end();
            continue;
        }
        let result = stage.run(common.into_iter().chain(["--max-tokens-total", "1000", "hello"])).with_code(0).json();
        let traffic = &result["model_traffic"];
        assert_eq!((&traffic["source"], &traffic["requests"]), (&"default".into(), &2.into()), "{transport}: {result}");
        assert_eq!((&traffic["input_tokens"], &traffic["output_tokens"]), (&200.into(), &20.into()), "{result}");
        assert!(traffic["first_byte_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{traffic}");

        let done = stage.run(common.into_iter().chain(["--max-cost", "0.01", "hello"])).with_code(3);
        assert!(done.stderr.contains("MODEL_DEFAULT_PRICE_INPUT"), "{}", done.stderr);
        stage.end();
    }
}
