//! A run as a value: what it does, how the world behaves, and every choice; so it can be kept, repeated and shortened.

use crate::home::{self, Protocol, Report, Scenario};
use crate::sweep::caught;
use farrow_fabric_sim::{Grain, Options, Pace, Recording, Replay, Seed, World};
use serde::{Deserialize, Serialize};

/// A run, most often one to which an oracle objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The protocol.
    pub protocol: Protocol,
    /// How transfers are cut.
    pub grain: GrainName,
    /// How the next event is found.
    pub pace: PaceName,
    /// What happens.
    pub scenario: Scenario,
    /// What an oracle said: one text, of possibly many lines.
    pub said: String,
    /// The answers to all questions of the run; 0 behind the last.
    pub choices: Vec<u64>,
}

/// [`Grain`] in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrainName {
    /// [`Grain::Whole`].
    Whole,
    /// [`Grain::Pieces`].
    Pieces,
    /// [`Grain::Words`].
    Words,
}

/// [`Pace`] in a file; runs in virtual time are measured, not judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaceName {
    /// [`Pace::Even`].
    Even,
    /// [`Pace::Skewed`].
    Skewed,
    /// [`Pace::Chosen`].
    Chosen,
}

/// Whether that is no oracle's word, but says that a run went round in circles: with most of its choices gone any may.
pub(crate) fn is_endless(said: &str) -> bool {
    said.starts_with("the run does not end")
}

impl Case {
    /// A run with these choices.
    ///
    /// # Panics
    /// When `options` are of a world in virtual time.
    pub fn new(
        protocol: Protocol,
        options: Options,
        scenario: Scenario,
        choices: Vec<u64>,
        said: String,
    ) -> Case {
        let grain = match options.grain {
            Grain::Whole => GrainName::Whole,
            Grain::Pieces => GrainName::Pieces,
            Grain::Words => GrainName::Words,
        };
        let pace = match options.pace {
            Pace::Even => PaceName::Even,
            Pace::Skewed => PaceName::Skewed,
            Pace::Chosen => PaceName::Chosen,
            Pace::Timed(_) => panic!("runs in virtual time are no cases"),
        };
        Case { protocol, grain, pace, scenario, said, choices }
    }

    /// The run of a seed, whatever comes of it; its scenario is drawn already.
    pub fn of_seed(protocol: Protocol, seed: u64) -> Case {
        let options = home::options(seed, false);
        let (recording, list) = Recording::new(Seed::new(seed));
        let world = World::new(options, recording);
        let scenario = home::draw(&world, protocol);
        let drawn = list.borrow().len();
        let said = caught(|| home::run_as(&world, protocol, &scenario)).err().unwrap_or_default();
        world.end();
        let choices = list.borrow()[drawn..].to_vec();
        Case::new(protocol, options, scenario, choices, said)
    }

    /// How its world behaves.
    pub fn options(&self, record: bool) -> Options {
        let grain = match self.grain {
            GrainName::Whole => Grain::Whole,
            GrainName::Pieces => Grain::Pieces,
            GrainName::Words => Grain::Words,
        };
        let pace = match self.pace {
            PaceName::Even => Pace::Even,
            PaceName::Skewed => Pace::Skewed,
            PaceName::Chosen => Pace::Chosen,
        };
        Options { grain, pace, record }
    }

    /// Runs it again: `Err` is what an oracle says. The world is left as it is then, with its trace.
    pub fn run(&self, record: bool) -> (World, Result<Report, String>) {
        let world = World::new(self.options(record), Replay::new(self.choices.clone()));
        let result = caught(|| home::run_as(&world, self.protocol, &self.scenario));
        world.end();
        (world, result)
    }

    /// As a file.
    pub fn to_text(&self) -> String {
        let value = serde_json::to_value(self).expect("a case is plain data");
        let members = value.as_object().expect("it has members").iter();
        let lines: Vec<String> = members.map(|(name, value)| format!("  \"{name}\": {value}")).collect();
        format!("{{\n{}\n}}\n", lines.join(",\n"))
    }

    /// From a file.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn from_text(text: &str) -> Result<Case, String> {
        let case: Case = serde_json::from_str(text).map_err(|error| error.to_string())?;
        case.scenario.check()?;
        Ok(case)
    }
}
