//! The examples of crates that are used without the library.

use opencode_run_scripted_model::{Script, ScriptedModel};
use opencode_run_tests::{FakeScript, Sandbox, fake_opencode_bin};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

#[test]
fn one_turn() {
    let mut sandbox = Sandbox::new();
    let fake = FakeScript::new(&sandbox, fake_opencode_bin!()).replay("run", "1.18.33/plain-text").write();
    sandbox.set("PATH", fake.bin_dir());
    let output = sandbox.command(example!("one-turn")).arg("Say hello.").output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{stdout}{}", String::from_utf8_lossy(&output.stderr));
    assert!(stdout.ends_with("\nHello from the model.\n"), "{stdout}");
    assert_eq!(fake.log_of("run")[0].stdin.as_deref(), Some("Say hello."));
    sandbox.assert_nothing_alive();
}

#[test]
fn gateway() {
    let model = ScriptedModel::start(Script::new()).unwrap();
    let sandbox = Sandbox::new();
    let mut child = sandbox
        .command(example!("gateway"))
        .args([&model.base_url(), "openai"])
        .env("PROVIDER_KEY", "sk-of-the-provider")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = |label: &str| {
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        line.strip_prefix(label).unwrap().trim().to_owned()
    };
    let [url, key] = ["base URL:", "key:"].map(&mut line);
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let body = r#"{"model":"m","messages":[{"role":"user","content":"Say hello."}]}"#;
    let mut stream = TcpStream::connect(host).unwrap();
    let length = body.len();
    write!(
        stream,
        "POST /{path}/chat/completions HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"role\":\"assistant\""), "{answer}");
    assert_eq!(model.requests()[0].header("authorization"), Some("Bearer sk-of-the-provider"));

    drop(child.stdin.take());
    let mut traffic = String::new();
    stdout.read_to_string(&mut traffic).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(traffic.contains("requests: 1,") && !traffic.contains("sk-of"), "{traffic}");
    sandbox.assert_nothing_alive();
}

#[test]
fn contain() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(example!("contain"));
    let output = command.args(["sh", "-c", "setsid sleep 60 & echo started"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stdout, b"started\n");
    sandbox.assert_nothing_alive();
}
