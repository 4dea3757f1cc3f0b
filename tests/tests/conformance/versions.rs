//! What a version of opencode does in a way of its own: the table in `tests/versions.json`, which the script
//! `tests/versions` reads too. Where it says nothing, every version tells the story of the pinned one.

use crate::cases;
use crate::stage::Transport;
use opencode_run_process::Version;
use serde::{Deserialize, Deserializer};
use std::sync::LazyLock;

/// What a range of versions does in a way of its own.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Deviation {
    /// The first version that was seen to do so.
    #[serde(deserialize_with = "version")]
    from: Version,
    /// The last version that was seen to do so.
    #[serde(deserialize_with = "version")]
    through: Version,
    /// On this transport alone.
    transport: Option<Transport>,
    /// In these cases, by name; in all of them, if there are none.
    #[serde(default)]
    cases: Vec<String>,
    /// When permissions and questions are asked for, where that is by chance.
    #[serde(default)]
    pub(crate) asks: Order,
    /// What comes of it.
    #[serde(rename = "does")]
    pub(crate) way: Way,
    /// What it is, for those who read.
    pub(crate) why: String,
}

/// What comes of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Way {
    /// Another story, in a snapshot of its own.
    Differ,
    /// Nothing: the version cannot do it at all.
    Skip,
    /// The version is refused before anything starts.
    Refuse,
}

/// When something comes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    #[default]
    InItsPlace,
    AtAnyTime,
}

#[derive(Deserialize)]
struct Table {
    /// The versions that are promised to work, or to be refused before anything starts.
    #[serde(deserialize_with = "all_versions")]
    promised: Vec<Version>,
    deviations: Vec<Deviation>,
}

static TABLE: LazyLock<Table> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../versions.json")).expect("the table can be read"));

impl Deviation {
    /// Returns how a version deviates in a case, if it does. That it is refused comes first in the table.
    pub(crate) fn of(version: Version, transport: Transport, case: &str) -> Option<&'static Self> {
        TABLE.deviations.iter().find(|deviation| deviation.covers(version, transport, case))
    }

    fn covers(&self, version: Version, transport: Transport, case: &str) -> bool {
        (self.from..=self.through).contains(&version)
            && self.transport.is_none_or(|only_on| only_on == transport)
            && (self.cases.is_empty() || self.cases.iter().any(|name| name == case))
    }

    /// Returns what the snapshot of a case is called: `NAME@VERSION`, with the transport where it is told on one alone.
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
fn the_table_speaks_of_versions_and_cases_that_there_are() {
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
fn a_version_deviates_in_one_way_at_a_time() {
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
fn what_deviates_is_documented() {
    let page = include_str!("../../../ARCHITECTURE.md");
    for Deviation { why, .. } in &TABLE.deviations {
        assert!(page.contains(why.as_str()), "ARCHITECTURE.md does not say: {why}");
    }
}
