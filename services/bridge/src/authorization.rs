//! Who may do what: passphrases that can change while the bridge runs, and what follows a wrong one.

mod failures;
pub(crate) mod passphrases;

use std::{net::IpAddr, path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use glance_runner::{ConfigError, Environment, Metrics, Reload, Reloads};
use tokio::sync::Notify;
use tracing::{error, info, warn};

use self::failures::Failures;
pub(crate) use self::passphrases::Scope;
use self::passphrases::{FILE_VARIABLE, Passphrases, VARIABLE};
use crate::{BridgeOptions, clusters::ClustersView};

/// Whether a request may do something. Clones share it. `Debug` is absent on purpose.
#[derive(Clone)]
pub struct Authorization(Arc<Inner>);

struct Inner {
    passphrases: ArcSwap<Passphrases>,
    failures: Failures,
    environment: Environment,
    file: Option<PathBuf>,
    renewed: Notify,
}

impl Authorization {
    /// Reads the passphrases. When there is a file of them, a task reads it again whenever `reload` says so; what is
    /// wrong then is told in the log and changes nothing. Belongs into a runtime.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or has no passphrase, and when no HTTP client could send one of them.
    pub fn start(
        options: &BridgeOptions,
        environment: &Environment,
        reload: &Reload,
        metrics: &Metrics,
    ) -> Result<Self, ConfigError> {
        let file = options.passphrases_file.clone();
        // Before the first look at the file: no change after that look is missed.
        let reloads = file.is_some().then(|| reload.follow());
        let passphrases = Passphrases::read(environment, file.as_deref())?;
        if matches!(passphrases, Passphrases::Open) {
            warn!("{VARIABLE} is not set: anybody who reaches the POST endpoints may report");
        }
        let authorization = Self(Arc::new(Inner {
            passphrases: ArcSwap::from_pointee(passphrases),
            failures: Failures::new(metrics),
            environment: environment.clone(),
            file,
            renewed: Notify::new(),
        }));
        if let Some(reloads) = reloads {
            tokio::spawn(authorization.clone().follow(reloads));
        }
        Ok(authorization)
    }

    /// Whether a passphrase is needed at all.
    #[must_use]
    pub fn is_required(&self) -> bool {
        matches!(**self.0.passphrases.load(), Passphrases::Required(_))
    }

    /// What the value of an `Authorization` header opens.
    pub(crate) fn opens(&self, header: Option<&[u8]>) -> Option<Scope> {
        self.0.passphrases.load().opens(header)
    }

    /// Notes that a request was refused, and waits as long as the answer should. Whether its connection should be closed.
    pub(crate) async fn note_failure(&self, client: IpAddr) -> bool {
        self.0.failures.note(client).await
    }

    /// Warns of passphrases that open nothing, whenever they or the clusters are others.
    pub(crate) async fn warn_of_useless(self, mut clusters: ClustersView) {
        let mut told = Vec::new();
        loop {
            let known = clusters.borrow_and_update().clone();
            if let Some(known) = known {
                let passphrases = self.0.passphrases.load_full();
                let useless = passphrases.useless(|name| known.get(name).is_some());
                if useless != told {
                    for line in &useless {
                        warn!(
                            "{FILE_VARIABLE}: line {line} opens nothing: no cluster of its scope exists; is the scope forgotten or misspelt?"
                        );
                    }
                    told = useless;
                }
            }
            tokio::select! {
                changed = clusters.changed() => if changed.is_err() { return },
                () = self.0.renewed.notified() => {}
            }
        }
    }

    async fn follow(self, mut reloads: Reloads) {
        while reloads.requested().await.is_some() {
            let inner = self.0.clone();
            let read = move || Passphrases::read(&inner.environment, inner.file.as_deref());
            match tokio::task::spawn_blocking(read).await {
                Ok(Ok(passphrases)) => {
                    let overview = passphrases.overview();
                    self.0.passphrases.store(Arc::new(passphrases));
                    self.0.renewed.notify_one();
                    // Only now: who reads the line may rely on it.
                    info!("{FILE_VARIABLE} was read again; {overview}");
                }
                Ok(Err(cause)) => error!("{cause}. The passphrases stay as they were"),
                Err(cause) => error!(
                    "{FILE_VARIABLE} was not read again ({cause}). The passphrases stay as they were"
                ),
            }
        }
    }
}
