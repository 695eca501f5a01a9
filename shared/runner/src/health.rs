//! `/healthz` and `/readyz`.

use warp::{
    Filter as _,
    http::{Method, StatusCode, header},
    reply::Response,
};

use crate::http::Routes;

/// Whether a service can do its work, with a word for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// It can.
    Yes(&'static str),
    /// It cannot yet, and why.
    No(&'static str),
}

/// `GET /healthz` says that the process runs; `GET /readyz` asks `check`: 200 or 503, and its word as the body.
pub fn routes(check: impl Fn() -> Ready + Clone + Send + Sync + 'static) -> Routes {
    let live = warp::path!("healthz")
        .and(warp::method())
        .map(|method: Method| answer(&method, Ready::Yes("ok")));
    let ready = warp::path!("readyz")
        .and(warp::method())
        .map(move |method: Method| answer(&method, check()));
    live.or(ready).unify().boxed()
}

fn answer(method: &Method, ready: Ready) -> Response {
    if method != Method::GET && method != Method::HEAD {
        let mut response = Response::default();
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        let allow = header::HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(header::ALLOW, allow);
        return response;
    }
    let (status, word) = match ready {
        Ready::Yes(word) => (StatusCode::OK, word),
        Ready::No(word) => (StatusCode::SERVICE_UNAVAILABLE, word),
    };
    let mut response = Response::new(format!("{word}\n").into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let plain = header::HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, plain);
    let as_it_is = header::HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, as_it_is);
    let no_store = header::HeaderValue::from_static("no-store");
    headers.insert(header::CACHE_CONTROL, no_store);
    response
}
