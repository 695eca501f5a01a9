//! Which request is answered by what. The order of the checks is part of the public contract.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Instant,
};

use glance_protocol::{Details, ReportBody, ShardId, State, Subject, bucket::NoticeKey};
use glance_runner::http::{Peer, Routes, json};
use warp::{
    Filter, Rejection,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    path::FullPath,
    reply::Response,
};

use crate::{
    authorization::{Authorization, Scope},
    clusters::{self, Cluster, Clusters, ClustersView},
    intake::{Body, Room},
    metrics::Counts,
    notices::{self, Action},
    path::{Endpoint, Number},
    publish::{Message, Publisher, Turn},
    refusal::{Refusal, Unavailable},
    report::{self, Report},
};

/// How many bytes of report bodies are held at the same time.
const REPORTS_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What all requests share.
pub(crate) struct Desk {
    authorization: Authorization,
    clusters: ClustersView,
    publisher: Publisher,
    reports: Room,
}

/// The routes of the bridge. Paths that are not its own are rejected as not found.
pub(crate) fn routes(
    desk: Arc<Desk>,
) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + Send + Sync + 'static {
    endpoint()
        .and(warp::method())
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional::<Peer>())
        .and(warp::body::stream())
        .then(move |endpoint, method, headers: HeaderMap, peer, body| {
            // Now and not later, as what an answer keeps while it waits is paid for with each request.
            let access = check_access(&endpoint, &method, &headers, &desk.authorization);
            let body = Body::new(body, &headers);
            let request = Request {
                endpoint,
                put: method == Method::PUT,
                client: client_of(peer),
            };
            answer(desk.clone(), access, request, body)
        })
}

/// What is kept of a request while it is answered, besides its body.
struct Request {
    endpoint: Endpoint,
    /// Tells the two methods of a notice apart.
    put: bool,
    client: IpAddr,
}

/// Whose failures are counted together.
fn client_of(peer: Option<Peer>) -> IpAddr {
    // The listener says it of each request.
    peer.map_or(Ipv4Addr::UNSPECIFIED.into(), |Peer(address)| address.ip())
}

/// The same paths, while there is no connection to the broker yet.
pub(crate) fn unavailable(authorization: Authorization) -> Routes {
    endpoint()
        .and(warp::method())
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional::<Peer>())
        .and(warp::body::stream())
        .then(move |endpoint, method, headers, peer, body| {
            Body::new(body, &headers).ignore();
            let access = check_access(&endpoint, &method, &headers, &authorization);
            let refusal = access.err().unwrap_or(Unavailable::Disconnected.into());
            refuse(authorization.clone(), client_of(peer), refusal)
        })
        .boxed()
}

/// The answer to a request that is refused, in its time.
async fn refuse(authorization: Authorization, client: IpAddr, refusal: Refusal) -> Response {
    let closed = refusal == Refusal::Unauthorized && authorization.note_failure(client).await;
    let mut response = refusal.into_response();
    if closed {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    response
}

fn endpoint() -> impl Filter<Extract = (Endpoint,), Error = Rejection> + Clone {
    warp::path::full().and_then(|path: FullPath| {
        let endpoint = Endpoint::parse(path.as_str());
        std::future::ready(endpoint.ok_or_else(warp::reject::not_found))
    })
}

async fn answer(
    desk: Arc<Desk>,
    access: Result<Scope, Refusal>,
    request: Request,
    mut body: Body,
) -> Response {
    let (begun, route, client) = (
        Instant::now(),
        Counts::route(&request.endpoint),
        request.client,
    );
    let result = match access {
        Ok(scope) => desk.answer(request, &scope, &mut body).await,
        Err(refusal) => Err(refusal),
    };
    body.ignore();
    // Without the time for which an answer may be held back.
    let taken = begun.elapsed();
    let counts = desk.publisher.counts();
    if let Err(Refusal::Unavailable(cause)) = &result {
        counts.unavailable(*cause);
    }
    let response = match result {
        Ok(response) => response,
        // What is held back is kept out of the way, as below.
        Err(refusal) => Box::pin(refuse(desk.authorization.clone(), client, refusal)).await,
    };
    counts.requests.note(route, response.status(), taken);
    response
}

/// What is checked before anything else: the method, then the passphrase. What that one is for.
fn check_access(
    endpoint: &Endpoint,
    method: &Method,
    headers: &HeaderMap,
    authorization: &Authorization,
) -> Result<Scope, Refusal> {
    if !endpoint.methods().contains(&method.as_str()) {
        return Err(Refusal::Method(endpoint.methods()));
    }
    let header = headers.get(header::AUTHORIZATION);
    let scope = authorization.opens(header.map(HeaderValue::as_bytes));
    scope
        .filter(|scope| permits(scope, endpoint))
        .ok_or(Refusal::Unauthorized)
}

/// Whether a passphrase of this scope is good for an endpoint. A report says in its body whose it is.
fn permits(scope: &Scope, endpoint: &Endpoint) -> bool {
    match endpoint {
        Endpoint::Status { cluster, .. }
        | Endpoint::Health { cluster, .. }
        | Endpoint::Maintenance { cluster, .. } => scope.covers(cluster),
        Endpoint::Report => true,
        Endpoint::Announcement => *scope == Scope::Everything,
    }
}

impl Desk {
    pub(crate) fn new(
        authorization: Authorization,
        clusters: ClustersView,
        publisher: Publisher,
    ) -> Self {
        Self {
            authorization,
            clusters,
            publisher,
            reports: Room::new(REPORTS_BYTES_MAX),
        }
    }

    pub(crate) fn clusters(&self) -> &ClustersView {
        &self.clusters
    }

    pub(crate) fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// Answers a request that is allowed.
    async fn answer(
        &self,
        Request { endpoint, put, .. }: Request,
        scope: &Scope,
        body: &mut Body,
    ) -> Result<Response, Refusal> {
        match endpoint {
            Endpoint::Status {
                cluster,
                shard,
                state,
            } => self.status(&cluster, &shard, &state).await,
            Endpoint::Health { cluster, shard } => self.health(&cluster, &shard).await,
            // What is not for every second of every shard is kept out of the way: a small future is cheap to make.
            Endpoint::Report => Box::pin(self.report(scope, body)).await,
            Endpoint::Announcement => {
                let key = || Ok(NoticeKey::Announcement);
                Box::pin(self.notice(put, body, key)).await
            }
            Endpoint::Maintenance { cluster, group } => {
                let key = || {
                    // A notice of a cluster that is gone can still be deleted.
                    if put {
                        find(&*clusters::latest(&self.clusters)?, &cluster)?;
                    }
                    notices::maintenance_key(&cluster, group.as_deref())
                };
                Box::pin(self.notice(put, body, key)).await
            }
        }
    }

    async fn status(
        &self,
        cluster: &str,
        shard: &Number,
        state: &Number,
    ) -> Result<Response, Refusal> {
        let clusters = clusters::latest(&self.clusters)?;
        let cluster = find(&clusters, cluster)?;
        let turn = self.publisher.admit();
        let (shard, claimed) = find_shard(&clusters, cluster, shard, &turn).await?;
        let state = state
            .value()
            .and_then(|number| State::from_number(number.into()).ok())
            .ok_or_else(|| Refusal::NoSuchState(state.clone()))?;
        let turn = turn?;
        // It replaces the report that claimed the size, so it claims it as well.
        let body = ReportBody {
            state: Some(state),
            details: Details {
                total: claimed,
                ..Details::default()
            },
            ..ReportBody::default()
        };
        let message = Message {
            subject: Subject::State(cluster.name.clone(), shard),
            body: body.to_bytes().into(),
        };
        turn.deliver(vec![message]).await?;
        cluster.note_report(shard);
        Ok(accepted())
    }

    async fn health(&self, cluster: &str, shard: &Number) -> Result<Response, Refusal> {
        let clusters = clusters::latest(&self.clusters)?;
        let cluster = find(&clusters, cluster)?;
        let turn = self.publisher.admit();
        let (shard, _) = find_shard(&clusters, cluster, shard, &turn).await?;
        let turn = turn?;
        if !cluster.reported(shard)
            && !Box::pin(turn.has_reported(&clusters, cluster, shard)).await?
        {
            return Err(Refusal::NeverReported(shard));
        }
        let message = Message {
            subject: Subject::Health(cluster.name.clone(), shard),
            body: bytes::Bytes::new(),
        };
        turn.deliver(vec![message]).await?;
        Ok(accepted())
    }

    async fn report(&self, scope: &Scope, body: &mut Body) -> Result<Response, Refusal> {
        let (bytes, _held) = body.read_into(report::BYTES_MAX, &self.reports).await?;
        let report = Report::from_bytes(&bytes)?;
        if !scope.covers(&report.cluster) {
            return Err(Refusal::Unauthorized);
        }
        let clusters = clusters::latest(&self.clusters)?;
        let cluster = find(&clusters, &report.cluster)?.clone();
        let turn = self.publisher.admit()?;
        let outcome = report.deliver(&clusters, &cluster, &turn).await?;
        let status = match outcome.accepted {
            0 => StatusCode::BAD_REQUEST,
            _ => StatusCode::OK,
        };
        Ok(json(status, outcome.to_bytes()))
    }

    async fn notice(
        &self,
        put: bool,
        body: &mut Body,
        key: impl FnOnce() -> Result<NoticeKey, Refusal>,
    ) -> Result<Response, Refusal> {
        let key = key()?;
        let action = if put {
            Action::Put(notices::parse(&body.read(notices::BYTES_MAX).await?)?)
        } else {
            Action::Delete
        };
        let turn = self.publisher.admit()?;
        notices::apply(&turn, &key, &action).await?;
        Ok(accepted())
    }
}

fn find<'a>(clusters: &'a Clusters, name: &str) -> Result<&'a Arc<Cluster>, Refusal> {
    clusters
        .get(name)
        .ok_or_else(|| Refusal::NoSuchCluster(name.to_owned()))
}

/// The shard of this number. Where the size is learned, it may lie beyond the known size when a
/// report that was stored says so: the list of clusters follows the reports a moment later. Then
/// the size that the report claims comes with it.
async fn find_shard(
    clusters: &Clusters,
    cluster: &Cluster,
    number: &Number,
    turn: &Result<Turn<'_>, Unavailable>,
) -> Result<(ShardId, Option<u32>), Refusal> {
    let refusal = match cluster.shard(number, None) {
        Err(refusal) if cluster.auto => refusal,
        found => return found.map(|shard| (shard, None)),
    };
    let Some(shard) = number.value().and_then(|id| ShardId::new(id).ok()) else {
        return Err(refusal);
    };
    let turn = turn.as_ref().map_err(|cause| *cause)?;
    match Box::pin(turn.claimed_total(clusters, cluster, shard)).await? {
        Some(total) => Ok((shard, Some(total))),
        None => Err(refusal),
    }
}

fn accepted() -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
