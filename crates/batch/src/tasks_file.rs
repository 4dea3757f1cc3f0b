//! The tasks of a batch: checked as a whole, kept as positions in their file, and read again one by one when they start.

mod directory;
mod document;
mod error;
mod index;
mod limits;
mod lines;
mod open;
mod table;

pub use self::error::{Problem, TasksFileError};
use self::index::{Entries, Index, Position};
use crate::selection::{Selection, Variant};
use crate::task::{BatchTask, IdHash, ParseOptions, RawFields, TaskHash, id_digest, parse_fields};
use opencode_runner::ModelName;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The options of loading a tasks file.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct LoadOptions {
    /// The options of parsing each task.
    pub parse: ParseOptions,
    /// The selection of the tasks to run.
    pub selection: Selection,
    /// The options that a task leaves open.
    pub defaults: BatchTask,
}

/// The tasks of a batch. A task takes about 40 bytes of memory, whatever its fields hold.
#[derive(Debug)]
pub struct TaskSet {
    source: Source,
    entries: Entries,
    /// The selected tasks, in the order in which they start.
    selected: Vec<Selected>,
    variants: Vec<Variant>,
    options: ParseOptions,
    defaults: BatchTask,
    base: PathBuf,
    filter: Filter,
}

/// The file that a task is read from again.
#[derive(Debug)]
enum Source {
    /// A file of lines or one document: each task is a JSON value at a position.
    Json { file: Mutex<File>, path: PathBuf },
    /// A table: each task is a record at a position.
    Table { file: Mutex<File>, path: PathBuf, format: table::Format },
    /// A file for each task.
    Directory { files: Vec<directory::TaskFile> },
}

#[derive(Debug, Clone, Copy)]
struct Selected {
    entry: u32,
    variant: u16,
    id: IdHash,
}

/// The steps of a selection that are applied while tasks arrive.
#[derive(Debug, Default)]
struct Filter {
    selection: Selection,
    /// The number of tasks that matched the filter.
    matched: u64,
}

/// A task that is about to start.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LoadedTask {
    /// The task with its id in the batch and with absolute paths.
    pub task: BatchTask,
    /// The id without the suffix for its repetition or model.
    pub base_id: String,
    /// The hash of the task.
    pub hash: TaskHash,
}

impl TaskSet {
    /// Reads and checks all tasks of a file or a directory.
    ///
    /// # Errors
    ///
    /// If a task is invalid, two have the same id, or the file cannot be read. The error has the first problems with their lines.
    pub fn load(path: &Path, options: &LoadOptions) -> Result<Self, TasksFileError> {
        let mut index = Index::new(&options.parse);
        let is_directory = path.metadata().map_err(|error| TasksFileError::io(path, &error))?.is_dir();
        let source = if is_directory {
            Source::Directory { files: directory::scan(path, &mut index)? }
        } else {
            let file = open::open(path)?;
            if let Some(format) = table::Format::of_path(path) {
                let format = table::scan(&file, path, format, &mut index)?;
                Source::Table { file: Mutex::new(file), path: path.to_owned(), format }
            } else {
                if document::is_document(&file, path)? {
                    document::scan(&file, path, &mut index)?;
                } else {
                    lines::scan(&file, path, &mut index)?;
                }
                Source::Json { file: Mutex::new(file), path: path.to_owned() }
            }
        };
        index.check(path)?;
        let base = open::base(path, is_directory).map_err(|error| TasksFileError::io(path, &error))?;
        let mut set = Self::new(source, index.entries, base, options);
        set.select_all().map_err(|problem| TasksFileError::of(path, vec![problem]))?;
        Ok(set)
    }

    /// Creates a set to which [`push_line`](Self::push_line) adds tasks as they arrive; they are stored in a temporary
    /// file.
    ///
    /// # Errors
    ///
    /// If the selection needs all tasks at the same time, or the temporary file cannot be created.
    pub fn streamed(options: &LoadOptions) -> Result<Self, TasksFileError> {
        let path = Path::new("<stdin>");
        if options.selection.shuffle.is_some() {
            let problem = Problem::new(None, "streamed tasks cannot be shuffled");
            return Err(TasksFileError::of(path, vec![problem.hint("write them to a file first")]));
        }
        let file = tempfile::tempfile().map_err(|error| TasksFileError::io(path, &error))?;
        let base = std::env::current_dir().map_err(|error| TasksFileError::io(path, &error))?;
        let source = Source::Json { file: Mutex::new(file), path: path.to_owned() };
        Ok(Self::new(source, Entries::default(), base, options))
    }

    fn new(source: Source, entries: Entries, base: PathBuf, options: &LoadOptions) -> Self {
        let variants = options.selection.variants();
        let filter = Filter { selection: options.selection.clone(), matched: 0 };
        Self {
            source,
            entries,
            selected: Vec::new(),
            variants,
            options: options.parse.clone(),
            defaults: options.defaults.clone(),
            base,
            filter,
        }
    }

    /// Adds the task of a streamed line. Returns the numbers of the resulting tasks; empty if it was not selected.
    ///
    /// # Errors
    ///
    /// If the task is invalid, or its id already exists.
    pub fn push_line(&mut self, line: impl AsRef<[u8]>, number: u64) -> Result<std::ops::Range<usize>, TasksFileError> {
        let before = self.selected.len();
        let text = lines::text(line.as_ref(), number);
        text.and_then(|text| self.push(text, number))
            .map_err(|problem| TasksFileError::of(Path::new("<stdin>"), vec![problem.at(number)]))?;
        Ok(before..self.selected.len())
    }

    fn push(&mut self, line: &str, number: u64) -> Result<(), Problem> {
        let Source::Json { file, .. } = &self.source else {
            return Err(Problem::new(None, "these tasks are not streamed"));
        };
        let fields: RawFields<'_> = serde_json::from_str(line).map_err(|error| lines::invalid(&error))?;
        let position = {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            let written = |error: &std::io::Error| Problem::new(None, format!("the task cannot be kept: {error}"));
            let offset = file.seek(SeekFrom::End(0)).map_err(|error| written(&error))?;
            std::io::Write::write_all(&mut *file, line.as_bytes()).map_err(|error| written(&error))?;
            Position { offset, len: u32::try_from(line.len()).unwrap_or(u32::MAX) }
        };
        let (id, _) = self.entries.add(&fields, number, position, &self.options)?;
        let entry = u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX);
        if self.filter.takes(&id) {
            self.select(entry, &id)?;
        }
        Ok(())
    }

    /// Selects among the tasks of a whole file.
    fn select_all(&mut self) -> Result<(), Problem> {
        let needs_ids = self.filter.selection.filter.is_some()
            || self.filter.selection.shard.is_some()
            || self.variants.len() > 1
            || self.variants.iter().any(|variant| !variant.suffix.is_empty());
        let count = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        let mut taken = Vec::new();
        for entry in 0..count {
            let id = if needs_ids { self.read_entry(entry)?.id } else { String::new() };
            if self.filter.takes_beginning(&id) {
                taken.push(entry);
            }
        }
        if let Some(seed) = self.filter.selection.shuffle {
            fastrand::Rng::with_seed(seed).shuffle(&mut taken);
        }
        taken.truncate(
            self.filter.selection.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX)),
        );
        for entry in taken {
            if needs_ids {
                let id = self.read_entry(entry)?.id;
                self.select(entry, &id)?;
            } else {
                self.selected.push(Selected { entry, variant: 0, id: self.entries.id(entry) });
            }
        }
        Ok(())
    }

    /// Adds the copies of a task that belong to the shard.
    fn select(&mut self, entry: u32, id: &str) -> Result<(), Problem> {
        for (number, variant) in self.variants.iter().enumerate() {
            let digest = id_digest(&format!("{id}{}", variant.suffix));
            if self.filter.selection.shard.is_some_and(|shard| !shard.has_digest(&digest)) {
                continue;
            }
            let variant = u16::try_from(number)
                .map_err(|_| Problem::new(None, "more than 65,536 copies of a task are too many"))?;
            self.selected.push(Selected { entry, variant, id: IdHash::of_digest(&digest) });
        }
        Ok(())
    }

    /// Returns the directory that relative paths in the tasks are relative to.
    #[must_use]
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// Returns the number of selected tasks.
    #[must_use]
    pub fn len(&self) -> usize {
        self.selected.len()
    }

    /// Returns whether no task is selected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.selected.is_empty()
    }

    /// Returns the hash of a task's id.
    #[must_use]
    pub fn id_hash(&self, task: usize) -> IdHash {
        self.selected[task].id
    }

    /// Returns the priority of a task.
    #[must_use]
    pub fn priority(&self, task: usize) -> i32 {
        self.entries.priority(self.selected[task].entry)
    }

    /// Returns the name of the model or the role of a task; `None` if the model is left to opencode.
    #[must_use]
    pub fn source(&self, task: usize) -> Option<String> {
        let selected = self.selected[task];
        let model = self.variants[usize::from(selected.variant)].model.as_ref().map(ModelName::to_string);
        let own = model.or_else(|| self.entries.source(selected.entry).map(ToOwned::to_owned));
        let role = || self.defaults.model_source_type.map(|role| role.as_str().to_owned());
        own.or_else(|| self.defaults.model.as_ref().map(ModelName::to_string)).or_else(role)
    }

    /// Returns the distinct models that the tasks name.
    #[must_use]
    pub fn sources(&self) -> Vec<String> {
        let mut all = self.entries.sources().to_vec();
        all.extend(self.variants.iter().filter_map(|variant| variant.model.as_ref().map(ModelName::to_string)));
        all.sort();
        all.dedup();
        all
    }

    /// Reads a task that is about to start from the file again.
    ///
    /// # Errors
    ///
    /// If the file is no longer readable, or was changed meanwhile.
    pub fn load_task(&self, task: usize) -> Result<LoadedTask, Problem> {
        let selected = self.selected[task];
        let mut read = self.read_entry(selected.entry)?;
        let base_id = read.id.clone();
        let variant = &self.variants[usize::from(selected.variant)];
        read.id.push_str(&variant.suffix);
        if IdHash::of(&read.id) != selected.id {
            return Err(changed());
        }
        if let Some(model) = &variant.model {
            read.model = Some(model.clone());
            read.model_source_type = None;
        }
        let mut read = read.or(&self.defaults);
        let hash = TaskHash::of(&read);
        let base = match &self.source {
            Source::Directory { files } => files[selected.entry as usize].path.parent().map(Path::to_owned),
            _ => None,
        };
        resolve(&mut read, base.as_deref().unwrap_or(&self.base));
        Ok(LoadedTask { task: read, base_id, hash })
    }

    fn read_entry(&self, entry: u32) -> Result<BatchTask, Problem> {
        let Position { offset, len } = self.entries.position(entry);
        let ordinal = u64::from(entry) + 1;
        match &self.source {
            Source::Json { file, path } => {
                let text = read_at(file, path, offset, len)?;
                document::task_of(&text, ordinal, &self.options).map_err(|_| changed())
            }
            Source::Table { file, path, format } => {
                let text = read_at(file, path, offset, len)?;
                let fields = format.fields(&text).ok_or_else(changed)?;
                parse_fields(&fields, ordinal, &self.options).map_err(|_| changed())
            }
            Source::Directory { files } => {
                let file = &files[entry as usize];
                let fields = file.read()?;
                parse_fields(&fields, ordinal, &self.options).map_err(Problem::from)
            }
        }
    }
}

fn changed() -> Problem {
    let problem = Problem::new(None, "the tasks file was changed while the batch ran");
    problem.hint("resume the batch: it reads the file again and keeps the results")
}

fn read_at(file: &Mutex<File>, path: &Path, offset: u64, len: u32) -> Result<String, Problem> {
    let mut bytes = vec![0; len as usize];
    let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
    let read = file.seek(SeekFrom::Start(offset)).and_then(|_| file.read_exact(&mut bytes));
    match read {
        Ok(()) => String::from_utf8(bytes).map_err(|_| changed()),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Err(changed()),
        Err(error) => Err(Problem::new(None, format!("{} cannot be read: {error}", path.display()))),
    }
}

/// Converts the paths of a task to absolute ones.
fn resolve(task: &mut BatchTask, base: &Path) {
    let absolute = |path: &mut PathBuf| *path = base.join(&*path);
    task.dir.iter_mut().for_each(absolute);
    task.files.iter_mut().for_each(absolute);
    match &mut task.check_files {
        Some(crate::task::CheckFiles::Folder(folder)) => absolute(folder),
        Some(crate::task::CheckFiles::Files(files)) => files.values_mut().for_each(absolute),
        None => {}
    }
    if let Some(crate::task::JsonSchema::File(file)) = &mut task.json_schema {
        absolute(file);
    }
    // A path: an `owner/name` cannot begin like this.
    if let Some(repo) = task.repo.as_mut().filter(|repo| repo.starts_with("./") || repo.starts_with("../")) {
        *repo = base.join(&*repo).display().to_string();
    }
}

impl Filter {
    /// Returns whether a task is selected, as far as that does not depend on later tasks.
    fn takes_beginning(&mut self, id: &str) -> bool {
        if self.selection.filter.as_ref().is_some_and(|filter| !filter.is_match(id)) {
            return false;
        }
        let number = self.matched;
        self.matched += 1;
        self.selection.slice.is_none_or(|slice| slice.has(number))
    }

    /// Returns whether a streamed task is selected.
    fn takes(&mut self, id: &str) -> bool {
        let taken_before = match self.selection.slice {
            Some(slice) => self.matched.saturating_sub(slice.from),
            None => self.matched,
        };
        self.takes_beginning(id) && self.selection.limit.is_none_or(|limit| taken_before < limit)
    }
}

#[cfg(test)]
mod tests;
