use super::*;
use std::fs;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }
}

fn load(path: &Path) -> Result<TaskSet, TasksFileError> {
    TaskSet::load(path, &LoadOptions::default())
}

fn ids(set: &TaskSet) -> Vec<String> {
    (0..set.len()).map(|task| set.load_task(task).unwrap().task.id).collect()
}

#[test]
fn lines_are_read_again_at_their_position() {
    let folder = Folder::new();
    let text = "\u{feff}{\"id\":\"a\",\"prompt\":\"one é\"}\r\n\n  \n{\"id\":\"b\",\"prompt\":\"two\",\"dir\":\"d\",\"priority\":2}";
    let set = load(&folder.file("t.jsonl", text)).unwrap();
    assert_eq!(ids(&set), ["a", "b"]);
    assert_eq!(set.load_task(0).unwrap().task.messages, ["one é"]);
    assert_eq!((set.priority(0), set.priority(1)), (0, 2));
    assert_eq!(set.load_task(1).unwrap().task.dir.unwrap(), folder.0.path().join("d"));
}

#[test]
fn problems_name_their_lines() {
    let folder = Folder::new();
    let text = "{\"id\":\"a\",\"prompt\":\"m\"}\n\n{\"id\":\"b\",\"promt\":\"m\"}\n{\"id\":\n[1]\n";
    let error = load(&folder.file("t.jsonl", text)).unwrap_err();
    let lines: Vec<_> = error.problems.iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [Some(3), Some(4), Some(5)], "{error}");
    assert!(error.to_string().contains("t.jsonl:3: unknown field `promt`"), "{error}");
    let twice =
        "{\"id\":\"a\",\"prompt\":\"m\"}\n\n{\"id\":\"b\",\"prompt\":\"m\"}\n\n\n{\"id\":\"a\",\"prompt\":\"m\"}\n";
    let error = load(&folder.file("u.jsonl", twice)).unwrap_err();
    assert!(error.to_string().ends_with("u.jsonl:6: line 1 has the same id"), "{error}");
    assert!(load(&folder.file("e.jsonl", "\n")).unwrap_err().to_string().contains("no task"));
    let bytes = folder.0.path().join("bytes.jsonl");
    fs::write(&bytes, b"{\"id\":\"a\",\"prompt\":\"m\"}\n\xff\n").unwrap();
    assert!(load(&bytes).unwrap_err().to_string().ends_with("bytes.jsonl:2: byte 1 is not UTF-8"));
}

#[cfg(unix)]
#[test]
fn pipe_is_read_like_a_file() {
    let folder = Folder::new();
    let pipe = folder.0.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
    let writer = {
        let pipe = pipe.clone();
        std::thread::spawn(move || fs::write(pipe, "{\"id\":\"a\",\"prompt\":\"m\",\"dir\":\"d\"}\n"))
    };
    let set = load(&pipe).unwrap();
    writer.join().unwrap().unwrap();
    assert_eq!(ids(&set), ["a"]);
    let base = |path: &str| super::open::base(Path::new(path), false).unwrap();
    assert_eq!(base("/dev/shm/t.jsonl"), Path::new("/dev/shm"));
    assert_eq!(base("/dev/fd/63"), std::env::current_dir().unwrap());
    assert!(load(Path::new("/dev/null")).unwrap_err().to_string().contains("neither a file nor a pipe"));
}

#[test]
fn utf_16_is_named() {
    let folder = Folder::new();
    for name in ["t.jsonl", "t.csv", "t.json"] {
        let path = folder.file(name, "");
        fs::write(&path, b"\xff\xfei\0d\0").unwrap();
        let error = load(&path).unwrap_err();
        assert!(error.to_string().contains("UTF-16") && error.hint() == Some("save it as UTF-8"), "{error}");
    }
}

#[test]
fn documents_hold_a_list() {
    let folder = Folder::new();
    for text in [
        "[{\"id\":\"a\",\"prompt\":\"m\"},\n {\"id\":\"b\",\"prompt\":\"n\"}]",
        "{\n \"tasks\": [{\"id\":\"a\",\"prompt\":\"m\"}, {\"id\":\"b\",\"prompt\":\"n\"}]}",
        "{\"id\":\"a\",\"prompt\":\"m\"}\n{\"id\":\"b\",\"prompt\":\"n\"}\n",
    ] {
        let set = load(&folder.file("t.json", text)).unwrap();
        assert_eq!(ids(&set), ["a", "b"], "{text}");
        assert_eq!(set.load_task(1).unwrap().task.messages, ["n"]);
    }
    let set = load(&folder.file("p.json", "{\"prompts\": [\"one\", \"two\"]}")).unwrap();
    assert_eq!(ids(&set), ["1", "2"]);
    let error = load(&folder.file("w.json", "[\n{\"id\":\"a\",\"prompt\":\"m\"},\n{\"id\":\"b\"}\n]")).unwrap_err();
    assert_eq!(error.problems[0].line, Some(3), "{error}");
    assert!(load(&folder.file("n.json", "{\n\"list\": []}")).unwrap_err().to_string().contains("no list of tasks"));
}

#[test]
fn tables_have_a_header() {
    let folder = Folder::new();
    let text = "id,prompt,timeout,stars\na,\"one,\nor two\",5m,3\n\nb,two,,4\n";
    let set = load(&folder.file("t.csv", text)).unwrap();
    assert_eq!(ids(&set), ["a", "b"]);
    let first = set.load_task(0).unwrap().task;
    assert_eq!((first.messages[0].as_str(), &first.metadata["stars"]), ("one,\nor two", &"3".into()));
    assert_eq!(set.load_task(1).unwrap().task.timeout, None);
    assert_eq!(ids(&load(&folder.file("t.tsv", "id\tprompt\na\tone, two\n")).unwrap()), ["a"]);
    assert_eq!(ids(&load(&folder.file("s.csv", "id;prompt\na;one, two\n")).unwrap()), ["a"]);
    let error = load(&folder.file("w.csv", "id,prompt\na,b\nc\n")).unwrap_err();
    assert!(error.to_string().ends_with("w.csv:3: the record has 1 cells, the header 2"), "{error}");
}

#[test]
fn template_makes_a_column_of_repositories_tasks() {
    let folder = Folder::new();
    let path = folder.file("r.csv", "repo\no/a\no/b\n");
    let template = Some(std::sync::Arc::new(crate::Template::new("Port {{repo}}.").unwrap()));
    let options = LoadOptions { parse: ParseOptions { template, strict: false }, ..LoadOptions::default() };
    let set = TaskSet::load(&path, &options).unwrap();
    assert_eq!(ids(&set), ["o/a", "o/b"]);
    assert_eq!(set.load_task(1).unwrap().task.messages, ["Port o/b."]);
    assert!(load(&path).unwrap_err().to_string().contains("r.csv:2: the task has no message"));
}

#[test]
fn directory_of_pages_has_front_matter() {
    let folder = Folder::new();
    folder.file("tasks/a.md", "---\ntimeout: 5m\ndir: x\nlevel: 3\n---\nDo it.\n");
    folder.file("tasks/deep/b.md", "Do that.");
    folder.file("tasks/.hidden.md", "no");
    let tasks = folder.0.path().join("tasks");
    let set = load(&tasks).unwrap();
    assert_eq!(ids(&set), ["a", "deep/b"]);
    let first = set.load_task(0).unwrap().task;
    assert_eq!((first.messages[0].as_str(), &first.metadata["level"]), ("Do it.\n", &3.into()));
    assert_eq!(first.dir.unwrap(), tasks.join("x"));
    folder.file("tasks/c.md", "---\na: [\n---\nx");
    let error = load(&tasks).unwrap_err().to_string();
    assert!(error.contains("c.md: ") && error.contains("not YAML"), "{error}");
}

#[test]
fn directory_of_instructions_names_tasks_by_folder() {
    let folder = Folder::new();
    folder.file("tasks/one/instruction.md", "---\ncheck_files: tests\n---\nDo it.");
    folder.file("tasks/one/notes.md", "not a task");
    let set = load(&folder.0.path().join("tasks")).unwrap();
    assert_eq!(ids(&set), ["one"]);
    let tests = folder.0.path().join("tasks/one/tests");
    assert_eq!(set.load_task(0).unwrap().task.check_files, Some(crate::task::CheckFiles::Folder(tests)));
}

#[test]
fn selection_steps_apply_in_order() {
    let folder = Folder::new();
    let line = |n: u32| format!("{{\"id\":\"t{n:02}\",\"prompt\":\"m\"}}");
    let text = (0..20).map(line).collect::<Vec<_>>().join("\n");
    let path = folder.file("t.jsonl", &text);
    let select = |selection: Selection| {
        ids(&TaskSet::load(&path, &LoadOptions { selection, ..LoadOptions::default() }).unwrap())
    };
    let filter = regex::Regex::new("^t1").unwrap();
    let slice = Some("2:6".parse().unwrap());
    let selected =
        select(Selection { filter: Some(filter), slice, limit: Some(2), repeat: Some(2), ..Selection::default() });
    assert_eq!(selected, ["t12#1", "t12#2", "t13#1", "t13#2"]);
    let shuffled = select(Selection { shuffle: Some(7), ..Selection::default() });
    assert_eq!(shuffled, select(Selection { shuffle: Some(7), ..Selection::default() }));
    assert_ne!(shuffled, select(Selection::default()));
    let mut all: Vec<_> = (1..=3)
        .flat_map(|number| select(Selection { shard: crate::Shard::new(number, 3).ok(), ..Selection::default() }))
        .collect();
    all.sort();
    assert_eq!(all, select(Selection::default()));
}

#[test]
fn matrix_changes_model_and_hash() {
    let folder = Folder::new();
    let path = folder.file("t.jsonl", "{\"id\":\"a\",\"prompt\":\"m\",\"model_source_type\":\"code\"}\n");
    let models = ["x/one", "y/two"].map(|model| model.parse().unwrap()).to_vec();
    let selection = Selection { models, ..Selection::default() };
    let set = TaskSet::load(&path, &LoadOptions { selection, ..LoadOptions::default() }).unwrap();
    assert_eq!(ids(&set), ["a@x/one", "a@y/two"]);
    assert_eq!(set.source(1).as_deref(), Some("y/two"));
    assert_ne!(set.load_task(0).unwrap().hash, set.load_task(1).unwrap().hash);
    assert_eq!(load(&path).unwrap().source(0).as_deref(), Some("code"));
}

#[test]
fn changed_tasks_file_is_reported() {
    let folder = Folder::new();
    let path = folder.file("t.jsonl", "{\"id\":\"a\",\"prompt\":\"m\"}\n{\"id\":\"b\",\"prompt\":\"m\"}\n");
    let set = load(&path).unwrap();
    fs::write(&path, "{\"id\":\"c\",\"prompt\":\"m\"}\n").unwrap();
    assert!(set.load_task(0).unwrap_err().to_string().contains("was changed"));
    assert!(set.load_task(1).unwrap_err().to_string().contains("was changed"));
}

#[test]
fn streamed_tasks_are_checked_one_by_one() {
    let mut options = LoadOptions::default();
    options.selection.limit = Some(2);
    let mut set = TaskSet::streamed(&options).unwrap();
    assert_eq!(set.push_line("{\"id\":\"a\",\"prompt\":\"m\"}", 1).unwrap(), 0..1);
    assert!(
        set.push_line("{\"id\":\"a\",\"prompt\":\"m\"}", 2).unwrap_err().to_string().contains("<stdin>:2: the id `a`")
    );
    assert_eq!(set.push_line("{\"id\":\"b\",\"prompt\":\"m\"}", 3).unwrap(), 1..2);
    assert_eq!(set.push_line("{\"id\":\"c\",\"prompt\":\"m\"}", 4).unwrap(), 2..2, "the limit");
    assert_eq!(ids(&set), ["a", "b"]);
}
