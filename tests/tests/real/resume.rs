//! A conversation whose command was killed continues in the same session.

use crate::stage::{Running, Stage, bash, until};
use opencode_run_scripted_model::{Part, Script, When};
use rustix::process::Signal;
use std::time::Duration;

#[test]
#[cfg_attr(not(real_opencode), ignore = "no real opencode")]
fn killed_turn_continues_in_its_session() {
    for transport in ["run", "serve"] {
        let script = Script::new()
            .rule(When::agent().said("What did I ask").reply("You asked for the number."))
            .rule(When::agent().after_tools(0).reply(vec![Part::text("I look for it."), bash("echo seen")]))
            .rule(When::agent().after_tools(1).reply(vec![
                Part::chunked_text("It is somewhere here, I am sure of it.", 4, Duration::from_millis(20)),
                Part::stall(),
            ]));
        let stage = Stage::new(script);
        let on_model = ["-m", "stub/gpt-4", "--transport", transport];
        let running = Running::start(stage.command(on_model.into_iter().chain(["Find the number."])));
        stage.wait_for_requests(2);
        let seen = |transport| if transport == "run" { "I look for it." } else { "I am sure of it." };
        until("the text", || running.stdout_so_far().contains(seen(transport)));
        running.signal(Signal::KILL);
        let printed = running.end().stdout;
        stage.sandbox.assert_nothing_alive();

        let [dir] = stage.task_dirs().try_into().unwrap();
        let dir = dir.to_str().unwrap();
        let shown = stage.run(["resume", dir]).with_code(0);
        assert_eq!(shown.stdout.trim_end(), printed.trim_end());
        assert!(shown.stderr.contains("cut off"), "{}", shown.stderr);

        let message = ["What did I ask you for?", "--output-format", "json", "--save-markdown"];
        let done = stage.run(["resume", dir].into_iter().chain(on_model).chain(message)).with_code(0);
        let json = done.json();
        assert_eq!(
            (json["state"].as_str(), json["output"].as_str()),
            (Some("completed"), Some("You asked for the number."))
        );
        assert_eq!(json["earlier_turns"][0]["message"], "Find the number.");
        let request = &stage.requests()[2].body.to_string();
        assert!(request.contains("Find the number.") && request.contains("echo seen"), "{transport}: {request}");
        let transcript = std::fs::read_to_string(json["transcript"].as_str().unwrap()).unwrap();
        assert!(transcript.contains("I look for it.") && transcript.contains("You asked for"), "{transcript}");
        stage.end();
    }
}
