//! Measures the built programs: real processes, a real nats-server, real sockets on loopback.
//!
//! Each figure stands beside a limit that is measured in the same run, so that its meaning survives a change of
//! machine. Nothing here fails because something is slow: the goals are printed as met or missed.
//!
//! # Layout
//!
//! * [`figures`]: one module for each.
//! * [`bare`]: the limits that they stand beside, as processes of their own.
//! * [`system`]: the programs under measurement, and their fleet.
//! * [`alone`]: an aggregator without the others. [`fleet`], [`flood`]: as many messages as it takes.
//! * [`pace`]: which shard reports when. [`arrivals`]: what comes out at the other end, with its time.
//! * [`viewer`], [`crowd`], [`visit`], [`http`]: the clients. [`frames`]: what they read.
//! * [`load`]: many requests over HTTP.
//! * [`meter`]: what a process costs.
//! * [`statistics`], [`results`], [`table`], [`machine`]: from times to what is printed and kept.
//!
//! A new figure is a module in `figures` that returns [`results::Figure`]s, a [`figures::Name`], and a line in
//! [`figures::measure`].

// The limits use the same memory allocator as our programs: that of the runner, by linking it.
mod alone;
mod arrivals;
mod bare;
mod crowd;
mod figures;
mod fleet;
mod flood;
mod frames;
mod http;
mod load;
mod machine;
mod meter;
mod options;
mod pace;
mod results;
mod statistics;
mod system;
mod table;
mod viewer;
mod visit;

use std::process::ExitCode;

use clap::{Parser as _, ValueEnum as _};

use crate::{figures::Name, machine::Machine, options::Options, results::Results};

#[tokio::main]
async fn main() -> ExitCode {
    // Each viewer is one.
    glance_runner::allow_many_files();
    let mut options = Options::parse();
    let result = match options.bare.take() {
        Some(bare) => bare.play().await,
        None => measure(&options).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            eprintln!("glance-bench: {cause:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(options: &Options) -> anyhow::Result<()> {
    let machine = Machine::look();
    println!("{machine}\n");
    let mut figures = Vec::new();
    for name in Name::value_variants() {
        if !options.only.is_empty() && !options.only.contains(name) {
            continue;
        }
        for figure in figures::measure(*name, options).await? {
            println!("{figure}");
            figures.push(figure);
        }
    }
    Results::new(machine, options, figures).save(&options.json)
}
