//! Lets a fleet live, and has what it says delivered.

use std::time::Duration;

use glance_runner::{Broker, Context, Ready, Shutdown};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tracing::{info, warn};

use crate::{
    delivery::{Courier, deliver_all},
    fleet::{Action, Fleet},
    http::HttpCourier,
    nats::{self, NatsCourier},
    options::{Options, SimulationOptions},
    tally::Tally,
};

/// How often the fleet is asked what happened.
const TICK: Duration = Duration::from_millis(50);
/// A tick that comes later than this lets the fleet's time stand still meanwhile: otherwise a machine that slept
/// would have to make up for hours at once.
const TICK_MAX: Duration = Duration::from_secs(1);
/// How many ticks may wait for delivery before the fleet's time stands still.
const BATCHES_MAX: usize = 16;
/// How often the log says how the fleet is.
const SUMMARY_INTERVAL: Duration = Duration::from_secs(10);
/// How long the last reports may take when the simulator stops.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// Waits for Glance, then simulates until it is time to stop.
///
/// # Errors
///
/// When the broker is too old, or the passphrase cannot be sent.
pub async fn run(options: Options, context: Context) -> anyhow::Result<()> {
    let simulation = &options.simulation;
    let (shutdown, metrics) = (&context.shutdown, &context.metrics);
    let _metrics_listener = context.tell_metrics(&options.common).await?;
    if let Some(base) = &simulation.http {
        let passphrase = context.environment.secret("GLANCE_PASSPHRASE");
        let courier = HttpCourier::new(base.clone(), passphrase.as_ref())?;
        if courier.wait_for_glance(shutdown).await {
            metrics.set_readiness(|| Ready::Yes("simulating"));
            simulate(simulation, &courier, shutdown).await;
        }
        return Ok(());
    }
    metrics.connecting(context.name);
    let broker = match Broker::connect(context.name, &options.common.broker, shutdown).await {
        Ok(broker) => broker,
        Err(_) if shutdown.is_requested() => return Ok(()),
        Err(failure) => return Err(failure),
    };
    metrics.connected(context.name, &broker);
    if nats::wait_for_glance(&broker, &simulation.bots.0, shutdown).await {
        metrics.set_readiness(|| Ready::Yes("simulating"));
        let courier = NatsCourier::new(broker.clone());
        simulate(simulation, &courier, shutdown).await;
    }
    broker.close().await;
    Ok(())
}

/// Lets the fleet live until it is time to stop, and delivers the rest.
async fn simulate(options: &SimulationOptions, courier: &impl Courier, shutdown: &Shutdown) {
    let fleet = Fleet::new(options.plan());
    info!(
        "simulating {} shards, scenario {:?}, seed {}",
        fleet.total(),
        options.scenario,
        options.seed
    );
    let tally = Tally::default();
    let (outgoing, inbox) = mpsc::channel(BATCHES_MAX);
    let delivery = deliver_all(courier, inbox, &tally);
    tokio::pin!(delivery);
    tokio::select! {
        () = live(fleet, options, outgoing, &tally, shutdown) => {}
        // It ends only after `live` has.
        () = &mut delivery => return,
    }
    if timeout(FLUSH_TIMEOUT, delivery).await.is_err() {
        warn!("not everything could be delivered before the end");
    }
    info!("{}", tally.summary());
}

/// Lets time pass for the fleet, and hands over what happens.
async fn live(
    mut fleet: Fleet,
    options: &SimulationOptions,
    outgoing: mpsc::Sender<Vec<Action>>,
    tally: &Tally,
    shutdown: &Shutdown,
) {
    let start = Instant::now();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut passed = Duration::ZERO;
    let mut last_tick = start;
    let mut last_summary = start;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shutdown.requested() => return,
        }
        let now = Instant::now();
        passed += (now - last_tick).min(TICK_MAX).mul_f64(options.speed_up);
        last_tick = now;
        let actions = fleet.advance(passed);
        narrate(&actions);
        if !actions.is_empty() {
            tokio::select! {
                sent = outgoing.send(actions) => if sent.is_err() { return },
                () = shutdown.requested() => return,
            }
        }
        if now - last_summary >= SUMMARY_INTERVAL {
            last_summary = now;
            info!("{}; {}", fleet.counts(), tally.summary());
        }
        if options.duration > 0 && start.elapsed() >= Duration::from_secs(options.duration) {
            return;
        }
    }
}

fn narrate(actions: &[Action]) {
    for action in actions {
        if let Action::Told(_, text) = action {
            info!("{text}");
        }
    }
}
