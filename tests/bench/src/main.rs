//! Measures the built programs: real processes, a real nats-server, real sockets on loopback.
//!
//! Each figure stands beside a limit that is measured in the same run, so that its meaning survives a change of
//! machine. Nothing here fails because something is slow: the goals are printed as met or missed.
//!
//! # Layout
//!
//! * [`figures`]: one module for each figure.
//! * [`system`]: the programs under measurement, and their fleet.
//! * [`pace`]: which shard reports when. [`arrivals`]: what comes out at the other end, with its time.
//! * [`viewer`], [`http`]: the clients.
//! * [`statistics`], [`results`], [`table`], [`machine`]: from times to what is printed and kept.
//!
//! A new figure is a module in `figures` that returns a [`results::Figure`], and a line in [`measure`].

mod arrivals;
mod figures;
mod http;
mod machine;
mod options;
mod pace;
mod results;
mod statistics;
mod system;
mod table;
mod viewer;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{machine::Machine, options::Options, results::Results, system::System};

#[tokio::main]
async fn main() -> ExitCode {
    match measure(&Options::parse()).await {
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
    let system = System::start().await?;
    let figures = vec![figures::report_to_frame::measure(&system, options).await?];
    for figure in &figures {
        println!("{figure}");
    }
    Results::new(machine, options, figures).save(&options.json)
}
