//! Requests by route and kind of answer, and how long they took.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use http::StatusCode;

use super::Encoder;

/// The upper bounds of the buckets, in microseconds. Whatever takes longer is in one more.
const BOUNDS_US: [u64; 11] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
];
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Counts requests. Noting one is three additions, without a lock.
#[derive(Debug)]
pub struct Requests {
    routes: Vec<Route>,
}

#[derive(Debug)]
struct Route {
    name: &'static str,
    classes: [AtomicU64; CLASSES.len()],
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Route {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            classes: Default::default(),
            buckets: Default::default(),
            sum_us: AtomicU64::new(0),
        }
    }
}

impl Requests {
    /// The routes have these names. A route is known by its place among them.
    #[must_use]
    pub fn new(routes: &[&'static str]) -> Self {
        let routes = routes.iter().map(|name| Route::new(name)).collect();
        Self { routes }
    }

    /// A request of the route at this place was answered. A place that there is not counts nothing.
    pub fn note(&self, route: usize, status: StatusCode, took: Duration) {
        let Some(route) = self.routes.get(route) else {
            return;
        };
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1;
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| us > *bound);
        for counter in [route.classes.get(class), route.buckets.get(bucket)]
            .into_iter()
            .flatten()
        {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        route.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// Tells them as `requests` by `route` and `status`, and `durations` in seconds by `route`.
    ///
    /// # Errors
    ///
    /// As for [`Encoder`].
    pub fn tell(&self, encoder: &mut Encoder<'_>, requests: &str, durations: &str) -> fmt::Result {
        let counts = self.routes.iter().flat_map(|route| {
            let classes = CLASSES.iter().zip(&route.classes);
            classes.map(|(class, count)| {
                let labels = [("route", route.name), ("status", *class)];
                (labels, count.load(Ordering::Relaxed))
            })
        });
        encoder.counters(
            requests,
            "Requests that were answered, by the class of the status",
            counts,
        )?;
        let histograms = self.routes.iter().map(|route| {
            let bounds = BOUNDS_US.iter().map(|us| *us as f64 / 1e6);
            let counts = route.buckets.iter().map(|it| it.load(Ordering::Relaxed));
            let buckets = bounds.chain([f64::INFINITY]).zip(counts).collect();
            let sum_s = route.sum_us.load(Ordering::Relaxed) as f64 / 1e6;
            ([("route", route.name)], sum_s, buckets)
        });
        let help = "From the head of a request to its answer, in seconds";
        encoder.histograms(durations, help, histograms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Metrics;

    #[test]
    fn a_request_is_in_its_bucket_and_in_the_greater_ones() {
        let requests = Requests::new(&["/a", "/b"]);
        requests.note(1, StatusCode::OK, Duration::from_micros(1000));
        requests.note(1, StatusCode::OK, Duration::from_micros(1001));
        requests.note(1, StatusCode::SERVICE_UNAVAILABLE, Duration::from_secs(9));
        requests.note(7, StatusCode::OK, Duration::ZERO);
        let metrics = Metrics::default();
        metrics.add(move |it| requests.tell(it, "r_total", "d_seconds"));
        let text = metrics.to_text().unwrap();
        for line in [
            "glance_r_total{route=\"/b\",status=\"2xx\"} 2",
            "glance_r_total{route=\"/b\",status=\"5xx\"} 1",
            "glance_r_total{route=\"/a\",status=\"2xx\"} 0",
            "glance_d_seconds_bucket{le=\"0.001\",route=\"/b\"} 1",
            "glance_d_seconds_bucket{le=\"0.0025\",route=\"/b\"} 2",
            "glance_d_seconds_bucket{le=\"+Inf\",route=\"/b\"} 3",
            "glance_d_seconds_count{route=\"/b\"} 3",
        ] {
            assert!(text.lines().any(|it| it == line), "{line}: {text}");
        }
    }
}
