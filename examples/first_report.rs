//! Reports one shard as online: the snippet of the README, as a program.

use async_nats::{Error, connect};

async fn report(url: &str) -> Result<(), Error> {
    let broker = connect(url).await?;
    let stored = broker.request("glance.main.0.state", "online".into());
    Ok(stored.await.map(drop)?)
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let url = std::env::var("GLANCE_NATS_URL");
    report(url.as_deref().unwrap_or("nats://127.0.0.1:4222")).await
}
