//! What is answered to which request.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use glance_runner::http::{Routes, json_error};
use hyper::upgrade::OnUpgrade;
use tokio::{sync::Semaphore, time::timeout};
use tokio_util::task::TaskTracker;
use tracing::debug;
use warp::{
    Filter as _, Rejection,
    http::{HeaderMap, Method, StatusCode, header},
    reply::Response,
};

use crate::{
    fanout::Dialect,
    handshake,
    page::Page,
    picture::Picture,
    representation::{Representation, is_known, not_modified, set},
    session::Session,
};

/// How long a client may take from our 101 to the WebSocket.
const UPGRADE_MAX: Duration = Duration::from_secs(10);
/// Rendering may take this part of the time of one processor core ...
const RENDER_SHARE: u32 = 10;
/// ... but a snapshot is never older than this because of it.
const SNAPSHOT_AGE_MAX: Duration = Duration::from_millis(300);

/// What the answers are made of.
pub(crate) struct State {
    /// The page.
    pub page: Page,
    /// What each viewer's session gets.
    pub session: Session,
    /// One permit for each viewer that there is room for.
    pub viewers: Arc<Semaphore>,
    /// The sessions that run.
    pub sessions: TaskTracker,
    /// The picture of which the snapshot was rendered last, and how long that took.
    pub rendered: Mutex<Option<(Arc<Picture>, Duration)>>,
}

struct Request {
    method: Method,
    headers: HeaderMap,
    query: String,
    upgrade: Option<OnUpgrade>,
}

/// The routes of this service; what is not its own is rejected as not found.
pub(crate) fn routes(state: Arc<State>) -> Routes {
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::path::full()
        .and(warp::method())
        .and(warp::header::headers_cloned())
        .and(query)
        .and(warp::ext::optional::<OnUpgrade>())
        .and_then(
            move |path: warp::path::FullPath, method, headers, query, upgrade| {
                let state = state.clone();
                let request = Request {
                    method,
                    headers,
                    query,
                    upgrade,
                };
                async move { state.answer(path.as_str(), request).await }
            },
        )
        .boxed()
}

/// What is answered while there is no connection to the broker yet.
pub(crate) fn starting() -> Routes {
    warp::path::full()
        .map(|path: warp::path::FullPath| no_table(path.as_str()))
        .boxed()
}

/// What is answered to everything that is nobody's.
pub fn not_found() -> Routes {
    warp::path::full()
        .map(|path: warp::path::FullPath| {
            if path.as_str().starts_with("/api/") {
                // Bots and scripts ask there, and expect what the bridge answers.
                return json_error(StatusCode::NOT_FOUND, "there is nothing here");
            }
            let sentence = "There is nothing here. The page is at /, its text at /plain, its data at /api/snapshot.\n";
            text(StatusCode::NOT_FOUND, sentence.into())
        })
        .boxed()
}

impl State {
    async fn answer(self: Arc<Self>, path: &str, request: Request) -> Result<Response, Rejection> {
        let file = match path {
            "/" => self.page.index(),
            _ => path
                .strip_prefix("/assets/")
                .and_then(|name| self.page.asset(name)),
        };
        let known = matches!(path, "/plain" | "/api/snapshot" | "/api/feed");
        if file.is_none() && !known {
            return Err(warp::reject::not_found());
        }
        if request.method == Method::OPTIONS && path == "/api/snapshot" {
            return Ok(preflight());
        }
        if request.method != Method::GET && request.method != Method::HEAD {
            return Ok(not_allowed());
        }
        if let Some(file) = file {
            return Ok(file.answer(&request.headers));
        }
        if path == "/api/feed" {
            return Ok(self.feed(request));
        }
        Ok(match self.session.fanout.picture() {
            None => no_table(path),
            Some(picture) if path == "/plain" => text(StatusCode::OK, picture.plain()),
            Some(picture) => self.snapshot(picture, &request.headers).await,
        })
    }

    async fn snapshot(&self, newest: Arc<Picture>, headers: &HeaderMap) -> Response {
        let picture = self.affordable(newest);
        let mut response = if is_known(headers, picture.etag()) {
            not_modified(picture.etag())
        } else {
            match self.render(picture).await {
                Some(snapshot) => snapshot.answer(headers),
                None => json_error(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "the snapshot could not be made",
                ),
            }
        };
        allow_everybody(response.headers_mut());
        response
    }

    /// The newest picture, or the one rendered last if another rendering would cost too much so soon.
    fn affordable(&self, newest: Arc<Picture>) -> Arc<Picture> {
        let rendered = self.rendered.lock().unwrap_or_else(PoisonError::into_inner);
        match &*rendered {
            Some((last, cost))
                if last.taken.elapsed() < (*cost * RENDER_SHARE).min(SNAPSHOT_AGE_MAX) =>
            {
                last.clone()
            }
            _ => newest,
        }
    }

    async fn render(&self, picture: Arc<Picture>) -> Option<Arc<Representation>> {
        let (snapshot, cost) = picture.clone().snapshot().await?;
        let mut rendered = self.rendered.lock().unwrap_or_else(PoisonError::into_inner);
        if rendered
            .as_ref()
            .is_none_or(|(last, _)| last.number < picture.number)
        {
            *rendered = Some((picture, cost));
        }
        Some(snapshot)
    }

    fn feed(&self, request: Request) -> Response {
        let key = match handshake::check(&request.headers) {
            Ok(key) if request.method == Method::GET => key,
            Ok(_) => return handshake::refuse(handshake::Refusal::NotAsked),
            Err(refusal) => return handshake::refuse(refusal),
        };
        let Some(upgrade) = request.upgrade else {
            return handshake::refuse(handshake::Refusal::NotAsked);
        };
        if self.session.fanout.picture().is_none() {
            return no_table("/api/feed");
        }
        let Ok(permit) = self.viewers.clone().try_acquire_owned() else {
            let sentence = "There are too many viewers at present; try again soon.\n";
            return later(text(StatusCode::SERVICE_UNAVAILABLE, sentence.into()), "10");
        };
        let page = request.query.split('&').any(|pair| pair == "dialect=page");
        let dialect = if page {
            Dialect::Page
        } else {
            Dialect::Everybody
        };
        let session = self.session.clone();
        self.sessions.spawn(async move {
            match timeout(UPGRADE_MAX, upgrade).await {
                Ok(Ok(upgraded)) => Box::pin(session.run(upgraded, dialect)).await,
                Ok(Err(cause)) => debug!("a viewer left during the handshake: {cause}"),
                Err(_) => debug!("a viewer took too long for the handshake"),
            }
            drop(permit);
        });
        handshake::accept(&key)
    }
}

fn text(status: StatusCode, body: bytes::Bytes) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    set(headers, header::CONTENT_TYPE, "text/plain; charset=utf-8");
    set(headers, header::CACHE_CONTROL, "no-cache");
    set(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    response
}

fn not_allowed() -> Response {
    let sentence = "Only GET and HEAD work here.\n";
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, sentence.into());
    set(response.headers_mut(), header::ALLOW, "GET, HEAD");
    response
}

fn later(mut response: Response, seconds: &'static str) -> Response {
    set(response.headers_mut(), header::RETRY_AFTER, seconds);
    response
}

fn no_table(path: &str) -> Response {
    let sentence = "there is no table yet: no aggregator has written one, or the broker is away";
    let response = if path == "/api/snapshot" {
        let mut response = json_error(StatusCode::SERVICE_UNAVAILABLE, sentence);
        allow_everybody(response.headers_mut());
        response
    } else {
        text(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{sentence}\n").into(),
        )
    };
    later(response, "1")
}

/// The page may be served from elsewhere, and all of this is public.
fn allow_everybody(headers: &mut HeaderMap) {
    set(headers, header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    set(
        headers,
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        "ETag, Retry-After",
    );
}

/// Asked by browsers before they send `If-None-Match` to another origin.
fn preflight() -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    allow_everybody(headers);
    set(headers, header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD");
    set(
        headers,
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        "If-None-Match",
    );
    set(headers, header::ACCESS_CONTROL_MAX_AGE, "86400");
    response
}
