//! HTTP for monitoring: `/metrics`, `/healthz`, `/readyz`, and a page for people at `/`. Reads only, knows no secrets.

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use super::lookout::{Crowded, Lookout, Seen};
use super::ready::Readiness;
use super::{exposition, page};
use crate::client::worker::Accepted;

/// The most connections at one time; the next one is closed at once.
pub const VISITORS_MAX: usize = 64;

/// The longest request line and headers.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// How long a visitor may take for a request, and sit idle between two.
const REQUEST_WITHIN: Duration = Duration::from_secs(30);

/// How long a connection lasts; scrapers make a new one without a word.
const CONNECTION_MAX: Duration = Duration::from_secs(600);

/// How long the last answer of a connection may take.
const LAST_ANSWER_WITHIN: Duration = Duration::from_secs(30);

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

/// Nothing from elsewhere, no scripts; the page's own style only.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'";

/// What HTTP serves.
pub struct Site {
    lookout: Rc<Lookout>,
    readiness: Readiness,
    visitors: Cell<usize>,
}

/// An answer: status, media type, body.
type Answer = (StatusCode, &'static str, String);

impl Site {
    /// A site that shows what `lookout` sees.
    pub fn new(lookout: Rc<Lookout>) -> Rc<Self> {
        Rc::new(Site {
            readiness: Readiness::new(lookout.clone()),
            lookout,
            visitors: Cell::new(0),
        })
    }

    /// Serves one connection.
    pub async fn serve(self: Rc<Self>, accepted: Accepted) {
        let Accepted::Tcp(tcp, _) = accepted else {
            return;
        };
        let visitor = Counted::new(&self);
        if self.visitors.get() > VISITORS_MAX {
            tracing::warn!("too many HTTP connections");
            return;
        }
        match TcpStream::from_std(tcp) {
            Ok(tcp) => self.converse(tcp).await,
            Err(error) => tracing::warn!(%error, "an HTTP connection could not be taken over"),
        }
        drop(visitor);
    }

    async fn converse(&self, tcp: TcpStream) {
        let service = service_fn(async |request: Request<hyper::body::Incoming>| {
            Ok::<_, Infallible>(self.respond(request.method(), request.uri().path()).await)
        });
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(REQUEST_WITHIN);
        builder.max_buf_size(HEAD_BYTES_MAX);
        let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(tcp), service));
        // What a visitor does wrong is answered or ends the connection; it is no news.
        if tokio::time::timeout(CONNECTION_MAX, connection.as_mut())
            .await
            .is_err()
        {
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(LAST_ANSWER_WITHIN, connection).await;
        }
    }

    async fn respond(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        let is_read = matches!(*method, Method::GET | Method::HEAD);
        let (status, media_type, body) = match is_read {
            true => self.answer(path).await,
            false => (
                StatusCode::METHOD_NOT_ALLOWED,
                TEXT,
                "this site is for reading\n".into(),
            ),
        };
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        let mut header = |name, value: &'static str| {
            headers.insert(name, hyper::header::HeaderValue::from_static(value));
        };
        header(CONTENT_TYPE, media_type);
        header(CACHE_CONTROL, "no-store");
        header(X_CONTENT_TYPE_OPTIONS, "nosniff");
        header(CONTENT_SECURITY_POLICY, POLICY);
        if !is_read {
            header(ALLOW, "GET, HEAD");
        }
        response
    }

    async fn answer(&self, path: &str) -> Answer {
        match path {
            "/healthz" => (StatusCode::OK, TEXT, "ok\n".into()),
            "/readyz" => self.ready().await,
            "/metrics" => self.seen(exposition::MEDIA_TYPE, exposition::text).await,
            "/" => {
                let reasons = self.readiness.reasons_against().await;
                self.seen(HTML, |seen| page::html(seen, &reasons)).await
            }
            _ => {
                let text = "nothing here; try /, /metrics, /healthz or /readyz\n";
                (StatusCode::NOT_FOUND, TEXT, text.into())
            }
        }
    }

    async fn ready(&self) -> Answer {
        let reasons = self.readiness.reasons_against().await;
        match reasons.is_empty() {
            true => (StatusCode::OK, TEXT, "ready\n".into()),
            false => {
                let lines = reasons.iter().map(|reason| format!("{reason}\n"));
                (StatusCode::SERVICE_UNAVAILABLE, TEXT, lines.collect())
            }
        }
    }

    async fn seen(&self, media_type: &'static str, show: impl FnOnce(&Seen) -> String) -> Answer {
        match self.lookout.look().await {
            Ok(seen) => (StatusCode::OK, media_type, show(&seen)),
            Err(Crowded) => {
                let text = "too many others are looking at this moment\n";
                (StatusCode::SERVICE_UNAVAILABLE, TEXT, text.into())
            }
        }
    }
}

struct Counted<'a>(&'a Site);

impl<'a> Counted<'a> {
    fn new(site: &'a Site) -> Self {
        site.visitors.set(site.visitors.get() + 1);
        Counted(site)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.visitors.set(self.0.visitors.get() - 1);
    }
}
