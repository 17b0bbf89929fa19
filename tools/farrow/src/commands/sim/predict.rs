//! `farrow sim predict`: performance in virtual time, beside published figures.

use crate::exit::EXIT_CODES;
use crate::output;
use anyhow::{Context, Result};
use clap::{Arg, ArgMatches, Command};
use farrow_simulate::predict::{Figure, Prediction, predict};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  farrow sim predict                                 all figures, as the document with their tables
  farrow sim predict --figure 14 --json
  farrow sim predict --figure all --out docs/bench   writes the document and a plot of each figure

The protocols that run in production, in the simulator, under a cost model of the
NICs and clients of the FUSEE paper (FAST'23); the paper's figures stand beside
them. Virtual time: the numbers are the same on every machine. All figures take
some minutes on two cores.";

pub fn command() -> Command {
    let numbers: Vec<String> = Figure::ALL.iter().map(|f| f.number().to_string()).collect();
    Command::new("predict")
        .about("Predict the published figures of FUSEE, by its protocol and by ours")
        .arg(
            Arg::new("figure")
                .long("figure")
                .value_name("NUMBER")
                .value_parser(clap::builder::PossibleValuesParser::new(
                    numbers.into_iter().chain(["all".to_owned()]),
                ))
                .default_value("all")
                .help("Which figure of the paper"),
        )
        .arg(
            Arg::new("out")
                .long("out")
                .value_name("DIR")
                .value_parser(clap::value_parser!(PathBuf))
                .help("Write the document and the plots there"),
        )
        .arg(
            Arg::new("json")
                .long("json")
                .num_args(0)
                .help("Print one object, with everything that is known of each point"),
        )
        .after_help(format!("{EXAMPLES}\n\n{EXIT_CODES}"))
}

pub fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let figure = matches.get_one::<String>("figure").expect("it has a default");
    let figures: Vec<Figure> = match figure.parse() {
        Ok(number) => Figure::numbered(number).into_iter().collect(),
        Err(_) => Figure::ALL.to_vec(),
    };
    let bar = progress();
    let prediction = predict(&figures, |done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let out = matches.get_one::<PathBuf>("out");
    if let Some(dir) = out {
        write(dir, &prediction)?;
    }
    if matches.get_flag("json") {
        let numbers: Vec<u32> = prediction.figures.iter().map(|f| f.number()).collect();
        let points: Vec<_> = prediction.measured().collect();
        output::json(&json!({ "figures": numbers, "points": points }))?;
    } else if out.is_none() {
        let document = prediction.files().into_iter().next().expect("the document comes first");
        output::print(&document.text)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Only for people who watch a terminal.
fn progress() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{prefix:10} {wide_bar} {pos}/{len} points {elapsed}");
    ProgressBar::new(0).with_prefix("predict").with_style(style.expect("the template is right"))
}

fn write(dir: &Path, prediction: &Prediction) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    for file in prediction.files() {
        let path = dir.join(&file.name);
        std::fs::write(&path, &file.text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
