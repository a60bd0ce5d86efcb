//! A small architecture search: networks drawn at random from the LeNet family, trained on handwritten digits by successive
//! halving, and what accuracy each buys with how many multiply-accumulates.
//!
//! All candidates train for an epoch; the better half goes on for three times as long, and so on (Jamieson & Talwalkar
//! 2016). Better is what is better on a fifth of the training images that is held back; the test images are looked at
//! once, at the end.
//!
//! ```sh
//! cargo run --release --example search -- [--device auto|cpu|gpu|NAME] [--seed S]
//! ```

use std::ops::ControlFlow;
use std::time::Instant;

use anyhow::{Context, Result};
use wgpu_cnn::train::data::{Dataset, Split};
use wgpu_cnn::train::{self, Event, Loss, Schedule, TrainOptions, Trainer};
use wgpu_cnn::zoo::LeNetFamily;
use wgpu_cnn::{Device, Graph};

use options::options;

#[path = "support/options.rs"]
mod options;

const DIGITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/digits");
const CANDIDATES: usize = 16;
/// Epochs that a candidate has had after each round; half of them go on to the next.
const ROUNDS: [u64; 4] = [1, 3, 9, 27];
/// Networks with more multiply-accumulates per image are not drawn.
const MOST_MACS: u64 = 3_000_000;

/// A point of the search space: `[(conv, relu) x n, pool] x m, (fc, relu) x k, fc`.
#[derive(Clone, Copy)]
struct Design {
    n: usize,
    m: usize,
    k: usize,
    filters: usize,
    kernel: usize,
    stride: usize,
}

struct Candidate {
    design: Design,
    macs: u64,
    parameters: u64,
    trainer: Trainer,
    accuracy: f64,
}

fn main() -> Result<()> {
    let [device, seed] = options(["--device", "--seed"])?;
    let device = Device::named(device.as_deref().unwrap_or("auto"))?;
    let seed: u64 = seed.as_deref().unwrap_or("0").parse().context("--seed takes a number")?;
    println!("device: {}\n", device.info());
    let started = Instant::now();
    let shape = [1, 32, 32];
    let (train, validation) = Dataset::open(DIGITS, Split::Train, shape)?.split(0.2, seed)?;
    let test = Dataset::open(DIGITS, Split::Test, shape)?;

    let mut candidates = draw(&device, seed)?;
    let mut dropped = Vec::new();
    for epochs in ROUNDS {
        for candidate in &mut candidates {
            let ending = candidate.trainer.run(&train, Some(&validation), &mut |event| match event {
                Event::Epoch(report) if report.epoch >= epochs => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            });
            // A learning rate too high for a network is a candidate less, not the end of the search.
            if let Err(e) = ending {
                println!("{}: {e}", candidate.design);
            }
            let last = candidate.trainer.history().last();
            candidate.accuracy = last.and_then(|report| report.validation_accuracy).unwrap_or(0.0);
        }
        candidates.sort_by(|a, b| b.accuracy.total_cmp(&a.accuracy).then(a.macs.cmp(&b.macs)));
        println!("after {epochs:>2} epochs ({:.0} s):", started.elapsed().as_secs_f64());
        for c in &candidates {
            println!(
                "  {}  {:>9} MACs  {:5.1} % of the held-back images",
                c.design,
                c.macs,
                100.0 * c.accuracy
            );
        }
        if epochs != ROUNDS[ROUNDS.len() - 1] {
            dropped.extend(candidates.split_off(candidates.len().div_ceil(2)));
        }
    }

    println!("\nWhat accuracy costs: networks that no cheaper one equals on the held-back images\n");
    println!(
        "{:<28} {:>10} {:>10} {:>7} {:>10} {:>8}",
        "network", "MACs", "weights", "epochs", "held back", "test"
    );
    candidates.extend(dropped);
    candidates.sort_by_key(|c| c.macs);
    let mut best = 0.0;
    for c in &candidates {
        if c.accuracy <= best {
            continue;
        }
        best = c.accuracy;
        let result = train::evaluate(&device, &c.trainer.network()?, &test, 60, &Loss::CROSS_ENTROPY)?;
        println!(
            "{:<28} {:>10} {:>10} {:>7} {:>8.1} % {:>6.1} %",
            c.design.to_string(),
            c.macs,
            c.parameters,
            c.trainer.history().len(),
            100.0 * c.accuracy,
            100.0 * result.accuracy
        );
    }
    println!("\n{CANDIDATES} networks, {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// Distinct candidates, each ready to be trained.
fn draw(device: &Device, seed: u64) -> Result<Vec<Candidate>> {
    let mut drawn: Vec<String> = Vec::new();
    let mut candidates = Vec::new();
    let mut random = Random(seed);
    while candidates.len() < CANDIDATES {
        let design = Design {
            n: random.one_of(&[1, 2]),
            m: random.one_of(&[1, 2, 3]),
            k: random.one_of(&[0, 1, 2]),
            filters: random.one_of(&[4, 6, 8, 12]),
            kernel: random.one_of(&[3, 5]),
            stride: random.one_of(&[1, 2]),
        };
        // What the pools leave too little of is no network.
        let Ok(network) = design.network(seed) else { continue };
        let summary = network.summary();
        if summary.macs > MOST_MACS || drawn.contains(&design.to_string()) {
            continue;
        }
        drawn.push(design.to_string());
        let mut options = TrainOptions::default();
        options.epochs = ROUNDS[ROUNDS.len() - 1];
        options.seed = seed;
        options.schedule = Schedule::constant(1e-3);
        options.augment.shift = 4;
        candidates.push(Candidate {
            design,
            macs: summary.macs,
            parameters: summary.parameters,
            trainer: Trainer::new(device, &network, options)?,
            accuracy: 0.0,
        });
    }
    Ok(candidates)
}

impl Design {
    /// The network without the softmax that the family ends in: logits, not probabilities, go into the loss.
    fn network(self, seed: u64) -> wgpu_cnn::Result<Graph> {
        let family =
            LeNetFamily::new([1, 32, 32]).n(self.n).m(self.m).k(self.k).filters(self.filters).units(64);
        train::without_softmax(&family.kernel(self.kernel).stride(self.stride).seed(seed).build()?)
    }
}

impl std::fmt::Display for Design {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Design { n, m, k, filters, kernel, stride } = self;
        write!(f, "n {n} m {m} k {k}, {filters:>2} of {kernel}x{kernel}/{stride}")
    }
}

/// SplitMix64 (Steele, Lea & Flood 2014).
struct Random(u64);

impl Random {
    fn one_of(&mut self, choices: &[usize]) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        choices[((z ^ (z >> 31)) % choices.len() as u64) as usize]
    }
}
