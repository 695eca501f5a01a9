//! Answers while the broker is waited for.

use tokio::net::TcpListener;
use warp::Filter as _;

use crate::{
    Broker, BrokerOptions, Ready, Shutdown, health,
    http::{self, Limits, Routes},
};

/// Connects as [`Broker::connect`] does. Requests that come meanwhile are
/// answered by `early`, and `/healthz` and `/readyz` as ever, instead of being
/// left to wait. The listener is handed back.
///
/// # Errors
///
/// As for [`Broker::connect`].
pub async fn connect_behind(
    listener: TcpListener,
    early: Routes,
    name: &str,
    options: &BrokerOptions,
    limits: &Limits,
    shutdown: &Shutdown,
) -> anyhow::Result<(Broker, TcpListener)> {
    let listener = listener.into_std()?;
    let waiting = shutdown.child();
    let not_ready = health::routes(|| Ready::No("waiting for the broker"));
    let serving = tokio::spawn(http::serve(
        TcpListener::from_std(listener.try_clone()?)?,
        not_ready.or(early).unify().boxed(),
        limits.clone(),
        waiting.clone(),
    ));
    let broker = Broker::connect(name, options, shutdown).await;
    waiting.trigger();
    // It ends with its last connection; a slow one is not waited for.
    drop(serving);
    Ok((broker?, TcpListener::from_std(listener)?))
}
