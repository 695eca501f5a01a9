//! What is answered to which request.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use glance_runner::http::{Forwarded, Routes, json_error};
use hyper::upgrade::OnUpgrade;
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::timeout,
};
use tokio_util::task::TaskTracker;
use warp::{
    Filter as _, Rejection,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    reply::Response,
};

use crate::{
    OriginRule, Origins,
    fanout::Dialect,
    handshake,
    history::Question,
    keeper::Asked,
    metrics::{Counts, Refused},
    page::Page,
    picture::Picture,
    protection::Protection,
    representation::{Representation, is_known, not_modified, set},
    session::Session,
    verdict::Verdict,
};

/// Rendering may take this part of the time of one processor core ...
const RENDER_SHARE: u32 = 10;
/// ... but a snapshot is never older than this because of it.
const SNAPSHOT_AGE_MAX: Duration = Duration::from_millis(300);

/// Which page the service has. As in the feed's hello.
const BUILD: HeaderName = HeaderName::from_static("glance-build");
/// What happened lately; `/<cluster>/<shard>` behind it for a shard.
const HISTORY: &str = "/api/history";
/// How long the keeper may take for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// What is answered here, beside the parts of the page.
const PATHS: [&str; 5] = [
    "/",
    "/manifest.webmanifest",
    "/plain",
    "/api/snapshot",
    "/api/feed",
];

/// What the answers are made of.
pub(crate) struct State {
    /// The page.
    pub page: Page,
    /// Where to ask what happened lately.
    pub history: mpsc::Sender<Asked>,
    /// Whose pages may read from another host.
    pub origins: Origins,
    /// Whose pages may open the feed.
    pub feed_origins: OriginRule,
    /// What browsers are told.
    pub protection: Protection,
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
    forwarded: Option<Forwarded>,
}

/// The routes of this service; what is not its own is rejected as not found.
pub(crate) fn routes(state: Arc<State>) -> Routes {
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::path::full()
        .and(warp::method())
        .and(warp::header::headers_cloned())
        .and(query)
        .and(warp::ext::optional::<OnUpgrade>())
        .and(warp::ext::optional::<Forwarded>())
        .and_then(
            move |path: warp::path::FullPath, method, headers, query, upgrade, forwarded| {
                let state = state.clone();
                let request = Request {
                    method,
                    headers,
                    query,
                    upgrade,
                    forwarded,
                };
                async move {
                    let (begun, counts) = (Instant::now(), state.session.counts.clone());
                    let mut response = state.clone().answer(path.as_str(), request).await?;
                    let route = Counts::route(path.as_str());
                    counts
                        .requests
                        .note(route, response.status(), begun.elapsed());
                    state.protection.add(path.as_str(), &mut response);
                    Ok::<_, Rejection>(response)
                }
            },
        )
        .boxed()
}

/// What is answered while there is no connection to the broker yet.
pub(crate) fn starting() -> Routes {
    warp::path::full()
        .map(|path: warp::path::FullPath| {
            let mut response = no_table(path.as_str());
            Protection::default().add("", &mut response);
            response
        })
        .boxed()
}

/// What is answered to everything that is nobody's.
pub fn not_found() -> Routes {
    warp::path::full()
        .map(|path: warp::path::FullPath| {
            let mut response = nothing(path.as_str());
            Protection::default().add("", &mut response);
            response
        })
        .boxed()
}

fn nothing(path: &str) -> Response {
    if path.starts_with("/api/") {
        // Bots and scripts ask there, and expect what the bridge answers.
        return json_error(StatusCode::NOT_FOUND, "there is nothing here");
    }
    let sentence =
        "There is nothing here. The page is at /, its text at /plain, its data at /api/snapshot.\n";
    text(StatusCode::NOT_FOUND, sentence.into())
}

impl State {
    async fn answer(self: Arc<Self>, path: &str, request: Request) -> Result<Response, Rejection> {
        let asset = path.strip_prefix("/assets/");
        let history = path.strip_prefix(HISTORY).map(Question::parse);
        let known = PATHS.contains(&path)
            || matches!(history, Some(Some(_)))
            || asset.is_some_and(|name| self.page.asset(name).is_some());
        if !known {
            // Not kept by anybody: another replica may have it.
            return match asset {
                Some(_) => Ok(no_asset()),
                None => Err(warp::reject::not_found()),
            };
        }
        let is_public = matches!(path, "/plain" | "/api/snapshot") || history.is_some();
        if request.method == Method::OPTIONS && is_public {
            return Ok(self.preflight(&request.headers));
        }
        if request.method != Method::GET && request.method != Method::HEAD {
            return Ok(not_allowed());
        }
        if let Some(name) = asset {
            return Ok(self.asset(name, &request.headers));
        }
        if path == "/api/feed" {
            return Ok(self.feed(request));
        }
        let mut response = match history.flatten() {
            Some(question) => self.history(question).await,
            None => self.public(path, &request.headers).await,
        };
        if is_public {
            let headers = response.headers_mut();
            self.origins.allow(&request.headers, headers);
            // Where the feed cannot be had, a page learns of an upgrade from the snapshot.
            if let Ok(build) = HeaderValue::from_str(&self.session.build) {
                headers.insert(BUILD, build);
            }
        }
        Ok(response)
    }

    fn asset(&self, name: &str, headers: &HeaderMap) -> Response {
        let mut response = match self.page.asset(name) {
            Some((file, true)) => file.answer_for_ever(headers),
            Some((file, false)) => file.answer(headers),
            None => no_asset(),
        };
        // Scripts that are modules are read with the rules for other hosts, and nothing in them is secret.
        let any = header::ACCESS_CONTROL_ALLOW_ORIGIN;
        set(response.headers_mut(), any, "*");
        response
    }

    async fn public(&self, path: &str, headers: &HeaderMap) -> Response {
        let picture = self.session.fanout.picture();
        match (path, picture) {
            ("/manifest.webmanifest", _) => self.page.manifest().answer(headers),
            ("/", Some(picture)) => self.page.index(picture.verdict()).answer(headers),
            ("/", None) => self.page.index(&Verdict::starting()).answer(headers),
            (_, None) => no_table(path),
            ("/plain", Some(picture)) => text(StatusCode::OK, picture.plain(self.page.title())),
            (_, Some(picture)) => self.snapshot(picture, headers).await,
        }
    }

    async fn history(&self, question: Question) -> Response {
        let Some(picture) = self.session.fanout.picture() else {
            return no_table(HISTORY);
        };
        let Question::Shard(cluster, id) = question else {
            return json(picture.lately.to_json(picture.clock.now_ms));
        };
        let (answer, answered) = oneshot::channel();
        let asked = Asked {
            cluster,
            id,
            answer,
        };
        // The keeper answers between two messages; a queue that is full for so long means that it is stuck.
        let answer = timeout(ANSWER_MAX, async {
            self.history.send(asked).await.ok()?;
            answered.await.ok()
        });
        match answer.await.ok().flatten() {
            Some(Some(transitions)) => json(transitions),
            Some(None) => json_error(StatusCode::NOT_FOUND, "there is no such shard"),
            None => {
                let sentence = "too many ask at present; try again soon";
                later(json_error(StatusCode::SERVICE_UNAVAILABLE, sentence), "5")
            }
        }
    }

    async fn snapshot(&self, newest: Arc<Picture>, headers: &HeaderMap) -> Response {
        let picture = self.affordable(newest);
        if is_known(headers, picture.etag()) {
            return not_modified(picture.etag());
        }
        match self.render(picture).await {
            Some(snapshot) => snapshot.answer(headers),
            None => json_error(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the snapshot could not be made",
            ),
        }
    }

    /// Asked by browsers before they send `If-None-Match` to another origin.
    fn preflight(&self, request: &HeaderMap) -> Response {
        let mut response = Response::default();
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        self.origins.allow(request, headers);
        let methods = header::ACCESS_CONTROL_ALLOW_METHODS;
        set(headers, methods, "GET, HEAD");
        let allowed = header::ACCESS_CONTROL_ALLOW_HEADERS;
        set(headers, allowed, "If-None-Match");
        set(headers, header::ACCESS_CONTROL_MAX_AGE, "86400");
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
        let counts = &self.session.counts;
        let no_handshake = |refusal| {
            counts.refuse(Refused::Handshake);
            handshake::refuse(refusal)
        };
        let key = match handshake::check(&request.headers) {
            Ok(key) if request.method == Method::GET => key,
            Ok(_) => return no_handshake(handshake::Refusal::NotAsked),
            Err(refusal) => return no_handshake(refusal),
        };
        if !self
            .feed_origins
            .permits(&request.headers, request.forwarded.is_some())
        {
            counts.refuse(Refused::Origin);
            let sentence = "Pages of this origin may not open the feed; its operator can allow it with GLANCE_FEED_ORIGINS.\n";
            return text(StatusCode::FORBIDDEN, sentence.into());
        }
        // As of a client that speaks HTTP/1.0.
        let Some(upgrade) = request.upgrade else {
            return no_handshake(handshake::Refusal::NotAsked);
        };
        if self.session.fanout.picture().is_none() {
            counts.refuse(Refused::NoTable);
            return no_table("/api/feed");
        }
        let Ok(permit) = self.viewers.clone().try_acquire_owned() else {
            counts.refuse(Refused::Full);
            let sentence = "There are too many viewers at present; try again soon.\n";
            return later(text(StatusCode::SERVICE_UNAVAILABLE, sentence.into()), "10");
        };
        let page = request.query.split('&').any(|pair| pair == "dialect=page");
        let dialect = match (page, handshake::takes_compressed(&request.headers)) {
            (false, _) => Dialect::Everybody,
            (true, false) => Dialect::Page,
            (true, true) => Dialect::PageCompressed,
        };
        let session = self.session.clone();
        // The viewer stays a connection of the client behind the proxy.
        let held = (permit, request.forwarded);
        self.sessions.spawn(async move {
            if let Some(upgraded) = handshake::opened(upgrade, &session.counts).await {
                Box::pin(session.run(upgraded, dialect)).await;
            }
            drop(held);
        });
        handshake::accept(&key, dialect == Dialect::PageCompressed)
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

fn json(body: String) -> Response {
    let mut response = text(StatusCode::OK, body.into());
    set(
        response.headers_mut(),
        header::CONTENT_TYPE,
        "application/json",
    );
    response
}

fn no_asset() -> Response {
    let sentence = "There is no such part of the page; it may be one of another version.\n";
    let mut response = text(StatusCode::NOT_FOUND, sentence.into());
    set(response.headers_mut(), header::CACHE_CONTROL, "no-store");
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
    let response = if matches!(path, "/api/snapshot" | HISTORY) {
        json_error(StatusCode::SERVICE_UNAVAILABLE, sentence)
    } else {
        text(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{sentence}\n").into(),
        )
    };
    later(response, "1")
}
