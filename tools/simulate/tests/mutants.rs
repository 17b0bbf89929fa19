//! Every known bug is found, by the runs that are to find it, within a stated number of seeds. Compiled only with
//! `RUSTFLAGS='--cfg farrow_mutants'`; `scripts/mutants` does that.
#![cfg(farrow_mutants)]

use farrow_protocol::mutant::Mutant;
use farrow_simulate::mutants::Runs;
use std::time::Instant;

#[test]
#[ignore]
fn measure() {
    std::panic::set_hook(Box::new(|_| {}));
    let only = std::env::var("ONLY").unwrap_or_default();
    let most: u64 = std::env::var("MOST").map_or(6000, |m| m.parse().unwrap());
    for mutant in Mutant::ALL.iter().filter(|m| only.is_empty() || only.split(',').any(|o| o == m.label())) {
        let runs = std::env::var("RUNS").unwrap_or_default();
        for runs in
            Runs::ALL.into_iter().filter(|r| runs.is_empty() || runs.split(',').any(|n| r.name() == n))
        {
            let begin = Instant::now();
            let mut took: Vec<u64> = Vec::new();
            let mut why = String::new();
            for n in 0..5u64 {
                match runs.hunt(*mutant, n * 1_000_000, most) {
                    Some((seeds, said)) => {
                        took.push(seeds);
                        why = said;
                    }
                    None => took.push(u64::MAX),
                }
            }
            took.sort();
            let show: Vec<String> =
                took.iter().map(|t| if *t == u64::MAX { "-".into() } else { t.to_string() }).collect();
            let line: String = why.lines().next().unwrap_or("").chars().take(110).collect();
            println!(
                "{:24} {:18} {:?} {:.1}s {line}",
                mutant.label(),
                runs.name(),
                show,
                begin.elapsed().as_secs_f64()
            );
        }
    }
}
