//! Version-specific behaviour of opencode: the table in `tests/versions.json`, which the script `tests/versions` reads
//! too. Without an entry, every version behaves like the pinned one.

use crate::cases;
use crate::stage::Transport;
use opencode_run_process::Version;
use serde::{Deserialize, Deserializer};
use std::sync::LazyLock;

/// The deviation of a range of versions.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Deviation {
    /// The first version with this behaviour.
    #[serde(deserialize_with = "version")]
    from: Version,
    /// The last version with this behaviour.
    #[serde(deserialize_with = "version")]
    through: Version,
    /// The only transport with this behaviour, if it is set.
    transport: Option<Transport>,
    /// The cases with this behaviour; empty for all cases.
    #[serde(default)]
    cases: Vec<String>,
    /// The position of permission requests and questions, if it depends on timing.
    #[serde(default)]
    pub(crate) asks: Order,
    /// The consequence for the suite.
    #[serde(rename = "does")]
    pub(crate) way: Way,
    /// A description for readers.
    pub(crate) why: String,
}

/// The consequence for a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Way {
    /// The case has another snapshot.
    Differ,
    /// The case is skipped: the version does not support it.
    Skip,
    /// The version is refused before anything starts.
    Refuse,
}

/// The position of an event.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    #[default]
    InItsPlace,
    AtAnyTime,
}

#[derive(Deserialize)]
struct Table {
    /// The versions that must work, or must be refused before anything starts.
    #[serde(deserialize_with = "all_versions")]
    promised: Vec<Version>,
    deviations: Vec<Deviation>,
}

static TABLE: LazyLock<Table> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../versions.json")).expect("the table can be read"));

impl Deviation {
    /// Returns the deviation of a version in a case. Refusals come first in the table.
    pub(crate) fn of(version: Version, transport: Transport, case: &str) -> Option<&'static Self> {
        TABLE.deviations.iter().find(|deviation| deviation.covers(version, transport, case))
    }

    fn covers(&self, version: Version, transport: Transport, case: &str) -> bool {
        (self.from..=self.through).contains(&version)
            && self.transport.is_none_or(|only_on| only_on == transport)
            && (self.cases.is_empty() || self.cases.iter().any(|name| name == case))
    }

    /// Returns the name of a case's snapshot: `NAME@VERSION`, with the transport if the deviation concerns only one.
    pub(crate) fn snapshot(&self, case: &str) -> String {
        let transport = match self.transport {
            Some(Transport::Run) => "@run",
            Some(Transport::Serve) => "@serve",
            None => "",
        };
        format!("{case}{transport}@{}", self.from)
    }
}

fn version<'de, D: Deserializer<'de>>(from: D) -> Result<Version, D::Error> {
    String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
}

fn all_versions<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Version>, D::Error> {
    let texts = Vec::<String>::deserialize(from)?;
    texts.iter().map(|text| text.parse().map_err(serde::de::Error::custom)).collect()
}

#[test]
fn table_names_existing_versions_and_cases() {
    for deviation in &TABLE.deviations {
        for bound in [deviation.from, deviation.through] {
            assert!(TABLE.promised.contains(&bound), "{bound} is not tried: {deviation:?}");
        }
        assert!(deviation.from <= deviation.through, "{deviation:?}");
        for case in &deviation.cases {
            assert!(cases::NAMES.contains(&case.as_str()), "there is no case {case}");
        }
        assert!(
            !deviation.cases.is_empty() || deviation.way == Way::Refuse,
            "a version works or is refused: {deviation:?}"
        );
    }
}

#[test]
fn deviations_do_not_overlap() {
    for (version, case) in
        TABLE.promised.iter().flat_map(|version| cases::NAMES.iter().map(move |case| (*version, case)))
    {
        for transport in [Transport::Run, Transport::Serve] {
            let covering: Vec<_> =
                TABLE.deviations.iter().filter(|deviation| deviation.covers(version, transport, case)).collect();
            assert!(
                covering.len() < 2 || covering[0].way == Way::Refuse,
                "{version} {transport:?} {case}: {covering:?}"
            );
        }
    }
}

#[test]
fn deviations_are_documented() {
    let page = include_str!("../../../ARCHITECTURE.md");
    for Deviation { why, .. } in &TABLE.deviations {
        assert!(page.contains(why.as_str()), "ARCHITECTURE.md does not say: {why}");
    }
}
