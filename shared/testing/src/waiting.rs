//! Waiting for a condition, with a bound.

use std::panic::Location;
use std::time::Duration;

/// Pause between two looks at a condition.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Asks `condition` again and again until it gives a value, and returns that value.
///
/// ```no_run
/// # async fn example(server: &glance_testing::NatsServer) {
/// # use std::time::Duration;
/// let client = glance_testing::eventually(Duration::from_secs(5), async || {
///     async_nats::connect(server.url()).await.ok()
/// })
/// .await;
/// # }
/// ```
///
/// # Panics
///
/// When `timeout` has passed, also if `condition` itself hangs. The message names the caller.
#[track_caller]
pub fn eventually<T>(
    timeout: Duration,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> impl Future<Output = T> {
    let caller = Location::caller();
    async move {
        let waiting = tokio::time::timeout(timeout, async {
            loop {
                if let Some(value) = condition().await {
                    return value;
                }
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        });
        match waiting.await {
            Ok(value) => value,
            Err(_) => panic!("what {caller} waits for did not happen within {timeout:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn returns_the_first_value() {
        let mut looks = 0;
        let value = eventually(Duration::from_secs(1), async || {
            looks += 1;
            (looks == 3).then_some("here")
        })
        .await;
        assert_eq!((value, looks), ("here", 3));
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "waiting.rs")]
    async fn names_the_caller_when_time_is_up() {
        eventually(Duration::from_secs(1), async || None::<()>).await;
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "did not happen within 1s")]
    async fn bounds_a_condition_that_hangs() {
        eventually(Duration::from_secs(1), async || {
            std::future::pending::<Option<()>>().await
        })
        .await;
    }
}
